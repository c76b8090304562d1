"""Struck bars, bells, strings and skins: modal synthesis (Adrien 1991; Fletcher & Rossing 1998).

A class is its mode ratios, decay and rhythm; size, tempo and striking force are drawn.
"""

import numpy as np

from slvr.ingest.synthesis.instruments import melody
from slvr.ingest.synthesis.sources import (
    Scene,
    Signal,
    band_noise,
    decay,
    impulses,
    modes,
    overlay,
    poisson,
    regular,
    rolloff,
    swell,
    through,
    tone,
    unit,
)

_FREE_BAR = np.array([1.0, 2.756, 5.404, 8.933])
_TUNED_BAR = np.array([1.0, 3.0, 6.16, 9.6])
_CHURCH_BELL = np.array([0.5, 1.0, 1.183, 1.506, 2.0, 2.514, 2.662, 3.011, 4.166])


def piano(scene: Scene) -> Signal:
    """Struck stiff strings: partials k sqrt(1 + B k^2) f0, high ones decay first, hammer thud."""
    stiffness, hardness = scene.log_between(2e-4, 2e-3), scene.between(0.9, 1.8)
    k = np.arange(1, 9)

    def play(note: Scene, f0_hz: float) -> Signal:
        strings = k * np.sqrt(1.0 + stiffness * k**2) * f0_hz
        hammer = impulses(note, np.zeros(1), spread_db=4.0)
        hammer[: note.sample_rate_hz // 100] += 0.02 * note.rng.standard_normal()
        return modes(note, hammer, strings, 2.5 * rolloff(8, 0.5), rolloff(8, hardness)) * swell(
            note, 0.001, 0.08
        )

    return melody(scene, (150.0, 400.0), scene.log_between(1.5, 6.0), play, 0.2)


def xylophone(scene: Scene) -> Signal:
    """Tuned wooden bars, partials near 1 : 3 : 6, that die at once; fast runs."""
    t60_s = scene.between(0.15, 0.4)
    gains = np.array([1.0, 0.5, 0.3, 0.15]) * scene.rng.uniform(0.6, 1.4, 4)

    def play(note: Scene, f0_hz: float) -> Signal:
        mallet = impulses(note, np.zeros(1), spread_db=4.0)
        return modes(note, mallet, _TUNED_BAR * f0_hz, t60_s / np.arange(1, 5), gains)

    return melody(scene, (350.0, 1100.0), scene.log_between(3.0, 10.0), play, 0.2)


def wind_chimes(scene: Scene) -> Signal:
    """A handful of free metal tubes, struck at random by gusts, ringing for seconds."""
    strikes = poisson(scene, scene.log_between(2.0, 8.0))
    tubes_hz = scene.log_between(600.0, 1200.0) * 2.0 ** (np.array([0, 2, 4, 7, 9]) / 12)
    struck = scene.rng.integers(len(tubes_hz), size=len(strikes))
    out = np.zeros(scene.n_samples)
    for tube, tube_hz in enumerate(tubes_hz):
        clapper = impulses(scene, strikes[struck == tube])
        out += modes(scene, clapper, tube_hz * _FREE_BAR[:3], (3.0, 1.6, 0.7), (1.0, 0.7, 0.3))
    return out


def church_bell(scene: Scene) -> Signal:
    """Hum, prime, minor tierce, quint, nominal ... (Fletcher & Rossing), slow even strokes."""
    strokes = regular(scene, scene.log_between(0.7, 2.5), jitter=0.03)
    prime_hz, t60_s = scene.log_between(250.0, 650.0), scene.log_between(2.0, 7.0)
    gains = scene.rng.uniform(0.4, 1.0, len(_CHURCH_BELL))
    t60s_s = t60_s / _CHURCH_BELL**0.8
    return modes(scene, impulses(scene, strokes, 2.0), prime_hz * _CHURCH_BELL, t60s_s, gains)


def gong(scene: Scene) -> Signal:
    """A struck plate: dense low modes, and a wash of high ones that blooms after the stroke."""
    lowest_hz, period_s = scene.log_between(80.0, 250.0), scene.log_between(1.2, 3.5)
    strokes = regular(scene, period_s, jitter=0.05)
    ratios = np.sort(scene.rng.uniform(1.0, 7.0, 10))
    ringing = modes(
        scene, impulses(scene, strokes), lowest_hz * ratios, 5.0 / ratios**0.5, 1 / ratios
    )
    wash = scene.part(2.5)
    bloom = (1.0 - decay(wash, 1.0)) * decay(wash, scene.between(1.5, 3.0))
    crash = bloom * band_noise(wash, 6 * lowest_hz, 25 * lowest_hz)
    return unit(ringing) + 0.5 * overlay(scene, ((t, crash) for t in strokes))


def snare_drum(scene: Scene) -> Signal:
    """A tuned skin with a rattle of wires, in rolls and beats of a drawn pattern."""
    beat_s = 1.0 / scene.log_between(4.0, 11.0)
    played = regular(scene, beat_s, jitter=0.03)
    pattern = scene.rng.uniform(size=8) < scene.between(0.4, 0.9)
    pattern[0] = True
    played = played[np.resize(pattern, len(played))]
    skin_hz = scene.log_between(150.0, 330.0) * np.array([1.0, 1.59, 2.14])
    skin = modes(scene, impulses(scene, played), skin_hz, (0.15,) * 3, (1.0, 0.6, 0.4))
    hit = scene.part(0.25)
    t60_s = scene.between(0.12, 0.35)
    accents = 10.0 ** scene.rng.uniform(-0.5, 0.0, 4)
    wires = [a * decay(hit, t60_s) * band_noise(hit, 1200.0, 7000.0) for a in accents]
    return unit(skin) + overlay(scene, ((t, wires[k % 4]) for k, t in enumerate(played)))


def tabla(scene: Scene) -> Signal:
    """Two hand drums: a ringing one with harmonic modes, a bass one whose pitch glides up."""
    beat_s = 1.0 / scene.log_between(3.0, 7.0)
    treble_hz = scene.log_between(220.0, 480.0)
    bass_hz, glide = treble_hz * scene.between(0.25, 0.4), scene.between(1.3, 2.0)
    strokes = regular(scene, beat_s, jitter=0.03)
    pattern = np.resize(scene.rng.integers(0, 3, 8), len(strokes))
    pattern[0] = 1
    hit = impulses(scene, strokes[pattern == 1])
    harmonic = treble_hz * np.arange(1.0, 6.0)
    ring = modes(scene, hit, harmonic, (0.7, 0.6, 0.4, 0.3, 0.2), rolloff(5, 0.7))
    stroke = scene.part(0.4)
    rising = through(stroke, bass_hz, glide * bass_hz, glide * bass_hz)
    boom = tone(stroke, rising, rolloff(4, 2.0)) * decay(stroke, 0.5)
    return unit(ring) + overlay(scene, ((t, boom) for t in strokes[pattern == 2]))


def maraca(scene: Scene) -> Signal:
    """Shaken beans: a Poisson rain of clicks on a resonant shell (PhISEM, Cook 1997)."""
    shakes = regular(scene, 1.0 / scene.log_between(3.0, 8.0), jitter=0.04)
    shell_hz = scene.log_between(1800.0, 5500.0)
    shake = scene.part(0.16)
    length_s = scene.between(0.05, 0.14)
    beans = scene.rng.standard_normal((len(shakes), shake.n_samples))
    beans *= scene.rng.uniform(size=beans.shape) < 0.2
    energy = swell(shake, 0.02, 0.05) * decay(shake, 4 * length_s)
    accents = np.resize(10 ** scene.rng.uniform(-0.4, 0.0, 4), len(shakes))
    rain = overlay(scene, zip(shakes, beans * energy * accents[:, None], strict=True))
    return modes(scene, rain, (shell_hz, 1.4 * shell_hz), (0.01, 0.008), (1.0, 0.7))
