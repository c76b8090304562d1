"""Downloads against a server on 127.0.0.1 that has a file, changes it, and breaks off."""

import contextlib
import hashlib
import multiprocessing
import os
import socket
import struct
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from loopback import Route, serve
from slvr.ingest import download as module
from slvr.ingest.download import RemoteFile, download

CONTENT = os.urandom(300_000)
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@dataclass
class State:
    """What the server does with its next requests, and what it was asked."""

    port: int = 0
    content: bytes = CONTENT
    tag: str = '"v1"'
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    """Bytes after which the next answers break off; those after them are whole."""
    statuses: list[int] = field(default_factory=list)
    """Of the next answers; those after them are 200."""
    asked: list[dict[str, str]] = field(default_factory=list)

    def url(self, path: str = "/file.zip") -> str:
        return f"http://127.0.0.1:{self.port}{path}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        state = self.server.state
        state.asked.append({"path": self.path, **{k.lower(): v for k, v in self.headers.items()}})
        status = state.statuses.pop(0) if state.statuses else 200
        if status != 200:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.send_header("Retry-After", "0")
            self.end_headers()
            return
        first = 0
        same = self.headers.get("If-Range", state.tag) == state.tag
        if "Range" in self.headers and state.ranges and same:
            first = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        size = len(state.content)
        if first >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        self.send_header("ETag", state.tag)
        self.send_header("Content-Length", str(size - first))
        self.end_headers()
        if state.cuts:
            self.wfile.write(state.content[first:][: state.cuts.pop(0)])
            self.wfile.flush()
            linger = struct.pack("ii", 1, 0)  # close() resets the connection
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
        else:
            with contextlib.suppress(ConnectionError):
                self.wfile.write(state.content[first:])


@contextlib.contextmanager
def serving() -> Iterator[State]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.state = State(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.state
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> Iterator[State]:
    monkeypatch.setattr(module, "BACKOFF_S", 0.0)
    monkeypatch.setattr(module, "BLOCK_BYTES", 1 << 14)
    with serving() as found:
        yield found


def begun(folder: Path, content: bytes, url: str) -> None:
    """A download that was killed after some bytes."""
    folder.mkdir()
    (folder / ".file.zip.partial").write_bytes(content)
    (folder / ".file.zip.validator").write_text(f'{{"url": "{url}", "validator": "\\"v1\\""}}')


def only_the_file(folder: Path) -> bool:
    return {path.name for path in folder.iterdir()} == {"file.zip", ".lock"}


def test_a_file_is_fetched_once(tmp_path: Path, state: State) -> None:
    file = RemoteFile("file.zip", (state.url(),), SHA256, len(CONTENT))
    assert download([file], tmp_path / "a") == []
    assert (tmp_path / "a" / "file.zip").read_bytes() == CONTENT and only_the_file(tmp_path / "a")
    assert download([file], tmp_path / "a") == [] and len(state.asked) == 1


def test_cuts_are_resumed_where_they_were(tmp_path: Path, state: State) -> None:
    state.cuts = [100_000, 1, 150_000]
    download([RemoteFile("file.zip", (state.url(),), SHA256)], tmp_path)
    assert (tmp_path / "file.zip").read_bytes() == CONTENT
    ranges = [int(asked["range"][6:-1]) for asked in state.asked[1:]]
    assert len(ranges) == 3 and 0 < ranges[0] <= ranges[1] <= ranges[2] < len(CONTENT)
    assert all(asked["if-range"] == '"v1"' for asked in state.asked[1:])


def test_a_killed_download_goes_on(tmp_path: Path, state: State) -> None:
    begun(tmp_path / "a", CONTENT[:70_000], state.url())
    download([RemoteFile("file.zip", (state.url(),), SHA256)], tmp_path / "a")
    assert state.asked[0]["range"] == "bytes=70000-"
    assert (tmp_path / "a" / "file.zip").read_bytes() == CONTENT and only_the_file(tmp_path / "a")


def test_a_whole_partial_file_is_taken(tmp_path: Path, state: State) -> None:
    begun(tmp_path / "a", CONTENT, state.url())
    download([RemoteFile("file.zip", (state.url(),), SHA256)], tmp_path / "a")
    assert only_the_file(tmp_path / "a")


@pytest.mark.parametrize("reason", ["changed", "no ranges", "other url", "longer", "no validator"])
def test_what_cannot_be_resumed_begins_anew(tmp_path: Path, state: State, reason: str) -> None:
    begun(tmp_path / "a", b"x" * (10**6 if reason == "longer" else 70_000), state.url())
    match reason:
        case "changed":
            state.tag = '"v2"'
        case "no ranges":
            state.ranges = False
        case "other url":
            begun_at = (tmp_path / "a" / ".file.zip.validator").read_text()
            (tmp_path / "a" / ".file.zip.validator").write_text(begun_at.replace("/file", "/else"))
        case "no validator":
            (tmp_path / "a" / ".file.zip.validator").unlink()
    download([RemoteFile("file.zip", (state.url(),), SHA256)], tmp_path / "a")
    assert (tmp_path / "a" / "file.zip").read_bytes() == CONTENT


def test_passing_refusals_are_tried_again_others_are_not(tmp_path: Path, state: State) -> None:
    state.statuses = [503, 429, 500]
    download([RemoteFile("file.zip", (state.url(),), SHA256)], tmp_path / "a")
    assert len(state.asked) == 4
    state.statuses, state.asked = [404], []
    with pytest.raises(OSError, match=r"HTTP 404.*save it as .*file\.zip by other means"):
        download([RemoteFile("file.zip", (state.url(),), SHA256)], tmp_path / "b")
    assert len(state.asked) == 1
    state.statuses = [503] * 20
    with pytest.raises(OSError, match="HTTP 503"):
        download([RemoteFile("file.zip", (state.url(),), SHA256)], tmp_path / "c")


def test_a_connection_that_ends_early_without_an_error_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BACKOFF_S", 0.0)
    with serve({"/file.zip": Route(CONTENT, fault="truncate", times=1)}) as server:
        download([RemoteFile("file.zip", (server.url("/file.zip"),))], tmp_path)
        assert server.requests["/file.zip"] == 2
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_a_file_with_a_wrong_checksum_is_not_kept(tmp_path: Path, state: State) -> None:
    file = RemoteFile("file.zip", (state.url(),), SHA256)
    state.content = bytes(len(CONTENT))
    with pytest.raises(OSError, match="sha256"):
        download([file], tmp_path)
    state.content = CONTENT
    download([file], tmp_path)
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_mirrors_are_asked_in_order(tmp_path: Path, state: State) -> None:
    with serving() as other:
        other.content = b"<html>please log in</html>"
        urls = (other.url("/gone.zip"), other.url("/login"), state.url())
        other.statuses = [404]
        download([RemoteFile("file.zip", urls, SHA256)], tmp_path)
        assert [asked["path"] for asked in other.asked] == ["/gone.zip", "/login"]
        assert (tmp_path / "file.zip").read_bytes() == CONTENT and only_the_file(tmp_path)
        with pytest.raises(OSError, match=r"/gone.zip: sha256 \w+, expected \w+; .*/login: sha256"):
            download([RemoteFile("file.zip", urls[:2], SHA256)], tmp_path / "b")
    assert not (tmp_path / "b" / "file.zip").exists()


def test_a_host_that_cannot_be_reached_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BACKOFF_S", 0.0)
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/x"
        with pytest.raises(OSError, match=r"refused.*by other means"):
            download([RemoteFile("file.zip", (url,), SHA256)], tmp_path)


def test_a_checksum_that_may_vary_is_a_note(tmp_path: Path, state: State) -> None:
    file = RemoteFile("file.zip", (state.url(),), f"md5:{'0' * 32}", varies=True)
    (note,) = download([file], tmp_path)
    assert hashlib.md5(CONTENT).hexdigest() in note and "its content is checked instead" in note
    assert (tmp_path / "file.zip").exists()


def test_the_disk_is_looked_at_before_the_first_byte(tmp_path: Path, state: State) -> None:
    with pytest.raises(OSError, match=r"1000000000000 MB are to come, \d+ MB are free"):
        download([RemoteFile("file.zip", (state.url(),), "", 10**18)], tmp_path)
    with pytest.raises(OSError, match="are to come"):
        download([RemoteFile("file.zip", (state.url(),))], tmp_path, 10**18)
    assert state.asked == []


def test_proxies_come_from_the_environment(
    tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{state.port}")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr(urllib.request, "_opener", None)  # has read the environment already
    download([RemoteFile("file.zip", ("http://archive.invalid/file.zip",), SHA256)], tmp_path)
    assert state.asked[0]["path"] == "http://archive.invalid/file.zip"
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_two_processes_fetch_it_once(tmp_path: Path, state: State) -> None:
    file = RemoteFile("file.zip", (state.url(),), SHA256)
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=download, args=([file], tmp_path)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(state.asked) == 1
