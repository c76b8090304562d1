"""`ingest folder` on names and files as people have them."""

import os
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from conftest import noise, run
from loopback import Route, serve, tones
from slvr.ingest.cli import allowed, least_allowing
from slvr.ingest.endings import AUDIO_ENDINGS, begins_like_audio, ending_of
from slvr.ingest.recipes.folder import Folder
from slvr.shards.read import ShardDirectory

AMR = b"#!AMR\n" + (b"\x3c" + bytes(31)) * 50
"""A second of AMR narrow band; the frames hold 12.2 kbit/s."""


def write_wav(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(os.fsencode(path), noise(8000, seed), 16_000)


def write_coded(path: Path, container: str, codec: str, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        wave = noise(rate, 1)[None].astype(np.int16)
        frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
        frame.sample_rate = rate
        fit = av.AudioResampler(stream.codec_context.format, "mono", rate)
        fifo = av.AudioFifo()
        for converted in fit.resample(frame):
            fifo.write(converted)
        for part in fifo.read_many(stream.codec_context.frame_size or rate, partial=True):
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))


def rows_of(path: Path) -> "dict[str, dict[str, object]]":
    table = ShardDirectory.open(path).rows()
    return {row["source_uri"]: row.to_dict() for _, row in table.iterrows()}


def test_names_with_a_colon_are_names(tmp_path: Path) -> None:
    """FFmpeg takes them for protocols, and would fetch other audio over the network."""
    root = tmp_path / "in"
    with serve({"/a.m4a": Route(tones("m4a", 12))}) as server:
        host = root / "http:" / f"127.0.0.1:{server.port}"
        for path in (host / "a.m4a", root / "talks" / "12:30 talk.m4a", root / "file:" / "b.m4a"):
            path.parent.mkdir(parents=True)
            path.write_bytes(tones("m4a", 3))
        done = run("ingest", "folder", ".", "--out", "../s", cwd=root)
        assert not server.requests
    assert done.returncode == 0, done.stdout + done.stderr
    rows = rows_of(tmp_path / "s")
    assert {row["status"] for row in rows.values()} == {"ok"} and len(rows) == 3
    assert all(abs(row["n_samples"] - 48_000) < 2000 for row in rows.values())
    assert list(ShardDirectory.open(tmp_path / "s").manifest.labels) == ["file:", "http:", "talks"]


def test_names_that_are_no_utf_8_are_escaped(tmp_path: Path) -> None:
    names = (b"birds/caf\xe9.wav", "birds/café.wav".encode(), b"v\xf6gel/a.wav")
    root = tmp_path / os.fsdecode(b"t\xf6ne")
    for i, name in enumerate((*names, rb"birds/back\slash \xe9.wav")):
        write_wav(root / os.fsdecode(name), i)
    done = run("ingest", "folder", os.fsdecode(b"t\xf6ne"), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = rows_of(tmp_path / "shards" / r"t\xf6ne")
    assert {uri: (row["status"], list(row["labels"])) for uri, row in rows.items()} == {
        r"birds/caf\xe9.wav": ("ok", ["birds"]),
        "birds/café.wav": ("ok", ["birds"]),
        r"v\xf6gel/a.wav": ("ok", [r"v\xf6gel"]),
        r"birds/back\slash \xe9.wav": ("ok", ["birds"]),
    }
    assert len({row["pcm_sha256"] for row in rows.values()}) == 4
    assert run("ingest", "verify", r"shards/t\xf6ne", cwd=tmp_path).returncode == 0

    write_wav(root / r"birds/caf\xe9.wav", 5)
    done = run("ingest", "folder", os.fsdecode(b"t\xf6ne"), "--out", "t", cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert r"two files are written birds/caf\xe9.wav" in done.stderr


def test_readable_endings_are_read_and_the_others_are_named(tmp_path: Path) -> None:
    root = tmp_path / "in" / "a"
    for i, ending in enumerate(("caf", "au", "w64", "AIFF", "sph", "rf64")):
        root.mkdir(parents=True, exist_ok=True)
        name = {"sph": "NIST"}.get(ending, ending.upper())
        soundfile.write(root / f"s{i}.{ending}", noise(8000, i), 16_000, format=name)
    coded = {
        **{"3gp": ("3gp", "aac"), "mov": ("mov", "aac"), "m4b": ("ipod", "aac")},
        **{"mp2": ("mp2", "mp2"), "flv": ("flv", "aac"), "wv": ("wv", "wavpack")},
        **{"ac3": ("ac3", "ac3"), "mka": ("matroska", "pcm_s16le"), "ts": ("mpegts", "mp2")},
    }
    for ending, (container, codec) in coded.items():
        rate = 32_000 if codec in ("mp2", "ac3") else 44_100
        write_coded(root / f"c.{ending}", container, codec, rate)
    (root / "voice.amr").write_bytes(AMR)
    write_wav(root / "x.wav")
    (root / "x.wav").rename(root / "recording of 12.30")
    (root / "c.mka").rename(root / "no_ending")
    for name in ("index.ts", "README", "list.m3u8", "list.m3u", "list.pls", "all.ffconcat"):
        (root / name).write_text("#EXTM3U\nx.wav\n")
    (root / "photo").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00")
    (root / "text").write_text("a text of Windows", encoding="utf-16")
    (root / "picture").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    plan = Folder(str(tmp_path / "in")).plan(tmp_path)
    taken = {Path(clip.source.uri).name for clip in plan.clips}
    assert taken == {
        *("s0.caf", "s1.au", "s2.w64", "s3.AIFF", "s4.sph", "s5.rf64", "voice.amr"),
        *(f"c.{ending}" for ending in coded if ending != "mka"),
        *("no_ending", "recording of 12.30"),
    }
    assert plan.notes == (
        "9 other files are ignored, no audio by their endings: 4 without an ending (e.g. "
        "a/README), 1 .ffconcat (e.g. a/all.ffconcat), 1 .ts (e.g. a/index.ts), 1 .m3u (e.g. "
        "a/list.m3u), 1 .m3u8 (e.g. a/list.m3u8), 1 .pls (e.g. a/list.pls)",
    )
    done = run("ingest", "folder", "in", "--out", "s", "--max-fail", "1", cwd=tmp_path)
    assert "9 other files are ignored" in done.stdout
    rows = rows_of(tmp_path / "s")
    wrong = {uri: row["reason"] for uri, row in rows.items() if row["status"] != "ok"}
    assert set(wrong) <= {"a/voice.amr"} and wrong.get("a/voice.amr") in (None, "all_zero")


def test_endings() -> None:
    assert [ending_of(n) for n in ("a.WAV", "a.3gp", "a.tar.gz", "take.2", "a", "a.", "ü.ä")] == [
        *(".wav", ".3gp", ".gz", "", "", "", ""),
    ]
    playlists = {".m3u", ".m3u8", ".pls", ".ffconcat", ".cue", ".xspf", ".asx", ".mpd", ".sdp"}
    assert not AUDIO_ENDINGS & playlists
    assert not begins_like_audio(Path("no such file"))


def test_git_lfs_pointers_are_rows(tmp_path: Path) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"
    for name in ("a.wav", "b.mp3", "c.flac", "d.m4a"):
        path = tmp_path / "in" / "dog" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pointer)
    done = run("ingest", "folder", "in", "--out", "s", cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "no clip is ok: s/clips.parquet lists them" in done.stdout
    rows = rows_of(tmp_path / "s")
    assert len(rows) == 4 and "ok" not in {row["status"] for row in rows.values()}


def test_what_to_type_to_accept_failures(tmp_path: Path) -> None:
    root = tmp_path / "in" / "dog"
    for i in range(6):
        write_wav(root / f"{i}.wav", i)
    soundfile.write(root / "quiet.wav", np.zeros(800), 16_000)
    line = ("folder", "in", "--out", "s")
    done = run("ingest", *line, cwd=tmp_path)
    assert done.returncode == 1
    (said,) = [text for text in done.stdout.splitlines() if text.startswith("more failures")]
    assert "allows, 1 of 7" in said
    typed = said.partition("run the same command again with ")[2].partition(";")[0].split()
    assert typed == ["--max-fail", "0.2"]
    assert run("ingest", *line, *typed, cwd=tmp_path).returncode == 0
    assert run("ingest", *line, "--max-fail", "0.14", cwd=tmp_path).returncode == 1


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 29, 100, 999, 22_160, 2_041_789])
def test_the_share_that_is_named_allows_these_failures_and_no_more(n: int) -> None:
    for n_failed in {1, 2, n // 3, n // 2, n - 1, *range(min(n, 100))} & set(range(n)):
        assert allowed(float(least_allowing(n_failed, n)), n) == n_failed
