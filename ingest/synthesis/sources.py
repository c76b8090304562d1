"""Building blocks of the sound classes: a scene to draw from, oscillators, noise, resonators.

Every function returns a new signal (T,) float64 of arbitrary level; `slvr.ingest.synthesis.room`
sets the level of the finished clip. T samples of the scene, K partials or modes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, next_fast_len, rfftfreq
from scipy.signal import lfilter

Signal = npt.NDArray[np.float64]

_TABLE_SAMPLES = 4096
_LOWEST_HZ = 20.0


@dataclass(frozen=True)
class Scene:
    """What a sound class draws from: a generator, and the length and rate of the signal to make."""

    rng: np.random.Generator
    duration_s: float
    sample_rate_hz: int

    @property
    def n_samples(self) -> int:
        """T, at least 1."""
        return max(1, round(self.duration_s * self.sample_rate_hz))

    @property
    def times_s(self) -> Signal:
        """The time of every sample (T,) in seconds."""
        return np.arange(self.n_samples) / self.sample_rate_hz

    def between(self, low: float, high: float) -> float:
        """One draw, uniform in [low, high)."""
        return float(self.rng.uniform(low, high))

    def log_between(self, low: float, high: float) -> float:
        """One draw, uniform on a logarithmic scale: the scale of pitches and tempi."""
        return float(np.exp(self.rng.uniform(np.log(low), np.log(high))))

    def part(self, duration_s: float) -> "Scene":
        """A scene of another length on the same generator: one note or one stroke."""
        return Scene(self.rng, duration_s, self.sample_rate_hz)


# When things happen


def regular(scene: Scene, period_s: float, jitter: float = 0.0) -> Signal:
    """Onsets in seconds, one per period, displaced by `jitter` periods (standard deviation)."""
    first = scene.between(0.0, min(period_s, scene.duration_s / 4))
    beats = np.arange(first, scene.duration_s, period_s)
    onsets: Signal = np.abs(beats + jitter * period_s * scene.rng.standard_normal(len(beats)))
    return onsets


def poisson(scene: Scene, rate_hz: float) -> Signal:
    """Onsets in seconds of a Poisson process, with one onset at least in the first quarter."""
    count = max(1, int(scene.rng.poisson(rate_hz * scene.duration_s)))
    onsets = np.sort(scene.rng.uniform(0.0, 0.95, count)) * scene.duration_s
    onsets[0] %= scene.duration_s / 4
    return onsets


def overlay(scene: Scene, events: Iterable[tuple[float, Signal]]) -> Signal:
    """Sum of (onset in seconds, sound) pairs; what lies beyond the scene's end is cut."""
    out = np.zeros(scene.n_samples)
    for onset_s, sound in events:
        heard = out[int(onset_s * scene.sample_rate_hz) :][: len(sound)]
        heard += sound[: len(heard)]
    return out


def impulses(scene: Scene, onsets_s: Signal, spread_db: float = 6.0) -> Signal:
    """Impulses at the onsets that lie in the scene, of levels around 1.

    The levels are spread by `spread_db` (standard deviation).
    """
    at = (onsets_s[onsets_s < scene.duration_s] * scene.sample_rate_hz).astype(np.int64)
    levels = 10.0 ** (spread_db / 20 * scene.rng.standard_normal(len(at)))
    out = np.zeros(scene.n_samples)
    np.add.at(out, at, levels)
    return out


# Levels


def unit(x: Signal) -> Signal:
    """`x` scaled to a peak of 1."""
    scaled: Signal = x / np.abs(x).max()
    return scaled


def rms(x: Signal) -> float:
    """Root mean square of `x`."""
    return float(np.sqrt(np.mean(x**2)))


# Slow curves


def contour(scene: Scene, low: float, high: float, changes_per_s: float) -> Signal:
    """A random curve in [low, high], both positive: straight on a logarithmic scale between draws.

    There is a new draw `changes_per_s` times a second on average.
    """
    count = max(2, round(changes_per_s * scene.duration_s) + 1)
    nodes = scene.rng.uniform(np.log(low), np.log(high), count)
    at = np.linspace(0.0, scene.duration_s, count)
    curve: Signal = np.exp(np.interp(scene.times_s, at, nodes))
    return curve


def through(scene: Scene, *nodes: float) -> Signal:
    """A curve that goes through the nodes at equal distances in time."""
    curve: Signal = np.interp(
        scene.times_s, np.linspace(0.0, scene.duration_s, len(nodes)), np.asarray(nodes)
    )
    return curve


def wave(scene: Scene, rate_hz: float) -> Signal:
    """A sine in [-1, 1] from a random phase: vibrato, tremolo, a rotor."""
    phase = scene.between(0.0, 2 * np.pi)
    out: Signal = np.sin(2 * np.pi * rate_hz * scene.times_s + phase)
    return out


def swell(scene: Scene, attack_s: float, release_s: float) -> Signal:
    """An envelope that rises straight to 1 and falls straight to 0 at the end."""
    times_s = scene.times_s
    falling = (scene.duration_s - times_s) / release_s
    out: Signal = np.clip(np.minimum(times_s / attack_s, falling), 0.0, 1.0)
    return out


def decay(scene: Scene, t60_s: float) -> Signal:
    """An exponential envelope that loses 60 dB in `t60_s`."""
    out: Signal = np.exp(-np.log(1000.0) / t60_s * scene.times_s)
    return out


# Oscillators and noise


def tone(scene: Scene, f0_hz: Signal | float, partials: Sequence[float] | Signal) -> Signal:
    """A harmonic tone: partial k has the amplitude `partials[k - 1]`.

    One period is summed once into a table which the running phase reads, so that the cost does
    not depend on K. Partials that would pass the Nyquist frequency anywhere are left out.

    Args:
        scene: length and rate.
        f0_hz: fundamental, one number or a curve (T,).
        partials: amplitudes (K,).
    """
    f0 = np.broadcast_to(np.asarray(f0_hz, dtype=np.float64), scene.n_samples)
    audible = np.asarray(partials)[: int(0.5 * scene.sample_rate_hz / f0.max())]
    spectrum = np.zeros(_TABLE_SAMPLES // 2 + 1, dtype=np.complex128)
    spectrum[1 : len(audible) + 1] = -0.5j * _TABLE_SAMPLES * audible
    table: Signal = irfft(spectrum, _TABLE_SAMPLES)
    cycles = np.cumsum(f0) / scene.sample_rate_hz + scene.rng.uniform()
    return table[(cycles * _TABLE_SAMPLES).astype(np.int64) % _TABLE_SAMPLES]


def rolloff(count: int, exponent: float) -> Signal:
    """Amplitudes (K,) that fall as k ** -exponent: 1 is a sawtooth, 2 is soft."""
    out: Signal = np.arange(1.0, count + 1.0) ** -exponent
    return out


def noise(scene: Scene, tilt_db: float = 0.0) -> Signal:
    """Gaussian noise whose level changes by `tilt_db` per octave above 20 Hz; unit RMS."""
    frequencies, length = _bins(scene)
    gain = np.maximum(frequencies, _LOWEST_HZ) ** (tilt_db / (20 * np.log10(2)))
    return _shaped(scene, gain, length)


def band_noise(scene: Scene, low_hz: float, high_hz: float, order: int = 2) -> Signal:
    """Gaussian noise in a band with Butterworth skirts of 6 x `order` dB per octave; unit RMS."""
    frequencies, length = _bins(scene)
    power = 2 * order
    f = np.maximum(frequencies, 1.0)
    gain = 1.0 / np.sqrt(1.0 + (low_hz / f) ** power + (f / high_hz) ** power)
    return _shaped(scene, gain, length)


def _bins(scene: Scene) -> tuple[Signal, int]:
    length = next_fast_len(scene.n_samples, real=True)
    frequencies: Signal = rfftfreq(length, 1 / scene.sample_rate_hz)
    return frequencies, length


def _shaped(scene: Scene, gain: Signal, length: int) -> Signal:
    spectrum = scene.rng.standard_normal(2 * len(gain)).view(np.complex128) * gain
    out: Signal = irfft(spectrum, length)[: scene.n_samples]
    return out / rms(out)


# Resonators


def resonate(scene: Scene, x: Signal, centre_hz: float, bandwidth_hz: float) -> Signal:
    """`x` through a two-pole resonance of gain 1 at its centre, with zeros at 0 Hz and Nyquist."""
    radius = np.exp(-np.pi * bandwidth_hz / scene.sample_rate_hz)
    cosine = np.cos(2 * np.pi * centre_hz / scene.sample_rate_hz)
    gain = (1.0 - radius**2) / 2
    return _filtered([gain, 0.0, -gain], [1.0, -2 * radius * cosine, radius**2], x)


def formants(
    scene: Scene,
    x: Signal,
    centres_hz: Sequence[float] | Signal,
    bandwidths_hz: Sequence[float],
) -> Signal:
    """`x` through parallel resonances, each 5 dB below the one before (Klatt 1980, parallel)."""
    out = np.zeros_like(x)
    for k, (centre_hz, bandwidth_hz) in enumerate(zip(centres_hz, bandwidths_hz, strict=True)):
        out += (-0.56) ** k * resonate(scene, x, centre_hz, bandwidth_hz)
    return out


def smooth(scene: Scene, x: Signal, cutoff_hz: float) -> Signal:
    """`x` through a one-pole low-pass filter."""
    pole = np.exp(-2 * np.pi * cutoff_hz / scene.sample_rate_hz)
    return _filtered([1.0 - pole], [1.0, -pole], x)


def modes(
    scene: Scene,
    excitation: Signal,
    frequencies_hz: Sequence[float] | Signal,
    t60s_s: Sequence[float] | Signal,
    gains: Sequence[float] | Signal,
) -> Signal:
    """A struck body: every mode (K,) rings as a decaying sine for every impulse of `excitation`.

    h(n) = r^n sin(w n), with r from the mode's decay time; modal synthesis (Adrien 1991). Modes
    above 0.45 of the sample rate are left out.
    """
    out = np.zeros_like(excitation)
    for frequency_hz, t60_s, gain in zip(frequencies_hz, t60s_s, gains, strict=True):
        if frequency_hz > 0.45 * scene.sample_rate_hz:
            continue
        radius = np.exp(-np.log(1000.0) / (t60_s * scene.sample_rate_hz))
        omega = 2 * np.pi * frequency_hz / scene.sample_rate_hz
        numerator = [0.0, gain * radius * np.sin(omega)]
        denominator = [1.0, -2 * radius * np.cos(omega), radius**2]
        out += _filtered(numerator, denominator, excitation)
    return out


def pluck(scene: Scene, f0_hz: float, t60_s: float, brightness: float) -> Signal:
    """A plucked string: a noise burst circulates in a delay line with a two-point average.

    y(n) = x(n) + g/2 [y(n-P) + y(n-P-1)] (Karplus & Strong 1983; the decay factor g is of Jaffe &
    Smith 1983), as one recursive filter. The pitch is that of the nearest loop of P + 1/2 samples.

    Args:
        scene: length and rate.
        f0_hz: pitch.
        t60_s: decay time of the lowest partial.
        brightness: in (0, 1]; lower softens the burst.
    """
    period = max(1, round(scene.sample_rate_hz / f0_hz - 0.5))
    burst = np.zeros(scene.n_samples)
    width = min(period, scene.n_samples)
    burst[:width] = scene.rng.uniform(-1.0, 1.0, width)
    burst[:width] -= burst[:width].mean()
    denominator = np.zeros(period + 2)
    denominator[0] = 1.0
    denominator[period:] -= 0.5 * 10.0 ** (-3.0 / (f0_hz * t60_s))
    return _filtered([1.0], denominator, smooth(scene, burst, brightness * 8000.0))


def _filtered(numerator: Any, denominator: Any, x: Signal) -> Signal:
    out: Signal = lfilter(numerator, denominator, x)
    return out
