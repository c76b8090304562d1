"""`--from-mirror hf://...`: a mirror on the Hugging Face hub, here a server on loopback."""

import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from audioset_runs import video
from mirror_runs import LACKING, N, listed, mirror, rows, sha256, sounds

COMMIT = "4e17ae0c9f2d1b3a5e6f7081920a3b4c5d6e7f80"
NAME = "datasets/owner/sounds"


@contextmanager
def hub(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A hub that holds one data set at one commit; its URL, and what it was asked for."""
    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            asked.append(f"{self.command} {path}")
            resolve, revision = f"/{NAME}/resolve/{COMMIT}/", f"/api/{NAME}/revision/{COMMIT}"
            tree = f"/api/{NAME}/tree/{COMMIT}"
            if path == revision:
                about = {"id": "owner/sounds", "sha": COMMIT, "siblings": [], "private": False}
                self.answer(200, json.dumps(about | {"gated": False, "downloads": 0}).encode())
            elif path == tree or path.startswith(f"{tree}/"):
                below = folder / path.removeprefix(tree).strip("/")
                recursive = "recursive=true" in self.path.lower()
                self.answer(200, json.dumps(entries(folder, below, recursive)).encode())
            elif path.startswith(resolve) and (folder / path.removeprefix(resolve)).is_file():
                self.answer(200, (folder / path.removeprefix(resolve)).read_bytes())
            else:
                self.answer(404, b"{}")

        def answer(self, status: int, content: bytes) -> None:
            headers = {"ETag": f'"{sha256(content)}"', "X-Repo-Commit": COMMIT}
            if given := self.headers.get("Range"):
                first, _, last = given.removeprefix("bytes=").partition("-")
                end = min(int(last or len(content) - 1), len(content) - 1)
                headers["Content-Range"] = f"bytes {first}-{end}/{len(content)}"
                status, content = 206, content[int(first) : end + 1]
            self.send_response(status)
            for key, value in (headers | {"Content-Length": str(len(content))}).items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def entries(folder: Path, below: Path, recursive: bool) -> list[dict[str, object]]:
    """What the hub says of the files of a folder."""
    found = sorted(below.rglob("*") if recursive else below.iterdir())
    return [
        {
            "type": "directory" if path.is_dir() else "file",
            "oid": "0" * 40,
            "size": 0 if path.is_dir() else path.stat().st_size,
            "path": path.relative_to(folder).as_posix(),
        }
        for path in found
    ]


@pytest.mark.skipif(
    importlib.util.find_spec("huggingface_hub") is None, reason="huggingface_hub is not installed"
)
def test_a_pinned_data_set_of_the_hub_is_a_mirror(tmp_path: Path) -> None:
    held = sounds()
    copy = mirror(tmp_path / "in", "parquet", held)
    location = f"hf://{NAME}@{COMMIT}/data/bal_train"
    with hub(copy) as (url, asked):
        # in a process of its own: the address counts when the library is imported
        settings = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_secret"}
        settings |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "*"}
        line = [sys.executable, "-m", "slvr.ingest", "audioset", *listed(tmp_path)]
        line += ["--from-mirror", location, "--out", "out", "--workers", "1", "--max-fail", "1"]
        given = os.environ | settings
        done = subprocess.run(
            line, cwd=tmp_path, env=given, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (done.stdout, done.stderr, asked)
    assert f"{location}: parquet files, 2 of them, revision {COMMIT}" in done.stdout
    made = {key: row.clip for key, row in rows(tmp_path).items()}
    assert made.pop(LACKING).reason == "not_in_mirror"
    assert {clip.status for clip in made.values()} == {"ok"} and len(made) == N - 1
    clip = made[video(0)]
    assert clip.source.uri.startswith(f"{location}/00.parquet#row-group-0-row-")
    assert clip.source_sha256 == sha256(held[video(0)])
    manifest = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert manifest["extra"]["mirror"] == {"layout": "parquet files", "revision": COMMIT}
    assert sum("GET" in each and "00.parquet" in each for each in asked) == 1  # whole, once
    kept = [p.read_bytes() for p in (tmp_path / "out").iterdir() if p.is_file()]
    assert not any(b"hf_secret" in content for content in kept)
