"""`ingest audioset` stopped by its source, by a signal or by a full disk, and asked again."""

import itertools
import os
import random
import resource
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from audioset_runs import SHORT, attempts, audioset, lists, routes_of, shard_bytes, statuses, video
from conftest import command, run
from loopback import Route, serve
from slvr.ingest.building.ledger import LEDGER
from slvr.ingest.looks.status import read_state
from slvr.shards.read import ShardDirectory
from slvr.shards.verify import verify


def wait_for(found: Callable[[], object], seconds: float = 60.0) -> None:
    end_s = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end_s, "waited too long"
        time.sleep(0.002)


def test_a_source_that_goes_on_refusing_stops_the_run_cleanly(tmp_path: Path) -> None:
    listed = lists(tmp_path, 6)
    refusing = {f"v{i}": Route(SHORT, fault="status", status=429) for i in range(6)}
    with serve(routes_of(6, **{k: v for k, v in refusing.items() if k != "v0"})) as server:
        line = audioset(server, listed, "s", "--workers", "2", "--max-blocked", "2")
        stopped = run("ingest", *line, cwd=tmp_path)
        assert stopped.returncode == 1 and "Traceback" not in stopped.stderr
        assert "refuses us (rate_limit" in stopped.stderr and "3 times in a row" in stopped.stderr
        assert "run the same command again" in stopped.stderr
        assert "paused for 0 s" in stopped.stderr
        assert not (tmp_path / "s" / "dataset.json").exists()
        assert Counter(status for _, status, _ in attempts(tmp_path / "s"))["blocked"] <= 4
        told = run("ingest", "status", "s", cwd=tmp_path).stdout
        assert "not running" in told and "rate_limit" in told and "not tried" in told
        server.routes.update(routes_of(6))
        before = server.requests.copy()
        assert run("ingest", *line, cwd=tmp_path).returncode == 0
        for key, status, _ in attempts(tmp_path / "s"):
            assert status in ("ok", "blocked")
            if server.requests[f"/{key[1:]}"] == before[f"/{key[1:]}"]:
                assert status == "ok"  # not asked for again
    assert set(statuses(tmp_path / "s").values()) == {"ok"}


def test_a_refusal_pauses_the_run_as_long_as_the_server_asks(tmp_path: Path) -> None:
    listed = lists(tmp_path, 3)
    refused = Route(SHORT, fault="status", status=429, retry_after="2", times=1)
    with serve(routes_of(3, v0=refused, v1=refused, v2=refused)) as server:
        done = run("ingest", *audioset(server, listed, "s", "--workers", "1"), cwd=tmp_path)
    assert done.returncode == 0 and "paused for 2 s" in done.stderr
    with closing(sqlite3.connect(tmp_path / "s" / LEDGER)) as db:
        tries = db.execute("SELECT started_s, took_s, status FROM attempts ORDER BY id").fetchall()
    gaps_s = [
        after[0] - (before[0] + before[1])
        for before, after in itertools.pairwise(tries)
        if before[2] == "blocked"
    ]
    assert len(gaps_s) == 3 and min(gaps_s) >= 1.9
    assert set(statuses(tmp_path / "s").values()) == {"ok"}


@pytest.mark.slow
def test_retry_asks_only_for_what_failed_and_rewrites_only_its_shards(tmp_path: Path) -> None:
    """One clip is refused while the others are not, one fails for now, one is gone."""
    listed = lists(tmp_path, 12)
    faults = {
        "v2": Route(fault="status", status=403),
        "v5": Route(SHORT, fault="reset"),
        "v7": Route(fault="status", status=404),
    }
    small = ("--shard-mb", "0.15", "--workers", "2", "--retries", "1")
    out = tmp_path / "s"
    with serve(routes_of(12, **faults)) as server:
        done = run("ingest", *audioset(server, listed, "s", *small), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "2 of them failed for now: `ingest retry s` asks for them again" in done.stdout
        failed = {key: status for key, status in statuses(out).items() if status != "ok"}
        assert failed == {video(2): "blocked", video(5): "transient", video(7): "gone"}
        assert len([key for key, *_ in attempts(out) if key == f"Y{video(5)}"]) == 2
        retry = ("retry", "s", "--source-url", server.url("/{id}"), "--workers", "2")
        assert run("ingest", *retry, "--status", "silent", cwd=tmp_path).returncode == 0
        before = {path: path.stat().st_mtime_ns for path in out.glob("*.tar")}
        requests = server.requests.copy()

        server.routes.update(routes_of(12))
        assert run("ingest", *retry, cwd=tmp_path).returncode == 0
        asked = {path[1:] for path, n in server.requests.items() if n > requests[path]}
        assert asked == {video(2), video(5)}
        changed = {path.name for path, then in before.items() if path.stat().st_mtime_ns > then}
        rows = ShardDirectory.open(out).rows().set_index("key")
        assert changed == {rows.loc[f"Y{video(i)}", "shard"] for i in (2, 5)} and len(before) > 2
        assert rows["status"].value_counts().to_dict() == {"ok": 11, "gone": 1}

        assert run("ingest", *retry, "--status", "gone", cwd=tmp_path).returncode == 0
        assert run("ingest", *audioset(server, listed, "t", *small), cwd=tmp_path).returncode == 0
        assert shard_bytes(out) == shard_bytes(tmp_path / "t")
        wrong = run("ingest", *retry, "--status", "lost", cwd=tmp_path)
        assert wrong.returncode == 2 and "expected some of gone, geo" in wrong.stderr
    assert verify(ShardDirectory.open(out)) == []
    assert not (out / "spool").exists()


@pytest.mark.parametrize(
    ("n_clips", "n_kills"),
    [
        pytest.param(30, 3, marks=pytest.mark.slow),
        pytest.param(200, 25, marks=pytest.mark.long),
    ],
)
def test_killed_at_any_point_it_ends_with_the_same_bytes(
    tmp_path: Path, n_clips: int, n_kills: int
) -> None:
    listed = lists(tmp_path, n_clips)
    small = ("--shard-mb", "0.4", "--workers", "3")
    chance = random.Random(7)
    with serve(routes_of(n_clips, v4=Route(fault="status", status=404))) as server:
        whole = run("ingest", *audioset(server, listed, "whole/s", *small), cwd=tmp_path)
        assert whole.returncode == 0, whole.stderr
        server.requests.clear()
        line = audioset(server, listed, "broken/s", *small)
        targets = sorted(chance.sample(range(2, 2 * n_clips), n_kills))
        for target in targets:
            process = subprocess.Popen(command("ingest", *line), cwd=tmp_path, stderr=-3, stdout=-3)
            wait_for(lambda at=target: server.requests.total() >= at)
            time.sleep(chance.uniform(0, 0.05))  # between two requests, too
            process.kill()
            process.wait()
        done = run("ingest", *line, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        in_flight = 3 * n_kills
        assert server.requests.total() <= 2 * (n_clips + in_flight)
    assert shard_bytes(tmp_path / "broken" / "s") == shard_bytes(tmp_path / "whole" / "s")
    assert not (tmp_path / "broken" / "s" / "spool").exists()


def test_while_it_runs_it_tells_its_status_and_refuses_a_second_one(tmp_path: Path) -> None:
    """Then Ctrl-C in the middle of a long pause ends it at once."""
    listed = lists(tmp_path, 8)
    refused = Route(fault="status", status=429, retry_after="900")
    with serve(routes_of(8, **{f"v{i}": refused for i in range(4, 8)})) as server:
        line = audioset(server, listed, "s", "--workers", "1")
        process = subprocess.Popen(command("ingest", *line), cwd=tmp_path, stderr=subprocess.PIPE)
        try:
            out = tmp_path / "s"
            wait_for(lambda: (out / LEDGER).exists() and "blocked" in str(attempts_or_none(out)))
            status = read_state(out)
            assert (status.writer, status.about.n_clips) == (process.pid, 8)
            assert 1 <= status.n_settled <= 4 and status.per_hour and status.left_s
            told = run("ingest", "status", "s", cwd=tmp_path).stdout
            assert f"audioset, running, process {process.pid}: " in told
            assert "clips an hour, about" in told and "h left" in told
            second = run("ingest", *line, cwd=tmp_path)
            assert second.returncode == 2
            assert f"another ingest (process {process.pid}) writes there" in second.stderr
        finally:
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130 and b"Traceback" not in stderr
    assert read_state(out).writer is None


def attempts_or_none(out: Path) -> list[tuple[str, str, str]] | None:
    try:
        return attempts(out)
    except sqlite3.OperationalError:  # the process has not made the tables yet
        return None


@pytest.mark.parametrize(
    "limit_bytes", [20_000, 40_000, 100_000], ids=["ledger", "source", "shard"]
)
def test_a_full_disk_is_a_sentence_and_loses_nothing(tmp_path: Path, limit_bytes: int) -> None:
    """A limit on file sizes fails writes as a full disk does."""
    listed = lists(tmp_path, 12)
    with serve(routes_of(12)) as server:
        line = audioset(server, listed, "s", "--workers", "1")

        def limit_files() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

        full = run("ingest", *line, cwd=tmp_path, preexec_fn=limit_files)
        assert full.returncode == 1 and "Traceback" not in full.stderr, full.stderr
        assert "finished work is kept" in full.stderr
        assert not (tmp_path / "s" / "dataset.json").exists()
        assert run("ingest", *line, cwd=tmp_path).returncode == 0
    assert set(statuses(tmp_path / "s").values()) == {"ok"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into read-only folders")
def test_a_read_only_output_is_a_sentence(tmp_path: Path) -> None:
    listed = lists(tmp_path, 1)
    (tmp_path / "s").mkdir(mode=0o500)
    with serve(routes_of(1)) as server:
        done = run("ingest", *audioset(server, listed, "s"), cwd=tmp_path)
    assert done.returncode == 2 and "Permission denied" in done.stderr
    assert "Traceback" not in done.stderr
