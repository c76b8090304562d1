"""Plain sounds of a few kinds that a small separator can learn to tell apart, without a room.

Tones and sweeps are dark, noise in a band and clicks are bright; steady or not, and what is mixed
for the test is of kinds that no training clip holds.
"""

import zlib

import numpy as np
import numpy.typing as npt

from slvr.ingest.synthesis.sources import (
    Scene,
    Signal,
    band_noise,
    impulses,
    poisson,
    regular,
    resonate,
    rms,
    rolloff,
    through,
    tone,
    wave,
)

LEVEL = 0.01
"""RMS of every sound: a few clicks of it nearly reach full scale."""
PITCH_HZ = (100.0, 250.0)
SWEEP_HZ = (300.0, 1500.0)
BAND_HZ = (2500.0, 5500.0)
RING_HZ = (3000.0, 6000.0)


def buzz(scene: Scene) -> Signal:
    """A steady tone of six partials."""
    return tone(scene, scene.log_between(*PITCH_HZ), rolloff(6, 1.0))


def hiss(scene: Scene) -> Signal:
    """Steady noise, less than half an octave wide."""
    low_hz = scene.between(*BAND_HZ)
    return band_noise(scene, low_hz, 1.3 * low_hz, order=8)


def glide(scene: Scene) -> Signal:
    """A sine that sweeps once, up or down."""
    return tone(scene, through(scene, scene.between(*SWEEP_HZ), scene.between(*SWEEP_HZ)), [1.0])


def clicks(scene: Scene) -> Signal:
    """Equal clicks at equal distances."""
    struck = impulses(scene, regular(scene, 1 / scene.log_between(5.0, 20.0)), spread_db=0.0)
    return resonate(scene, struck, scene.between(*RING_HZ), 1000.0)


def hollow(scene: Scene) -> Signal:
    """A tone of odd partials with vibrato."""
    vibrato = 1.0 + 0.01 * wave(scene, scene.between(3.0, 6.0))
    partials = rolloff(7, 1.0) * (np.arange(7) % 2 == 0)
    return tone(scene, scene.log_between(*PITCH_HZ) * vibrato, partials)


def gusts(scene: Scene) -> Signal:
    """Noise in a band that swells and falls."""
    low_hz = scene.between(*BAND_HZ)
    swelling = 1.0 + 0.8 * wave(scene, scene.between(1.0, 4.0))
    return band_noise(scene, low_hz, 1.3 * low_hz, order=8) * swelling


def warble(scene: Scene) -> Signal:
    """A sine that goes up and down by half an octave."""
    octaves = 0.4 * wave(scene, scene.between(0.5, 3.0))
    return tone(scene, scene.between(500.0, 1200.0) * 2.0**octaves, [1.0])


def taps(scene: Scene) -> Signal:
    """Clicks that come when they like, loud and soft."""
    struck = impulses(scene, poisson(scene, 10.0), spread_db=3.0)
    return resonate(scene, struck, scene.between(*RING_HZ), 1000.0)


TRAINING_KINDS = {each.__name__: each for each in (buzz, hiss, glide, clicks)}
UNSEEN_KINDS = {each.__name__: each for each in (hollow, gusts, warble, taps)}
"""What no training clip holds."""
KINDS = TRAINING_KINDS | UNSEEN_KINDS


def plain_sound(
    kind: str, seed: int, duration_s: float, sample_rate_hz: int
) -> npt.NDArray[np.float32]:
    """The clip (T,) float32 in (-1, 1) of one sound of `KINDS`, of an RMS of `LEVEL`."""
    rng = np.random.default_rng([zlib.crc32(kind.encode()), seed])
    sound = KINDS[kind](Scene(rng, duration_s, sample_rate_hz))
    scaled: npt.NDArray[np.float32] = (LEVEL / rms(sound) * sound).astype(np.float32)
    return scaled
