"""Single notes of known pitch by instruments that no other part of the corpus has.

A class is a spectrum and an envelope; detail, detuning by a few cents and room are drawn.
"""

import zlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from slvr.ingest.synthesis.room import record
from slvr.ingest.synthesis.sources import (
    Scene,
    Signal,
    band_noise,
    decay,
    modes,
    rolloff,
    swell,
    tone,
    wave,
)

DETUNED_CENTS = 8.0
Instrument = Callable[[Scene, float], Signal]


def bassoon(scene: Scene, f0_hz: float) -> Signal:
    """Double reed: a full, nasal spectrum."""
    return tone(scene, f0_hz, rolloff(24, scene.between(0.8, 1.1))) * swell(scene, 0.05, 0.1)


def ocarina(scene: Scene, f0_hz: float) -> Signal:
    """Nearly a sine, with breath."""
    breath = 0.05 * band_noise(scene, f0_hz, 3 * f0_hz)
    return (tone(scene, f0_hz, rolloff(3, 3.0)) + breath) * swell(scene, 0.04, 0.08)


def harmonium(scene: Scene, f0_hz: float) -> Signal:
    """Two reeds that beat slowly."""
    partials = rolloff(20, scene.between(0.6, 0.9))
    reeds = tone(scene, f0_hz, partials) + tone(scene, 1.002 * f0_hz, partials)
    return reeds * swell(scene, 0.08, 0.1)


def vibraphone(scene: Scene, f0_hz: float) -> Signal:
    """A struck bar, its partials at 1, 4 and 10, with tremolo."""
    strike = np.zeros(scene.n_samples)
    strike[0] = 1.0
    bar = modes(scene, strike, (f0_hz, 4 * f0_hz, 10 * f0_hz), (2.5, 0.8, 0.2), (1.0, 0.25, 0.1))
    return bar * (1.0 + 0.3 * wave(scene, scene.between(3.0, 7.0)))


def kalimba(scene: Scene, f0_hz: float) -> Signal:
    """A plucked tongue: a tone that dies away under a high, short partial."""
    tongue = tone(scene, f0_hz, rolloff(4, 2.0)) * decay(scene, scene.between(0.8, 1.5))
    return tongue + 0.3 * tone(scene, 6.3 * f0_hz, [1.0]) * decay(scene, 0.15)


def zither(scene: Scene, f0_hz: float) -> Signal:
    """A plucked string, bright; no loop of whole samples, whose pitch is off by half a semitone."""
    partials = rolloff(24, scene.between(0.5, 0.9))
    return tone(scene, f0_hz, partials) * decay(scene, scene.between(1.0, 2.0))


def viola(scene: Scene, f0_hz: float) -> Signal:
    """A bowed string with vibrato."""
    vibrato = 1.0 + 0.004 * wave(scene, scene.between(4.5, 6.5))
    return tone(scene, f0_hz * vibrato, rolloff(30, 1.2)) * swell(scene, 0.1, 0.1)


def square_lead(scene: Scene, f0_hz: float) -> Signal:
    """A synthesiser's square wave: odd partials alone."""
    partials = rolloff(20, 1.0) * (np.arange(20) % 2 == 0)
    return tone(scene, f0_hz, partials) * swell(scene, 0.01, 0.05)


def choir_pad(scene: Scene, f0_hz: float) -> Signal:
    """Several detuned voices at once."""
    partials = rolloff(12, scene.between(1.3, 1.8))
    voices = (tone(scene, f0_hz * 2 ** (c / 1200), partials) for c in (-6.0, -2.0, 2.0, 6.0))
    total: Signal = np.sum(list(voices), axis=0)
    return total * swell(scene, 0.2, 0.2)


def electric_piano(scene: Scene, f0_hz: float) -> Signal:
    """A struck tine: few partials whose upper ones die first."""
    body = tone(scene, f0_hz, rolloff(3, 1.5)) * decay(scene, 2.0)
    return body + 0.4 * tone(scene, f0_hz, rolloff(14, 0.8)) * decay(scene, 0.3)


INSTRUMENTS: dict[str, Instrument] = {
    each.__name__: each
    for each in (
        *(bassoon, ocarina, harmonium, vibraphone, kalimba, zither),
        *(viola, square_lead, choir_pad, electric_piano),
    )
}


def frequency_hz(pitch: int) -> float:
    """The frequency of a MIDI number: 69 is 440 Hz."""
    return float(440.0 * 2.0 ** ((pitch - 69) / 12))


def note(
    instrument: str, pitch: int, seed: int, duration_s: float, sample_rate_hz: int
) -> npt.NDArray[np.float32]:
    """The clip (T,) float32 in (-1, 1) of one note, in a room that is drawn."""
    rng = np.random.default_rng([zlib.crc32(instrument.encode()), pitch, seed])
    scene = Scene(rng, duration_s, sample_rate_hz)
    detuned = 2.0 ** (scene.between(-DETUNED_CENTS, DETUNED_CENTS) / 1200)
    return record(scene, INSTRUMENTS[instrument](scene, frequency_hz(pitch) * detuned))
