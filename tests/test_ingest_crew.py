"""Worker processes that may go down, and exceptions that may not end a job."""

import threading
import time
from pathlib import Path

import pytest
import soundfile

import deadly
from audioset_runs import LABELS, SHORT
from conftest import noise, run
from loopback import Route, serve
from slvr.ingest import crew
from slvr.ingest.building import guarded, job
from slvr.ingest.building.part import make_part
from slvr.ingest.crew import CrashedError, Crew, HungError, StoppedError, threads_of
from slvr.ingest.measure import durations_s
from slvr.ingest.recipes.folder import Folder
from slvr.shards.clip import Clip, Source
from slvr.shards.rows import Row

FATAL = ("segfault", "abort", "memory", "leave")


def test_a_process_that_goes_down_costs_the_item_it_was_at() -> None:
    names = ["a", "abort", "bb", "memory", "ccc"]
    with Crew(1) as one:
        told = one.each(deadly.measure, names, lambda name, crash: str(crash))
        assert told[::2] == [1.0, 2.0, 3.0]
        assert told[1] == "its process ended by signal 6 (Aborted)"
        assert told[3] == "its process ended by signal 9 (Killed)"
        with pytest.raises(CrashedError, match="exit code 3"):
            one.call(deadly.measure, "leave")
        assert one.call(deadly.measure, "fine") == 4.0


def test_a_process_that_hangs_costs_the_item_it_was_at() -> None:
    """What sleeps imports nothing, so that a busy machine takes no other item for hung."""
    with Crew(1) as one:
        told = one.each(time.sleep, [0, 3600, 0], lambda s, crash: repr(crash), limit_s=4.0)
    assert told == [None, "HungError('no answer after 4 s')", None]


def test_a_decoder_that_hangs_is_a_reason_of_its_own() -> None:
    clip = guarded.crashed(a_clip(1.0), HungError("no answer after 601 s"))
    assert (clip.status, clip.reason) == ("corrupt", "decoder_hung")
    assert clip.detail == "no answer after 601 s"


def test_nobody_waits_a_million_years() -> None:
    assert guarded.limit_s([a_clip(5.0), a_clip(1.0)]) == guarded.HANG_S + 6.0
    with Crew(1) as one:  # beyond what the system's clocks can count, too
        told = one.each(deadly.measure, ["a"], lambda name, crash: str(crash), limit_s=3e13)
        assert told == [1.0]


def a_clip(seconds: float) -> Clip:
    return Clip(key="a", split="train", source=Source("a"), n_samples=round(16_000 * seconds))


def test_what_a_call_raises_comes_back_and_the_worker_goes_on() -> None:
    with Crew(1) as one:
        with pytest.raises(UnicodeDecodeError) as raised:
            one.call(deadly.measure, "raise")
        assert "in strike" in raised.value.__notes__[0]
        with pytest.raises(RuntimeError, match="LocalError: x"):
            one.call(deadly.raise_what_does_not_pickle, "x")
        (process,) = one._processes
        assert one.call(deadly.measure, "fine") == 4.0 and one._processes == {process}


def test_stopping_ends_calls_in_the_middle_and_later_ones() -> None:
    with pytest.raises(ZeroDivisionError), threads_of(Crew(1), 2) as pool:
        calls = []
        one = Crew(1)

        def ask() -> None:
            try:
                one.call(time.sleep, 600)
            except StoppedError as stopped:
                calls.append(stopped)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        while not one._processes:
            time.sleep(0.01)
        one.stop()
        for thread in threads:
            thread.join()
        assert len(calls) == 3 and not one._processes
        with pytest.raises(StoppedError):
            one.call(len, "x")
        pool.submit(int)
        raise ZeroDivisionError


def test_a_worker_that_cannot_start_is_no_fault_of_a_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "_serve", deadly.die_at_start)
    with Crew(1) as one, pytest.raises(ChildProcessError, match=r"could not start.*exit code 1"):
        one.each(deadly.measure, ["a"], lambda name, crash: str(crash))


def test_planning_survives_what_it_measures() -> None:
    names = [f"{'ab' * (i % 7)}" for i in range(150)]
    names[3], names[70], names[149] = "abort", "raise", "segfault"
    told = durations_s("measure", names, deadly.measure)
    assert [i for i, seconds in enumerate(told) if seconds is None] == [3, 70, 149]
    assert told[:3] == [0.0, 2.0, 4.0]


def write_sounds(root: Path, names: list[str]) -> Path:
    for i, name in enumerate(names):
        path = root / f"class_{i % 2}" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise(8000, i), 16_000)
    return root


def built(recipe: Folder, out: Path, workers: int) -> tuple[dict[str, Row], dict[str, bytes]]:
    job.prepare(out)
    outcome = job.build(recipe, recipe.plan(out), out, "flac", workers, 0.1)
    tars = {path.name: path.read_bytes() for path in out.glob("*.tar")}
    return {Path(row.clip.source.uri).stem: row for row in outcome.rows}, tars


def test_whatever_one_file_does_the_others_are_made_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "TASK_S", 2.0)
    bad = [*FATAL, "raise", "unread"]
    names = [f"good {i}" for i in range(20)] + bad
    sounds = str(write_sounds(tmp_path / "sounds", names))
    rows, tars = built(deadly.DeadlyFolder(sounds), tmp_path / "deadly", workers=2)
    _, expected = built(deadly.CautiousFolder(sounds), tmp_path / "cautious", workers=1)
    assert tars == expected and len(tars) > 3
    for name in names:
        clip = rows[name].clip
        assert clip.status == ("corrupt" if name in bad else "ok"), (name, clip)
        if name in FATAL:
            assert clip.reason == "decoder_crashed" and "its process ended" in clip.detail
    assert rows["raise"].clip.reason == "unexpected_error"
    assert rows["raise"].clip.detail.startswith("UnicodeDecodeError: 'utf-8' codec can't decode")
    assert rows["unread"].clip.reason == "unreadable"
    assert "PermissionError: [Errno 13] Permission denied" in rows["unread"].clip.detail


def test_a_clip_that_goes_well_alone_is_ok(tmp_path: Path) -> None:
    """Its process was ended for what others did, say: the memory was full."""
    recipe = deadly.DeadlyFolder(
        str(write_sounds(tmp_path / "sounds", ["unlucky"])), memory=str(tmp_path)
    )
    rows, _ = built(recipe, tmp_path / "out", workers=1)
    assert rows["unlucky"].clip.status == "ok"


def test_a_shard_made_in_one_place_keeps_exceptions_as_rows(tmp_path: Path) -> None:
    recipe = deadly.DeadlyFolder(str(write_sounds(tmp_path / "sounds", ["good", "raise"])))
    plan = recipe.plan(tmp_path)
    part = make_part(recipe, "train-000000", plan.clips, tmp_path, "flac")
    assert sorted(row.clip.status for row in part.rows) == ["corrupt", "ok"]


def test_the_machines_own_trouble_still_ends_the_job(tmp_path: Path) -> None:
    recipe = deadly.DeadlyFolder(str(write_sounds(tmp_path / "sounds", ["good", "full"])))
    with pytest.raises(OSError, match="No space left"):
        built(recipe, tmp_path / "out", workers=2)


def test_a_video_that_takes_its_decoder_down_costs_one_clip(tmp_path: Path) -> None:
    ids = [f"{word:_<11}" for word in (*FATAL, "raise", "bugs", "good_1", "good_2", "good_3")]
    lines = [f'{i}, 0.500, 2.000, "/m/09x0r"' for i in ids]
    (tmp_path / "segments.csv").write_text("\n".join(lines))
    (tmp_path / "labels.csv").write_text(LABELS)
    with serve({f"/{i}": Route(SHORT) for i in ids}) as server:
        recipe = deadly.DeadlyAudioSet(
            segments=str(tmp_path / "segments.csv"),
            label_names=str(tmp_path / "labels.csv"),
            source_url=server.url("/{id}"),
            rate="unlimited",
            retries=0,
        )
        job.prepare(tmp_path / "s")
        plan = recipe.plan(tmp_path)
        outcome = job.build(recipe, plan, tmp_path / "s", "flac", 3, 128.0)
        # a page and a file for each: a crash is no reason to fetch once more
        assert all(server.requests[f"/{i}"] == (0 if "bugs" in i else 2) for i in ids)
    found = {row.clip.source.id.strip("_"): row.clip for row in outcome.rows}
    for word in FATAL:
        assert (found[word].status, found[word].reason) == ("corrupt", "decoder_crashed")
    assert (found["raise"].status, found["raise"].reason) == ("corrupt", "unexpected_error")
    # nothing is known of a clip that could not be fetched for a reason of ours
    assert (found["bugs"].status, found["bugs"].detail) == ("transient", "KeyError: 'formats'")
    assert {found[f"good_{i}"].status for i in (1, 2, 3)} == {"ok"}


def test_cookies_that_cannot_be_read_end_the_job(tmp_path: Path) -> None:
    (tmp_path / "cookies.txt").write_text("no cookies\n")
    (tmp_path / "segments.csv").write_text('good_1_____, 0.500, 2.000, "/m/09x0r"')
    (tmp_path / "labels.csv").write_text(LABELS)
    lists = ("--segments", "segments.csv", "--label-names", "labels.csv")
    line = ("audioset", *lists, "--out", "s", "--cookies", "cookies.txt", "--rate", "unlimited")
    done = run("ingest", *line, cwd=tmp_path)
    assert done.returncode == 2 and "cookies: cookies.txt, line 1: " in done.stderr
    assert "no cookies" not in done.stderr  # what stands in the file may be a secret
    assert "Traceback" not in done.stderr
