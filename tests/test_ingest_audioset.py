"""`ingest audioset` through the real yt-dlp, from a loopback server that misbehaves on order."""

import hashlib
import itertools
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from conftest import command, run
from loopback import Route, Server, serve, silence, silent_film, tone_hz, tones
from slvr.ingest.building.ledger import LEDGER
from slvr.ingest.download import RemoteFile
from slvr.ingest.looks.status import read_state
from slvr.ingest.recipes.audioset import AudioSet
from slvr.ingest.youtube import subsets
from slvr.shards.clip import SAMPLE_RATE_HZ
from slvr.shards.read import ShardDirectory
from slvr.shards.verify import verify

LABELS = 'index,mid,display_name\n0,/m/09x0r,Speech\n1,/t/dd00088,"Gush, spurt"\n'
SHORT = tones("m4a", 3)
QUICK = ("--rate", "unlimited", "--blocked-wait-s", "0.1", "--max-fail", "1")


def video(i: int) -> str:
    """An id; every third begins with a dash."""
    return f"{'-' if i % 3 == 0 else 'x'}{i:03d}_AAAAAA"


def lists(folder: Path, n_or_lines: int | list[str]) -> tuple[str, ...]:
    """Writes the two csv files; returns the options that name them."""
    if isinstance(n_or_lines, int):
        n_or_lines = [f'{video(i)}, 0.500, 2.000, "/m/09x0r"' for i in range(n_or_lines)]
    (folder / "segments.csv").write_text("# made here\n" + "\n".join(n_or_lines))
    (folder / "labels.csv").write_text(LABELS)
    return ("--segments", "segments.csv", "--label-names", "labels.csv")


def audioset(server: Server, listed: tuple[str, ...], out: str, *options: str) -> list[str]:
    source = ("--source-url", server.url("/{id}"))
    return ["audioset", *listed, *source, *QUICK, "--out", out, *options]


def routes_of(n: int, **faults: Route) -> dict[str, Route]:
    """Good routes for n videos; `v3=Route(...)` replaces one."""
    routes = {f"/{video(i)}": Route(SHORT) for i in range(n)}
    return routes | {f"/{video(int(name[1:]))}": route for name, route in faults.items()}


def attempts(out: Path) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(out / LEDGER)) as db:
        return db.execute("SELECT key, status, reason FROM attempts ORDER BY id").fetchall()


def shard_bytes(out: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in out.iterdir()
        if path.suffix in (".tar", ".idx", ".parquet")
    }


def statuses(out: Path) -> dict[str, str]:
    rows = ShardDirectory.open(out).rows()
    return dict(zip(rows["key"].str[1:], rows["status"], strict=True))


def wait_for(found: Callable[[], object], seconds: float = 60.0) -> None:
    end_s = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end_s, "waited too long"
        time.sleep(0.002)


# --- what becomes of a clip ------------------------------------------------------------------


def strongest_hz(pcm: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm)), 1 << 17))
    return float(np.argmax(spectrum) * SAMPLE_RATE_HZ / (1 << 17))


def test_segments_are_cut_where_the_list_says_and_failures_are_kept(tmp_path: Path) -> None:
    long = Route(tones("m4a"))
    cases = {
        "-m4aAAAAAAA": (3.0, 8.0, long, "ok"),
        "webmAAAAAAA": (3.0, 8.0, Route(tones("webm"), content_type="audio/webm"), "ok"),
        "one_AAAAAAA": (5.0, 6.0, long, "ok"),
        "nine_AAAAAA": (2.0, 11.0, long, "ok"),
        "fractionAAA": (3.3, 7.8, long, "ok"),
        "flakyAAAAAA": (0.0, 2.0, Route(SHORT, fault="status", status=503, times=1), "ok"),
        "no_rangesAA": (0.0, 2.0, Route(SHORT, ranges=False), "ok"),
        "goneAAAAAAA": (3.0, 8.0, Route(fault="status", status=404), "gone"),
        "gone_tooAAA": (3.0, 8.0, Route(fault="status", status=410), "gone"),
        "too_shortAA": (9.0, 13.0, long, "too_short"),
        "past_endAAA": (30.0, 40.0, long, "too_short"),
        "all_zeroAAA": (3.0, 8.0, Route(silence()), "silent"),
        "filmAAAAAAA": (0.0, 1.0, Route(silent_film(), content_type="video/mp4"), "silent"),
        "emptyAAAAAA": (0.0, 1.0, Route(fault="empty"), "corrupt"),
        "htmlAAAAAAA": (0.0, 1.0, Route(fault="html"), "corrupt"),
        "three_hours": (0.0, 1.0, Route(tones("m4a", 20)), "refused"),  # --max-source-s is 15
    }
    listed = lists(
        tmp_path,
        [f'{i}, {a:.3f}, {b:.3f}, "/m/09x0r,/t/dd00088"' for i, (a, b, *_) in cases.items()],
    )
    with serve({f"/{i}": route for i, (_, _, route, _) in cases.items()}) as server:
        line = audioset(server, listed, "s", "--max-source-s", "15", "--workers", "4")
        done = run("ingest", *line, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"{len(cases)} clips, at no set rate, about" in done.stdout
        assert "18 to 25 % of YouTube's to be gone" in done.stdout
        asked = server.requests.copy()
        assert run("ingest", *line, cwd=tmp_path).returncode == 0
        assert server.requests == asked  # nothing is fetched twice
    assert statuses(tmp_path / "s") == {i: status for i, (*_, status) in cases.items()}
    directory = ShardDirectory.open(tmp_path / "s")
    assert verify(directory) == []
    assert directory.manifest.labels == {"/m/09x0r": "Speech", "/t/dd00088": "Gush, spurt"}
    clips, dataset = directory.clips("train"), directory.dataset("train")
    for i, row in clips.iterrows():
        assert row["labels"] == ["/m/09x0r", "/t/dd00088"]
        pcm = dataset[i]
        assert len(pcm) == round((row["end_s"] - row["start_s"]) * SAMPLE_RATE_HZ)
        for second in range(int(row["end_s"] - row["start_s"])):
            middle = pcm[second * SAMPLE_RATE_HZ + 3000 : (second + 1) * SAMPLE_RATE_HZ - 3000]
            middle_s = row["start_s"] + second + 0.5
            if 0.2 < middle_s % 1 < 0.8:
                assert abs(strongest_hz(middle) - tone_hz(int(middle_s))) < 3, row["key"]


def test_where_a_clip_comes_from_is_on_record(tmp_path: Path) -> None:
    listed = lists(tmp_path, 1)
    with serve(routes_of(1)) as server:
        assert run("ingest", *audioset(server, listed, "s"), cwd=tmp_path).returncode == 0
        url = server.url(f"/{video(0)}")
    row = ShardDirectory.open(tmp_path / "s").rows().iloc[0]
    assert (row["source_uri"], row["source_bytes"], row["source_codec"]) == (url, len(SHORT), "aac")
    with closing(sqlite3.connect(tmp_path / "s" / LEDGER)) as db:
        db.row_factory = sqlite3.Row
        (attempt,) = [dict(found) for found in db.execute("SELECT * FROM attempts")]
    for name in ("source_uri", "source_bytes", "source_sha256", "source_format", "source_codec"):
        assert attempt[name] == row[name] and row[name], name
    assert (attempt["pcm_sha256"], attempt["n_samples"]) == (row["pcm_sha256"], 24_000)
    assert attempt["started_s"] == pytest.approx(time.time(), abs=100)
    assert all(f'"{name}"' in attempt["versions"] for name in ("yt-dlp", "av", "soxr"))


def test_any_order_of_arrival_gives_the_same_bytes(tmp_path: Path) -> None:
    listed = lists(tmp_path, 12)
    slow = routes_of(
        12,
        v1=Route(SHORT, fault="slow", pause_s=0.05),
        v5=Route(SHORT, fault="status", status=503, times=1),
        v7=Route(SHORT, fault="status", status=429, times=1),
    )
    made = []
    for workers, routes in (("1", routes_of(12)), ("5", slow)):
        shutil.rmtree(tmp_path / "s", ignore_errors=True)
        with serve(slow) as server:
            server.routes.update(routes)
            line = audioset(server, listed, "s", "--shard-mb", "0.15", "--workers", workers)
            line[line.index("--source-url") + 1] = server.url("/{id}")
            assert run("ingest", *line, cwd=tmp_path).returncode == 0
            port = str(server.port).encode()
        assert len(list((tmp_path / "s").glob("*.tar"))) >= 3
        pcm = ShardDirectory.open(tmp_path / "s").rows().drop(columns="source_uri").to_dict("list")
        tars = [path.read_bytes().replace(port, b"") for path in sorted(tmp_path.glob("s/*.tar"))]
        made.append((pcm, tars))
    assert made[0] == made[1]


# --- refusals and passing failures -----------------------------------------------------------


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


# --- interruptions ---------------------------------------------------------------------------


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


# --- the plan --------------------------------------------------------------------------------


def plan_keys(tmp_path: Path, **options: object) -> list[str]:
    paths = {"segments": "segments.csv", "label_names": "labels.csv"}
    chosen = {name: str(tmp_path / path) for name, path in paths.items()} | options
    return [clip.key[1:] for clip in AudioSet(**chosen).plan(tmp_path / "cache").clips]


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    lines = [f'{video(i)}, 0.000, 9.000, "{("/m/09x0r", "/t/dd00088")[i % 2]}"' for i in range(6)]
    lists(tmp_path, lines)
    return tmp_path


def test_ids_classes_and_limit_choose_clips(listed: Path) -> None:
    (listed / "ids").write_text(f"# mine\n{video(4)}\n{video(3)}\n{video(0)}\n")
    ids = str(listed / "ids")
    assert plan_keys(listed, ids=ids) == [video(0), video(3), video(4)]
    assert plan_keys(listed, classes=("gush, SPURT",)) == [video(1), video(3), video(5)]
    assert plan_keys(listed, classes=("/m/09x0r", "Gush, spurt")) == [video(i) for i in range(6)]
    assert plan_keys(listed, classes=("Speech",), ids=ids, limit=1) == [video(0)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ("Speach",)}, "no label 'Speach'.*for example Speech"),
        ({"classes": ("Gush, spurt",), "ids": "one"}, "no clip of the list is left"),
        ({"ids": "strange"}, "1 ids are not in the list, for example zzzzzzzzzzz"),
        ({"ids": "broken"}, "broken, line 2: got 'two ids'"),
        ({"limit": 0}, "--limit of 1 or more"),
        ({"rate": 0.0}, "--rate above 0"),
        ({"subset": "mtslvr", "split": "eval"}, "part of --split balanced"),
        ({"from_manifest": "x"}, "leave out --segments"),
        ({"ytdlp_option": ("retries",)}, "expected KEY=VALUE"),
        ({"ytdlp_option": ("outtmpl=x",)}, "outtmpl cannot be set"),
    ],
)
def test_wrong_choices_are_refused(listed: Path, options: dict[str, object], message: str) -> None:
    (listed / "one").write_text(video(0))
    (listed / "strange").write_text(f"{video(0)}\nzzzzzzzzzzz\n")
    (listed / "broken").write_text(f"{video(0)}\ntwo ids\n")
    if "ids" in options:
        options = options | {"ids": str(listed / str(options["ids"]))}
    with pytest.raises(ValueError, match=message):
        plan_keys(listed, **options)


def test_the_published_subset_keeps_its_two_sides(
    listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = {"train": [video(3), video(0)], "validation": [video(5)]}
    routes, known = {}, {}
    with serve(routes) as server:
        for side, ids in sides.items():
            np.save(listed / "list.npy", np.array([f"Y{i}" for i in ids]))
            body = (listed / "list.npy").read_bytes()
            routes[f"/{side}.npy"] = Route(body)
            md5 = hashlib.md5(body).hexdigest()
            known[side] = RemoteFile(f"{side}.npy", (server.url(f"/{side}.npy"),), f"md5:{md5}")
        monkeypatch.setattr(subsets, "MTSLVR", known)
        recipe = AudioSet(
            subset="mtslvr",
            segments=str(listed / "segments.csv"),
            label_names=str(listed / "labels.csv"),
        )
        for _ in range(2):
            plan = recipe.plan(listed / "cache")
            assert {clip.key[1:]: clip.split for clip in plan.clips} == {
                video(0): "train",
                video(3): "train",
                video(5): "validation",
            }
        assert set(server.requests.values()) == {1}
        (listed / "cache" / "train.npy").write_bytes(b"another")
        with pytest.raises(ValueError, match=r"train\.npy: md5 .*, expected"):
            recipe.plan(listed / "cache")


def test_another_groups_table_is_rebuilt_to_the_same_shards(tmp_path: Path) -> None:
    lines = [f'{video(i)}, 0.{i}00, 2.000, "/t/dd00088"' for i in range(5)]
    listed = lists(tmp_path, lines)
    with serve(routes_of(5, v2=Route(fault="status", status=404))) as server:
        assert run("ingest", *audioset(server, listed, "a/s"), cwd=tmp_path).returncode == 0
        same = ("--from-manifest", "a/s/clips.parquet", "--label-names", "labels.csv")
        assert run("ingest", *audioset(server, same, "b/s"), cwd=tmp_path).returncode == 0
    assert shard_bytes(tmp_path / "a" / "s") == shard_bytes(tmp_path / "b" / "s")
    table = pq.read_table(tmp_path / "a" / "s" / "clips.parquet")
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(table.set_column(0, "key", [[f"no_{i}" for i in range(5)]]), foreign)
    for path, message in ((foreign, "no AudioSet segment"), (tmp_path / "labels.csv", "cannot be")):
        with pytest.raises(ValueError, match=message):
            AudioSet(from_manifest=str(path), label_names=str(tmp_path / "labels.csv")).plan(
                tmp_path
            )


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ("a,b\n1,2\n", "got 2 columns, expected 4"),
        ('AAAAAAAAAAA, 1, 2, "/m/nope"\n', "label /m/nope is not in the list of classes"),
        (None, "segments.csv"),
    ],
)
def test_bad_lists_are_refused(tmp_path: Path, segments: str | None, message: str) -> None:
    (tmp_path / "labels.csv").write_text(LABELS)
    if segments is not None:
        (tmp_path / "segments.csv").write_text(segments)
    lists_given = ("--segments", "segments.csv", "--label-names", "labels.csv")
    done = run("ingest", "audioset", *lists_given, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


def test_the_opening_lines_tell_what_to_expect(
    listed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = {"segments": str(listed / "segments.csv"), "label_names": str(listed / "labels.csv")}
    monkeypatch.setattr(
        "slvr.ingest.recipes.audioset.missing_javascript_runtime", lambda: "No deno"
    )
    line, warning = AudioSet(**options, rate=2).plan(tmp_path).notes
    assert line.startswith(
        "6 clips, about 3.0 h at 2 videos an hour, about 1 MB; expect 18 to 25 %"
    )
    assert warning == "No deno"


# --- secrets ---------------------------------------------------------------------------------


def test_credentials_reach_no_file_and_no_message(tmp_path: Path) -> None:
    listed = lists(tmp_path, 1)
    (tmp_path / "cookies.txt").write_text(
        "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tSID\thunter2cookie\n"
    )
    private = (
        *("--proxy", "http://user:hunter2@127.0.0.1:9", "http://user:hunter2@127.0.0.1:7"),
        *("--source-url", "http://me:hunter2@127.0.0.1:9/{id}?token=hunter2"),
        *("--ytdlp-option", 'extractor_args={"youtube": {"po_token": ["hunter2"]}}'),
        *("--cookies", "cookies.txt"),
    )
    once = (*QUICK, "--retries", "0", "--max-blocked", "1", "--out", "s")
    told = run("ingest", "audioset", *listed, *once, *private, cwd=tmp_path)
    assert told.returncode == 1 and "refuses us (proxy" in told.stderr
    again = run("ingest", "retry", "s", *private, cwd=tmp_path)
    status = run("ingest", "status", "s", cwd=tmp_path)
    wrong = run("ingest", "audioset", *listed, "--proxy", "http://u:hunter2@h", cwd=tmp_path)
    assert wrong.returncode == 2
    for done in (told, again, status, wrong):
        assert "hunter2" not in done.stdout + done.stderr and "Traceback" not in done.stderr
    for path in (tmp_path / "s").rglob("*"):
        assert path.is_dir() or b"hunter2" not in path.read_bytes(), path
