"""Events of frame probabilities and their scores, against slow references."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import median_filter

from slvr.eval.event_scores import (
    EventScore,
    class_event_scores,
    event_score,
    segment_scores,
)
from slvr.eval.sound_events import (
    Events,
    PostProcessing,
    annotated,
    events_of_frames,
    frame_labels,
)
from slvr.shards.clip import Event

FIXTURES = Path(__file__).parents[2] / "shared" / "fixtures" / "k22"
FOUND = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the kits' own numbers are not here")


def rows(events: Events) -> list[tuple[int, int, float, float]]:
    columns = (events.file, events.label, events.onset_s, events.offset_s)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def slow_events(values, stamps, median_ms, least_ms, threshold):
    order = np.argsort(stamps)
    values, stamps = values[order], stamps[order]
    width = round(median_ms / np.mean(np.diff(stamps))) if median_ms else 0
    if width:
        values = median_filter(values, size=(width, 1))
    found = []
    for k in range(values.shape[1]):
        begin = None
        for t in range(len(stamps) + 1):
            on = t < len(stamps) and values[t, k] > threshold
            if on and begin is None:
                begin = t
            if not on and begin is not None:
                if stamps[t - 1] - stamps[begin] >= least_ms:
                    found.append((0, k, stamps[begin] / 1000, stamps[t - 1] / 1000))
                begin = None
    return found


@pytest.mark.parametrize("seed", range(12))
def test_frames_become_the_events_of_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(2, 90)), int(rng.integers(1, 5))
    hop_ms = rng.choice([10.0, 25.0, 50.0, 62.5, 320.0])
    smooth = np.cumsum(rng.normal(size=(n, k)), 0)
    values = (1 / (1 + np.exp(-smooth))).astype(np.float32)
    values[rng.random((n, k)) < 0.05] = 0.5  # exactly the threshold: not heard
    stamps = hop_ms * rng.permutation(n).astype(np.float64)
    how = PostProcessing(
        rng.choice([0.3, 0.5]), rng.choice([0, 100, 200, 250]), rng.choice([0, 125])
    )
    got = events_of_frames([values], [stamps], how)
    want = slow_events(values, stamps, how.median_filter_ms, how.min_duration_ms, how.threshold)
    assert rows(got) == want


def test_a_median_may_be_longer_than_the_file_and_a_file_may_be_one_frame_or_none() -> None:
    values = np.array([[0.9], [0.1], [0.9]])
    how = PostProcessing(median_filter_ms=500, min_duration_ms=0)
    stamps = np.array([0.0, 50.0, 100.0])
    want = slow_events(values, stamps, 500, 0, 0.5)
    assert rows(events_of_frames([values], [stamps], how)) == want
    one, none = values[:1], values[:0]
    found = events_of_frames([none, one], [stamps[:0], stamps[:1]], how)
    assert rows(found) == [(1, 0, 0.0, 0.0)]
    assert len(events_of_frames([], [], how)) == 0


def random_events(rng: np.random.Generator, n: int, n_files: int, n_classes: int) -> Events:
    onset = rng.integers(0, 2000, n) / 100
    offset = onset + rng.integers(0, 300, n) / 100
    file, label = rng.integers(0, n_files, n), rng.integers(0, n_classes, n)
    return Events.of(zip(file, label, onset, offset, strict=True))


def slow_hits(there, said, onset_s, offset_s, share):
    """The most pairs, by augmenting paths."""
    partner: dict[int, int] = {}

    def near(i, j):
        (_, _, a, b), (_, _, c, d) = there[i], said[j]
        if there[i][:2] != said[j][:2] or abs(a - c) > onset_s:
            return False
        return offset_s is None or abs(b - d) <= max(offset_s, share * (b - a))

    def augment(i, tried):
        for j in range(len(said)):
            if j not in tried and near(i, j):
                tried.add(j)
                if j not in partner or augment(partner[j], tried):
                    partner[j] = i
                    return True
        return False

    return sum(augment(i, set()) for i in range(len(there)))


def slow_segments(there, said, n_files):
    s = d = i = n = 0
    for file in range(n_files):
        ends = [row[3] for row in (*there, *said) if row[0] == file]
        for segment in range(int(np.ceil(max(ends, default=0)))):

            def active(events, file=file, segment=segment):
                return {
                    k for f, k, a, b in events if f == file and np.floor(a) <= segment < np.ceil(b)
                }

            want, got = active(there), active(said)
            missed, extra = len(want - got), len(got - want)
            s, n = s + min(missed, extra), n + len(want)
            d, i = d + max(0, missed - extra), i + max(0, extra - missed)
    return s, d, i, n


@pytest.mark.parametrize("seed", range(8))
def test_scores_are_those_of_a_slow_matching(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    reference = random_events(rng, int(rng.integers(1, 80)), 3, 4)
    estimated = random_events(rng, int(rng.integers(0, 90)), 3, 4)
    there, said = rows(reference), rows(estimated)
    for onset_s, offset_s, share in ((0.2, None, 0.0), (0.05, None, 0.0), (0.25, 0.05, 0.5)):
        score = event_score(reference, estimated, onset_s, offset_s, share)
        hits = slow_hits(there, said, onset_s, offset_s, share)
        assert score == EventScore(hits, len(there), len(said))
        by_class = class_event_scores(reference, estimated, 4, onset_s, offset_s, share)
        for k, of_class in enumerate(by_class):
            only = [[row for row in each if row[1] == k] for each in (there, said)]
            hits = slow_hits(*only, onset_s, offset_s, share)
            assert of_class == EventScore(hits, len(only[0]), len(only[1]))
    both, by_class = segment_scores(reference, estimated, 4)
    counts = slow_segments(there, said, 3)
    assert (both.n_substituted, both.n_deleted, both.n_inserted, both.n_reference) == counts
    assert sum(each.n_reference for each in by_class) == both.n_reference


def test_what_is_exactly_so_far_away_counts_as_floating_point_says() -> None:
    def score(reference_s: float, estimated_s: float) -> int:
        pair = (Events.of([(0, 0, at, at + 1)]) for at in (reference_s, estimated_s))
        return event_score(*pair).n_hits

    assert score(1.0, 1.2) == 1 and score(60.0, 60.2) == 0


def test_nothing_said_is_0_and_nothing_there_is_nan_and_both_are_said() -> None:
    some, none = Events.of([(0, 0, 0.0, 1.0)]), Events.of([])
    silent = event_score(some, none)
    assert (silent.f_measure, silent.precision, silent.recall) == (0, 0, 0)
    assert silent.remark == "no estimate: 0"
    for said in (some, none):
        empty = event_score(none, said)
        assert np.isnan(empty.f_measure) and empty.remark == "no reference: NaN"
        assert np.isnan(segment_scores(none, said, 1)[0].error_rate)
    assert segment_scores(some, none, 1)[0].error_rate == 1


def test_a_frame_has_the_labels_of_the_events_at_its_stamp() -> None:
    clips = [[], [Event("a", 0.57, 0.6), Event("b", 0.0, 0.1)]]
    events = annotated(clips, {"a": 0, "b": 1})
    stamps = np.arange(0.0, 700, 10)
    heard = frame_labels(events, 1, stamps, 2)
    assert stamps[heard[:, 0]].tolist() == [570, 580, 590, 600]
    assert stamps[heard[:, 1]].tolist() == [10.0 * i for i in range(11)]
    assert not frame_labels(events, 0, stamps, 2).any()


@FOUND
def test_events_are_those_of_the_kit() -> None:
    facts = json.loads((FIXTURES / "hear_eval.json").read_text())
    arrays = np.load(FIXTURES / "hear_eval.npz")
    index = {name: k for k, name in enumerate(facts["labels"])}

    def of_kit(events):
        return sorted((index[e["label"]], e["start"] / 1000, e["end"] / 1000) for e in events)

    for key, want in facts["postprocessing"].items():
        found = re.fullmatch(r"(.*)_median(.*)_min(.*)", key)
        assert found
        values, stamps = (arrays[f"{found[1]}_{what}"] for what in ("prob", "timestamps_ms"))
        how = PostProcessing(0.5, float(found[2]), float(found[3]))
        got = events_of_frames([values], [stamps.astype(float)], how)
        assert sorted(row[1:] for row in rows(got)) == of_kit(want["events"]), key
    files, places = np.divmod(arrays["multi_row"], 60)
    for want in facts["multi_file"]:
        chosen = want["postprocessing"]
        how = PostProcessing(0.5, chosen["median_filter_ms"], chosen["min_duration"])
        values = [arrays["multi_prob"][files == f] for f in range(3)]
        got = events_of_frames(values, [50.0 * places[files == f] for f in range(3)], how)
        for f in range(3):
            of_file = sorted(row[1:] for row in rows(got) if row[0] == f)
            assert of_file == of_kit(want["events"].get(f"f{f}.wav", []))
    labels = facts["frame_labels"]
    columns = (labels[key] for key in ("events", "timestamps_ms", "labels"))
    for events, stamps, want in zip(*columns, strict=True):
        table = Events.of(
            (0, index[e["label"]], e["start"] / 1000, e["end"] / 1000) for e in events
        )
        heard = frame_labels(table, 0, np.array(stamps), len(index))
        assert [[facts["labels"][k] for k in np.flatnonzero(row)] for row in heard] == want


@FOUND
def test_scores_are_those_of_sed_eval() -> None:
    facts = json.loads((FIXTURES / "sed_eval.json").read_text())
    index = {name: k for k, name in enumerate(facts["labels"])}
    kinds = {
        "event_onset_200ms_fms": {},
        "event_onset_50ms_fms": {"onset_s": 0.05},
        "event_onset_offset_50ms_20perc_fms": {
            "onset_s": 0.05,
            "offset_s": 0.05,
            "offset_share": 0.2,
        },
    }
    for name, case in facts["cases"].items():
        files = list(case["estimate"])
        reference, estimated = (
            Events.of(
                (files.index(file), index[e["label"]], e["start"] / 1000, e["end"] / 1000)
                for file, events in case[which].items()
                if file in files
                for e in events
            )
            for which in ("reference", "estimate")
        )
        result = case["result"]
        for kind, settings in kinds.items():
            score = event_score(reference, estimated, **settings)
            for what, value in result[kind].items():
                ours = getattr(score, what)
                if value is None or not len(reference):
                    assert score.remark and (ours == 0 or np.isnan(ours))
                else:
                    assert ours == pytest.approx(value, abs=1e-9), (name, kind, what)
        error_rate = segment_scores(reference, estimated, len(index))[0].error_rate
        if len(reference):
            assert error_rate == pytest.approx(result["segment_1s_er"]["error_rate"], abs=1e-9)
        else:
            assert np.isnan(error_rate)
        by_class = class_event_scores(reference, estimated, len(index))
        for label, want in (result["class_wise"] or {}).items():
            for what, value in want.items():
                if value is not None:
                    ours = getattr(by_class[index[label]], what)
                    assert ours == pytest.approx(value, abs=1e-9), (name, label, what)
