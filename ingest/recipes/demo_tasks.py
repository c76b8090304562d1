"""The demo corpus's own tasks: sound events in scenes, and the pitch of unseen instruments."""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from slvr.shards.clip import SAMPLE_RATE_HZ, Clip, Event, Source

EVENTS, PITCH = "events", "pitch"
SHARES = {"train": 0.6, "valid": 0.2, "test": 0.2}
FEWEST_CLIPS = 5
DEFAULT_CLIPS = {EVENTS: 200, PITCH: 720}
SCENE_S, NOTE_S = 10.0, 1.5
N_EVENTS = (3, 8)
EVENT_S = (0.5, 2.0)
APART_S = 0.2
"""Between two events of one class."""
LOWEST_PITCH, HIGHEST_PITCH = 48, 83
N_TRAIN_INSTRUMENTS, N_VALID_INSTRUMENTS = 6, 2
"""The other instruments are tested on: no split has an instrument of another."""

ABOUT: Mapping[str, Mapping[str, Any]] = {
    EVENTS: {
        **{"task_name": "demo_events", "embedding_type": "event", "prediction_type": "multilabel"},
        **{"evaluation": ["event_onset_200ms_fms", "segment_1s_er"], "sample_duration": SCENE_S},
    },
    PITCH: {
        **{"task_name": "demo_pitch", "embedding_type": "scene", "prediction_type": "multiclass"},
        **{"evaluation": ["pitch_acc", "chroma_acc"], "sample_duration": NOTE_S},
    },
}
"""As in the `task_metadata.json` of a task of HEAR."""


def about(task: str) -> dict[str, Any]:
    """What the manifest says of a task, as of one of HEAR."""
    kinds = {"version": "1", "mode": "demo", "split_mode": "trainvaltest", "splits": list(SHARES)}
    return {**ABOUT[task], **kinds}


def labels(task: str) -> tuple[str, ...]:
    """The labels of a task in the order of the class index."""
    from slvr.ingest.synthesis.scenes import EVENT_CLASSES  # noqa: PLC0415 - loads scipy

    if task == EVENTS:
        return tuple(sorted(EVENT_CLASSES))
    return tuple(map(str, range(LOWEST_PITCH, HIGHEST_PITCH + 1)))


def planned(task: str, n_clips: int, seed: int, licence: str) -> Iterator[Clip]:
    """The clips of a task, with the events and pitches that are drawn for them."""
    draw = _scene if task == EVENTS else _note
    for split, share in SHARES.items():
        for i in range(max(1, round(share * n_clips))):
            key = f"{split}_{i:06d}"
            digest = hashlib.sha256(f"{seed} {task} {key}".encode()).digest()
            clip = Clip(key, split, Source(""), licence=licence)
            yield draw(clip, i, int.from_bytes(digest[:6], "big"))


def _scene(clip: Clip, i: int, seed: int) -> Clip:
    """A scene of a few events, at times that are whole samples; two of one class lie apart."""
    rng = np.random.default_rng(seed)
    names = labels(EVENTS)
    events: list[Event] = []
    for _ in range(rng.integers(N_EVENTS[0], N_EVENTS[1] + 1)):
        label = names[rng.integers(len(names))]
        longest_s = float(np.exp(rng.uniform(*np.log(EVENT_S))))
        onset = int(rng.uniform(0, SCENE_S - longest_s) * SAMPLE_RATE_HZ)
        event = Event(label, onset / SAMPLE_RATE_HZ, onset / SAMPLE_RATE_HZ + longest_s)
        if not any(
            event.label == other.label
            and event.start_s < other.end_s + APART_S
            and other.start_s < event.end_s + APART_S
            for other in events
        ):
            events.append(event)
    ordered = tuple(sorted(events, key=lambda event: event.start_s))
    return dataclasses.replace(
        clip,
        source=Source(f"synthesis:events?seed={seed}"),
        labels=tuple(dict.fromkeys(event.label for event in ordered)),
        events=ordered,
        n_samples=round(SCENE_S * SAMPLE_RATE_HZ),
    )


def _note(clip: Clip, i: int, seed: int) -> Clip:
    """A note: each split goes through its pitches, then through its instruments."""
    from slvr.ingest.synthesis.notes import INSTRUMENTS  # noqa: PLC0415 - loads scipy

    names = list(INSTRUMENTS)
    n_known = N_TRAIN_INSTRUMENTS + N_VALID_INSTRUMENTS
    instruments = {
        "train": names[:N_TRAIN_INSTRUMENTS],
        "valid": names[N_TRAIN_INSTRUMENTS:n_known],
        "test": names[n_known:],
    }[clip.split]
    n_pitches = HIGHEST_PITCH - LOWEST_PITCH + 1
    pitch = LOWEST_PITCH + i % n_pitches
    instrument = instruments[i // n_pitches % len(instruments)]
    return dataclasses.replace(
        clip,
        source=Source(f"synthesis:{instrument}?pitch={pitch}&seed={seed}"),
        labels=(str(pitch),),
        attributes={"pitch": pitch, "instrument": instrument},
        n_samples=round(NOTE_S * SAMPLE_RATE_HZ),
    )


def synthesised(clip: Clip) -> tuple[Clip, npt.NDArray[np.float32]]:
    """A planned clip of a task with the true ends of its events, and its samples (T,)."""
    seed = int(clip.source.uri.rpartition("seed=")[2])
    seconds = clip.n_samples / SAMPLE_RATE_HZ
    if not clip.events:
        from slvr.ingest.synthesis.notes import note  # noqa: PLC0415 - loads scipy

        instrument, pitch = str(clip.attributes["instrument"]), int(clip.attributes["pitch"])
        return clip, note(instrument, pitch, seed, seconds, SAMPLE_RATE_HZ)
    from slvr.ingest.synthesis.scenes import Placed, scene_of  # noqa: PLC0415 - loads scipy

    placed = [
        Placed(e.label, round(e.start_s * SAMPLE_RATE_HZ), e.end_s - e.start_s) for e in clip.events
    ]
    samples, ends = scene_of(placed, seed, seconds, SAMPLE_RATE_HZ)
    events = tuple(
        dataclasses.replace(event, end_s=end / SAMPLE_RATE_HZ)
        for event, end in zip(clip.events, ends, strict=True)
    )
    return dataclasses.replace(clip, events=events), samples
