import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from conftest import run
from slvr.ingest.recipes import demo_tasks
from slvr.ingest.recipes.demo import Demo
from slvr.ingest.synthesis import EVALUATION_CLASSES, SOUND_CLASSES, scenes
from slvr.ingest.synthesis.notes import DETUNED_CENTS, INSTRUMENTS, frequency_hz, note
from slvr.ingest.synthesis.scenes import EVENT_CLASSES, SILENT, Placed, scene_of
from slvr.shards.clip import SAMPLE_RATE_HZ
from slvr.shards.read import ShardDirectory


def test_classes_of_events_are_those_that_training_never_hears() -> None:
    assert set(EVENT_CLASSES) < set(EVALUATION_CLASSES)
    assert not set(INSTRUMENTS) & set(SOUND_CLASSES)


def test_scenes_have_a_few_events_that_their_class_does_not_repeat_at_once() -> None:
    plan = Demo(task="events", n_task=300).plan(Path())
    assert Counter(clip.split for clip in plan.clips) == {"train": 180, "valid": 60, "test": 60}
    assert {label for clip in plan.clips for label in clip.labels} == set(plan.labels)
    assert {len(clip.events) for clip in plan.clips} >= {3, 4, 5, 6, 7}
    together = 0
    for clip in plan.clips:
        assert clip.n_samples == 160_000 and {e.label for e in clip.events} == set(clip.labels)
        for one in clip.events:
            assert 0 <= one.start_s < one.end_s <= 10
            onset = one.start_s * SAMPLE_RATE_HZ
            assert onset == pytest.approx(round(onset), abs=1e-6)
            for other in clip.events:
                if other.start_s > one.start_s:
                    together += other.start_s < one.end_s
                    apart = other.start_s >= one.end_s + demo_tasks.APART_S
                    assert other.label != one.label or apart
    assert together > 100, "events of other classes overlap"
    assert plan.extra["hear"]["embedding_type"] == "event"


@pytest.mark.parametrize("label", sorted(EVENT_CLASSES))
def test_an_event_begins_and_ends_at_its_samples(
    label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenes, "record", lambda scene, dry: dry)
    for seed in range(5):
        placed = Placed(label, 12_345, 1.0)
        dry, (end,) = scene_of([placed], seed, 3.0, SAMPLE_RATE_HZ)
        peak = np.abs(dry).max()
        assert not dry[:12_345].any() and abs(dry[12_345]) > 0.9 * SILENT * peak
        assert not dry[end:].any() and dry[end - 1] and 12_345 < end <= 12_345 + SAMPLE_RATE_HZ


def test_a_room_moves_no_onset() -> None:
    placed = Placed("door_knock", 24_000, 1.0)
    for seed in range(6):
        wave, _ = scene_of([placed], seed, 3.0, SAMPLE_RATE_HZ)
        # the microphone's filter is symmetric: its ripple reaches 2 ms to either side
        before, after = wave[22_000:23_968], wave[24_000:26_000]
        assert np.abs(after).max() > 4 * np.abs(before).max()


@pytest.mark.parametrize("instrument", sorted(INSTRUMENTS))
@pytest.mark.parametrize("pitch", [demo_tasks.LOWEST_PITCH, 60, 69, demo_tasks.HIGHEST_PITCH])
def test_a_note_has_its_pitch(instrument: str, pitch: int) -> None:
    wave = note(instrument, pitch, 0, 1.5, SAMPLE_RATE_HZ)
    n = 1 << 17
    power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), n)) ** 2
    hz = np.fft.rfftfreq(n, 1 / SAMPLE_RATE_HZ)
    near = np.abs(1200 * np.log2(np.maximum(hz, 1) / frequency_hz(pitch))) < 100
    found_hz = hz[near][power[near].argmax()]
    cents = 1200 * np.log2(found_hz / frequency_hz(pitch))
    assert abs(cents) < DETUNED_CENTS + 15, "far from half a semitone"
    assert power[near].max() > 100 * np.median(power)


def test_frequency_of_a_midi_number() -> None:
    assert frequency_hz(69) == 440 and frequency_hz(81) == pytest.approx(880)
    assert frequency_hz(60) == pytest.approx(261.6256, abs=1e-4)


def test_no_split_of_the_notes_has_an_instrument_of_another() -> None:
    plan = Demo(task="pitch").plan(Path())
    assert len(plan.clips) == 720 and list(plan.labels) == [str(p) for p in range(48, 84)]
    heard = {
        split: {clip.attributes["instrument"] for clip in plan.clips if clip.split == split}
        for split in ("train", "valid", "test")
    }
    assert [len(names) for names in heard.values()] == [6, 2, 2]
    assert len(set.union(*heard.values())) == 10
    for split in heard:
        counts = Counter(c.attributes["pitch"] for c in plan.clips if c.split == split)
        assert len(counts) == 36 and len(set(counts.values())) == 1
    assert all(clip.labels == (str(clip.attributes["pitch"]),) for clip in plan.clips)


@pytest.mark.parametrize("task", ["events", "pitch"])
def test_a_clip_of_a_task_is_a_function_of_the_seed(task: str) -> None:
    one, same, other = (Demo(task=task, n_task=5, seed=seed) for seed in (0, 0, 1))
    clips = [recipe.plan(Path()).clips for recipe in (one, same, other)]
    assert clips[0] == clips[1] != clips[2]
    made = one.make(clips[0][0], "flac")
    assert made == same.make(clips[1][0], "flac") and made.status == "ok"
    assert [event.start_s for event in made.events] == [e.start_s for e in clips[0][0].events]
    assert all(e.end_s <= p.end_s for e, p in zip(made.events, clips[0][0].events, strict=True))
    assert dataclasses.replace(one, task=None).directory == "demo"
    with pytest.raises(ValueError, match="--n-task of 5 or more, got 4"):
        Demo(task=task, n_task=4).plan(Path())


def test_the_command_makes_a_task(tmp_path: Path) -> None:
    done = run("ingest", "demo", "--task", "events", "--n-task", "5", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    directory = ShardDirectory.open(tmp_path / "shards" / "demo_events")
    assert directory.splits == ("test", "train", "valid")
    assert directory.manifest.extra["hear"]["task_name"] == "demo_events"
    assert directory.rows()["events"].map(len).min() >= 1
    assert run("ingest", "verify", "shards/demo_events", cwd=tmp_path).returncode == 0
