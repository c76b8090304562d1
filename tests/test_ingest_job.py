import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import command, noise, run
from slvr.ingest.building import job
from slvr.ingest.building.deal import deal
from slvr.ingest.building.ledger import About, Ledger
from slvr.ingest.building.part import make_part
from slvr.ingest.building.spool import Spool
from slvr.ingest.recipe import ClipPlan
from slvr.ingest.recipes.folder import Folder
from slvr.shards.audio import with_audio
from slvr.shards.clip import Clip, Event, Source
from slvr.shards.read import ShardDirectory


def write_sounds(root: Path, n_clips: int, seconds: float = 0.5) -> Path:
    for i in range(n_clips):
        path = root / f"class_{i % 3}" / f"sound {i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise(round(seconds * 22_050), i), 22_050)
    return root


def bytes_of(directory: Path) -> dict[str, bytes]:
    """What must not depend on how the directory came to be."""
    return {
        path.name: path.read_bytes()
        for path in directory.iterdir()
        if path.suffix in (".tar", ".idx", ".parquet")
        or path.name in ("dataset.json", "croissant.json")
    }


def clips(n: int, seconds: float) -> list[Clip]:
    samples = round(seconds * 16_000)
    return [Clip(f"c{i}", "train", Source(f"{i}"), n_samples=samples) for i in range(n)]


def test_a_shard_is_the_unit_of_work(tmp_path: Path) -> None:
    """Made in other processes, in another order, each in a folder of its own: the same bytes."""
    write_sounds(tmp_path / "sounds", 12)
    (tmp_path / "sounds" / "class_0" / "sound 0.wav").write_bytes(b"no audio")
    recipe = Folder(str(tmp_path / "sounds"))
    plan = recipe.plan(tmp_path)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    job.prepare(whole)
    outcome = job.build(recipe, plan, whole, "flac", 1, 0.07)
    dealt = deal(plan.clips, 0.07)
    assert len(dealt) > 3
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        made = {}
        for name, planned in reversed(dealt.items()):
            (parts / name).mkdir(parents=True)
            made[name] = pool.submit(make_part, recipe, name, planned, parts / name, "flac")
        found = [made[name].result() for name in dealt]
    assert [part.info for part in found if part.info.n] == outcome.shards
    rows = sorted((row for part in found for row in part.rows), key=lambda row: row.clip.key)
    assert rows == sorted(outcome.rows, key=lambda row: row.clip.key)
    tars = [path for path in whole.iterdir() if path.suffix in (".tar", ".idx")]
    assert len(tars) == 2 * len(outcome.shards) == len(list(parts.glob("*/*.*")))
    for path in tars:
        assert path.read_bytes() == (parts / path.stem / path.name).read_bytes()


def test_dealing_depends_on_the_plan_alone() -> None:
    planned = clips(100, 10.0)
    dealt = deal(planned, shard_mb=3.3)
    assert dealt == deal(reversed(planned), shard_mb=3.3)
    assert [len(shard) for shard in dealt.values()] == [10] * 10
    assert list(dealt) == [f"train-{i:06d}" for i in range(10)]
    assert sorted(c.key for shard in dealt.values() for c in shard) == sorted(
        c.key for c in planned
    )
    for shard in dealt.values():
        assert [c.key for c in shard] == sorted(c.key for c in shard)


def test_a_clip_larger_than_a_shard_gets_its_own() -> None:
    assert [len(shard) for shard in deal(clips(3, 100.0), shard_mb=1).values()] == [1, 1, 1]


def test_any_number_of_workers_gives_the_same_bytes(tmp_path: Path) -> None:
    sounds = write_sounds(tmp_path / "sounds", 30, 2.5)  # four tasks
    made = []
    for workers in ("1", "3"):
        out = tmp_path / workers / "data"
        done = run(
            "ingest",
            "folder",
            str(sounds),
            "--out",
            str(out),
            "--workers",
            workers,
            "--shard-mb",
            "0.3",
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        made.append(bytes_of(out))
    assert len(made[0]) > 6 and made[0] == made[1]


def wait_for(found: "Iterable[object] | object", seconds: float = 60.0) -> None:
    end_s = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end_s, "waited too long"
        time.sleep(0.002)


def is_over(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_the_middle_the_same_command_completes_to_the_same_bytes(
    tmp_path: Path, number: signal.Signals
) -> None:
    sounds = write_sounds(tmp_path / "sounds", 240)
    whole, broken = tmp_path / "whole" / "data", tmp_path / "broken" / "data"
    options = ("--workers", "2", "--shard-mb", "0.1")
    assert (
        run("ingest", "folder", str(sounds), "--out", str(whole), *options, cwd=tmp_path).returncode
        == 0
    )

    line = command("ingest", "folder", str(sounds), "--out", str(broken), *options)
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: len(list(broken.glob("*.tar"))) >= 5)
    os.kill(process.pid, number)
    _, stderr = process.communicate(timeout=60)
    assert not (broken / "dataset.json").exists()
    finished = {path: path.stat().st_mtime_ns for path in broken.glob("*.tar")}
    assert 5 <= len(finished) < len(list(whole.glob("*.tar")))
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "run the same command to go on" in stderr and "Traceback" not in stderr
    wait_for(lambda: is_over(process.pid))  # no worker outlives the parent

    done = run("ingest", "folder", str(sounds), "--out", str(broken), *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert bytes_of(broken) == bytes_of(whole)
    kept = [path for path, mtime in finished.items() if path.stat().st_mtime_ns == mtime]
    assert len(kept) >= len(finished) - 1  # the last one may have had no ledger entry yet
    assert not list(broken.glob(".*"))


def flip(path: Path) -> None:
    """Changes one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_the_same_command_mends_damage_and_leaves_the_rest(tmp_path: Path) -> None:
    sounds = write_sounds(tmp_path / "sounds", 20)
    out = tmp_path / "data"
    line = ("folder", str(sounds), "--out", str(out), "--shard-mb", "0.1")
    assert run("ingest", *line, cwd=tmp_path).returncode == 0
    good = bytes_of(out)
    flip(out / "train-000001.tar")
    flip(out / "train-000002.idx")
    (out / "train-000000.idx").unlink()
    assert run("ingest", "verify", str(out), cwd=tmp_path).returncode == 1
    assert run("ingest", *line, cwd=tmp_path).returncode == 0
    assert bytes_of(out) == good
    before = {path: path.stat().st_mtime_ns for path in out.glob("train*")}
    flip(out / "croissant.json")
    again = run("ingest", *line, cwd=tmp_path)
    assert again.returncode == 0 and "20 of 20 clips" in again.stdout
    assert bytes_of(out) == good
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("train*")}


def test_a_full_disk_is_a_sentence_and_loses_nothing(tmp_path: Path) -> None:
    """A limit on file sizes fails writes as a full disk does."""
    sounds = write_sounds(tmp_path / "sounds", 10, seconds=5.0)
    out = tmp_path / "data"
    line = ("folder", str(sounds), "--out", str(out), "--workers", "1")

    def limit_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))

    full = run("ingest", *line, cwd=tmp_path, preexec_fn=limit_files)
    assert full.returncode == 1, full.stderr
    assert "finished work is kept" in full.stderr and "Traceback" not in full.stderr
    assert not (out / "dataset.json").exists()
    assert run("ingest", *line, cwd=tmp_path).returncode == 0
    assert len(ShardDirectory.open(out).dataset("train")) == 10

    next(out.glob("*.tar")).unlink()
    assert run("ingest", *line, cwd=tmp_path, preexec_fn=limit_files).returncode == 1
    for described in ("dataset.json", "croissant.json"):
        assert not (out / described).exists()


def test_status_and_retry_of_local_files(tmp_path: Path) -> None:
    sounds = write_sounds(tmp_path / "sounds", 3)
    (sounds / "class_0" / "broken.mp3").write_bytes(b"\xff" * 900)
    assert run("ingest", "folder", str(sounds), "--out", "s", cwd=tmp_path).returncode == 1
    told = run("ingest", "status", "s", cwd=tmp_path).stdout.split("\n")
    assert told[0] == "folder, not running: 4 of 4 clips settled (100.0 %)"
    assert told[1].split() == ["ok", "3"] and told[2].split()[0] == "corrupt"
    retry = run("ingest", "retry", "s", cwd=tmp_path)
    assert retry.returncode == 2 and "run `ingest folder` with another --out" in retry.stderr
    none = run("ingest", "status", "sounds", cwd=tmp_path)
    assert none.returncode == 2 and "no ledger.sqlite" in none.stderr


def test_a_disk_that_is_too_small_is_told_in_advance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = ClipPlan(tuple(clips(100, 10.0)), {}, {})
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(job.shutil, "disk_usage", lambda _: usage._replace(free=25_000_000))
    assert job.disk_note(plan, tmp_path / "new" / "out", "flac") is None
    told = job.disk_note(plan, tmp_path / "new" / "out", "wav")
    assert "25 MB free, about 32 MB are missing" in told
    (tmp_path / "train-000000.tar").write_bytes(bytes(8_000_000))
    assert job.disk_note(plan, tmp_path, "wav") is None


def test_foreign_and_busy_directories_are_refused(tmp_path: Path) -> None:
    sounds = write_sounds(tmp_path / "sounds", 3)
    other = write_sounds(tmp_path / "other", 4)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    (tmp_path / "file").write_text("")

    def stderr(folder: Path, out: str) -> str:
        done = run("ingest", "folder", str(folder), "--out", out, cwd=tmp_path)
        assert done.returncode == 2 and "Traceback" not in done.stderr
        return done.stderr

    assert "was not made by this command (holds chapter.tex)" in stderr(sounds, "thesis")
    assert "is a file" in stderr(sounds, "file")
    assert run("ingest", "folder", str(sounds), "--out", "data", cwd=tmp_path).returncode == 0
    assert "begun with other sources or options" in stderr(other, "data")
    assert len(ShardDirectory.open(tmp_path / "data").dataset("train")) == 3
    (tmp_path / "busy").mkdir()
    with Ledger(tmp_path / "busy", "x", About("folder", {}, "flac", 128.0, 3)):
        assert f"another ingest (process {os.getpid()}) writes there" in stderr(sounds, "busy")


def test_what_schema_1_has_begun_is_refused_by_every_command(tmp_path: Path) -> None:
    sounds = write_sounds(tmp_path / "sounds", 3)
    assert run("ingest", "folder", str(sounds), "--out", "old", cwd=tmp_path).returncode == 0
    with closing(sqlite3.connect(tmp_path / "old" / "ledger.sqlite")) as db:
        (schema,) = db.execute("PRAGMA user_version").fetchone()
        assert schema == 2
        db.execute("PRAGMA user_version=0")
    for line in (("folder", str(sounds), "--out", "old"), ("status", "old"), ("retry", "old")):
        done = run("ingest", *line, cwd=tmp_path)
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert "old: made with schema 1 of the shard directory" in done.stderr
        assert "run the same `ingest ...` with another --out" in done.stderr


def test_the_spool_gives_back_what_is_settled(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    planned = Clip(
        *("a", "train", Source("u", 1.0, 2.5), ("x", "y"), (Event("x", 0.5, 1.0),)),
        attributes={"pitch": 60, "level_db": -3.0, "take": "A"},
        licence="CC0-1.0",
    )
    made = with_audio(planned, np.arange(-50, 50, dtype=np.int16), "flac")
    gone = Clip("b", "train", Source("v")).failed("gone", "removed", "text\nof two lines")
    spool.put(made)
    spool.put(gone)
    assert (spool.get("a"), spool.get("b"), spool.get("c")) == (made, gone, None)
    spool.drop(["a"])
    assert (spool.get("a"), spool.get("b")) == (None, gone)


def test_what_a_power_cut_left_in_the_spool_is_made_anew(tmp_path: Path) -> None:
    """A file that was not synced may come back empty, cut off or with zeros in it."""
    spool = Spool(tmp_path / "spool")
    assert spool.keys() == frozenset()
    planned = [Clip(key, "train", Source("u")) for key in "abcd"]
    for clip in planned:
        spool.put(with_audio(clip, np.arange(-50, 50, dtype=np.int16), "flac"), synced=False)
    whole = (tmp_path / "spool" / "a").read_bytes()
    for key, left in zip("bcd", (b"", whole[:-1], whole[:-9] + bytes(9)), strict=True):
        (tmp_path / "spool" / key).write_bytes(left)
    (tmp_path / "spool" / ".e.partial").write_bytes(whole[:9])
    assert spool.keys() == {"a"}
    assert [key in spool for key in "abcd"] == [True, False, False, False]
