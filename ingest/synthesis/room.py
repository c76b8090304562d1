"""From a dry signal to a recorded clip: room, microphone, background and level, all drawn.

They vary independently of the sound class, so that neither level nor long-term spectrum names it.
"""

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from slvr.ingest.synthesis.sources import Scene, Signal, noise, rms, unit

DRY_SHARE = 0.3
RT60_S = (0.1, 0.7)
DIRECT_TO_REVERB_DB = (0.0, 18.0)
TILT_DB_PER_OCTAVE = (-2.0, 2.0)
RIPPLE_DB = 2.0
BACKGROUND_TILT_DB_PER_OCTAVE = (-5.0, -1.0)
SNR_DB = (20.0, 38.0)
PEAK_DB = (-19.0, -1.0)


def record(scene: Scene, dry: Signal) -> npt.NDArray[np.float32]:
    """The clip (T,) float32 that a microphone in a random room hears of `dry` (T,).

    A share of the clips is dry; the others get a tail of exponentially decaying noise (Moorer
    1979). Its peak lies in `PEAK_DB` below full scale, so it never clips and is never silent.
    """
    assert np.any(dry), "a sound class made silence"
    wet = _room_and_microphone(scene, unit(dry))
    hiss = noise(scene, scene.between(*BACKGROUND_TILT_DB_PER_OCTAVE))
    clip = wet + hiss * rms(wet) * 10.0 ** (-scene.between(*SNR_DB) / 20)
    peak = 10.0 ** (scene.between(*PEAK_DB) / 20)
    recorded: npt.NDArray[np.float32] = (peak * unit(clip)).astype(np.float32)
    return recorded


def _room_and_microphone(scene: Scene, dry: Signal) -> Signal:
    response = np.ones(1)
    if scene.rng.uniform() >= DRY_SHARE:
        response = _impulse_response(scene)
    length = next_fast_len(len(dry) + len(response) - 1, real=True)
    frequencies = rfftfreq(length, 1 / scene.sample_rate_hz)
    spectrum = rfft(dry, length) * rfft(response, length) * _microphone(scene, frequencies)
    wet: Signal = irfft(spectrum, length)[: len(dry)]
    return wet


def _impulse_response(scene: Scene) -> Signal:
    """The direct sound followed by a noise tail of a drawn RT60 and direct-to-reverberant ratio."""
    rt60_s = scene.log_between(*RT60_S)
    samples = np.arange(int(0.7 * rt60_s * scene.sample_rate_hz))
    tail = scene.rng.standard_normal(len(samples))
    tail *= np.exp(-np.log(1000.0) / (rt60_s * scene.sample_rate_hz) * samples)
    tail *= 10.0 ** (-scene.between(*DIRECT_TO_REVERB_DB) / 20) / np.sqrt(np.sum(tail**2))
    delay = int(scene.between(0.002, 0.015) * scene.sample_rate_hz)
    return np.concatenate([[1.0], np.zeros(delay), tail])


def _microphone(scene: Scene, frequencies_hz: Signal) -> Signal:
    """Gain per frequency: a tilt around 1 kHz and a smooth ripple with a node at every octave."""
    octaves = np.log2(np.maximum(frequencies_hz, 40.0) / 1000.0)
    nodes = np.arange(-5.0, 5.0)
    ripple_db = RIPPLE_DB * scene.rng.standard_normal(len(nodes))
    gain_db = scene.between(*TILT_DB_PER_OCTAVE) * octaves + np.interp(octaves, nodes, ripple_db)
    gain: Signal = 10.0 ** (gain_db / 20)
    return gain
