"""A ledger that is damaged, empty or of another's: told, and rebuilt from finished shards."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import soundfile

from audioset_runs import audioset, lists, routes_of, shard_bytes, video
from conftest import noise, run
from loopback import Route, serve
from slvr.ingest.building.ledger import LEDGER
from slvr.ingest.cli import main

LINE = ("folder", "in", "--unlabelled", "--out", "out", "--shard-mb", "0.05", "--max-fail", "0.5")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished directory of several shards, one clip of which failed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for i in range(4):
        soundfile.write(tmp_path / "in" / f"{i}.wav", noise(16_000, i), 16_000)
    (tmp_path / "in" / "broken.wav").write_bytes(b"RIFF")
    assert main(LINE) == 0
    return tmp_path / "out"


def damage(ledger: Path, how: str) -> None:
    if how == "empty":
        ledger.write_bytes(b"")
    elif how == "text":
        ledger.write_text("no data base at all\n" * 300)
    elif how == "cut":
        ledger.write_bytes(ledger.read_bytes()[:5000])
    elif how == "zeros":
        content = bytearray(ledger.read_bytes())
        content[4096:] = bytes(len(content) - 4096)
        ledger.write_bytes(content)
    else:
        with closing(sqlite3.connect(ledger)) as db, db:
            db.execute(how)


HOWS = (
    *("empty", "text", "cut", "zeros", "UPDATE clips SET row = 'x'", "UPDATE plan SET about = '['"),
    "UPDATE shards SET info = NULL",
)


@pytest.mark.parametrize("how", HOWS)
def test_the_same_command_rebuilds_what_finished_shards_prove(
    made: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = shard_bytes(made)
    tars = {path: path.stat().st_ino for path in made.glob("*.tar")}
    damage(made / LEDGER, how)
    for command in ("status", "retry"):
        assert main([command, "out"]) == 2
        told = capsys.readouterr().err
        assert "ledger.sqlite: damaged" in told and "again: it keeps" in told
    assert main(LINE) == 0
    assert "5 of 5 shards are proven" in capsys.readouterr().err
    assert shard_bytes(made) == before
    assert {path: path.stat().st_ino for path in made.glob("*.tar")} == tars, "made anew"
    assert main(["status", "out"]) == 0 and main(["verify", "out"]) == 0


def test_a_shard_that_proves_nothing_is_made_anew(made: Path) -> None:
    before = shard_bytes(made)
    (made / LEDGER).write_bytes(b"")
    tar = min(made.glob("*.tar"))
    tar.write_bytes(tar.read_bytes()[:-2000])
    assert main(LINE) == 0
    assert shard_bytes(made) == before


def test_without_a_manifest_all_is_made_anew(made: Path) -> None:
    before = shard_bytes(made)
    (made / LEDGER).write_bytes(b"")
    (made / "dataset.json").unlink()
    assert main(LINE) == 0
    assert shard_bytes(made) == before


def test_shards_of_another_plan_are_not_taken(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (made / LEDGER).write_bytes(b"")
    soundfile.write("in/4.wav", noise(16_000, 4), 16_000)
    assert main(LINE) == 2
    assert "is not what this command asks for" in capsys.readouterr().err


def test_nothing_is_fetched_twice(tmp_path: Path) -> None:
    listed = lists(tmp_path, 3)
    with serve(routes_of(3, v1=Route(fault="status", status=404))) as server:
        line = audioset(server, listed, "s")
        assert run("ingest", *line, cwd=tmp_path).returncode == 0
        before, asked = shard_bytes(tmp_path / "s"), server.requests.copy()
        for name in ("dataset.json", "clips.parquet"):
            (tmp_path / "s" / name).unlink()
        (tmp_path / "s" / LEDGER).write_bytes(b"")
        done = run("ingest", *line, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        again = server.requests - asked
    assert set(again) == {f"/{video(1)}"}, "of the failed one nothing was proven"
    after = shard_bytes(tmp_path / "s")
    assert {n: b for n, b in after.items() if n.endswith(".tar")} == {
        n: b for n, b in before.items() if n.endswith(".tar")
    }
    shutil.rmtree(tmp_path / "s")
