"""Scenes of sound events whose onsets are exact, to the sample.

A class of sounds begins when it likes; here what comes before its first sound is cut away, so that
the event is heard from the sample that its list names.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slvr.ingest.synthesis import animals, machines, percussion, surroundings, voices
from slvr.ingest.synthesis.room import record
from slvr.ingest.synthesis.sources import Scene, Signal, unit

EVENT_CLASSES = {
    sound.__name__: sound
    for sound in (
        *(percussion.church_bell, voices.baby_cry, voices.laughter, animals.owl),
        *(animals.cat_meow, animals.woodpecker, surroundings.door_knock, surroundings.door_creak),
        *(machines.telephone_ring, machines.morse_code),
    )
}
"""Of the evaluation classes, those that are heard as events."""
SILENT = 10 ** (-40 / 20)
"""Below this share of its peak an event has not begun, or has ended."""
FADE_S = 0.01
GAIN_DB = (-12.0, 0.0)


@dataclass(frozen=True)
class Placed:
    """An event as it is planned: its class, its first sample, and how long it may be."""

    label: str
    onset_samples: int
    longest_s: float


def scene_of(
    placed: Sequence[Placed], seed: int, duration_s: float, sample_rate_hz: int
) -> tuple[npt.NDArray[np.float32], list[int]]:
    """The clip (T,) float32 in (-1, 1), and the sample at which each of the events ends.

    Args:
        placed: 1 or more events.
        seed: of everything that is drawn.
        duration_s: of the clip.
        sample_rate_hz: of the clip.
    """
    scene = Scene(np.random.default_rng([seed, 1]), duration_s, sample_rate_hz)
    dry, ends = np.zeros(scene.n_samples), []
    for i, each in enumerate(placed):
        own = Scene(np.random.default_rng([seed, 2, i]), each.longest_s, sample_rate_hz)
        sound = _heard(own, EVENT_CLASSES[each.label](own))
        end = min(each.onset_samples + len(sound), len(dry))
        dry[each.onset_samples : end] += sound[: end - each.onset_samples]
        ends.append(end)
    return record(scene, dry), ends


def _heard(scene: Scene, sound: Signal) -> Signal:
    """The sound from its first audible sample to its last, at a level that is drawn."""
    scaled = unit(sound)
    audible = np.flatnonzero(np.abs(scaled) > SILENT)
    cut = scaled[audible[0] : audible[-1] + 1]
    fade = np.minimum(1.0, np.arange(len(cut), 0, -1) / (FADE_S * scene.sample_rate_hz))
    heard: Signal = cut * fade * 10 ** (scene.between(*GAIN_DB) / 20)
    return heard
