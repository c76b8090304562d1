"""Sustained and plucked instruments: each plays a melody of its own on a drawn scale.

A class is its excitation, spectrum and note envelope; register, tempo and tune are drawn.
"""

from collections.abc import Callable

import numpy as np

from slvr.ingest.synthesis.sources import (
    Scene,
    Signal,
    band_noise,
    contour,
    decay,
    overlay,
    pluck,
    regular,
    resonate,
    rolloff,
    smooth,
    swell,
    through,
    tone,
    wave,
)

_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), (0, 3, 5, 7, 10))


def melody(
    scene: Scene,
    tonic_hz: tuple[float, float],
    notes_per_s: float,
    play: Callable[[Scene, float], Signal],
    ring_s: float = 0.05,
) -> Signal:
    """Notes that walk up and down a scale, over about an octave to either side of the tonic.

    Args:
        scene: what to draw from.
        tonic_hz: range that the tonic is drawn from.
        notes_per_s: tempo.
        play: makes the signal of one note from its scene and its pitch in Hz.
        ring_s: how long a note goes on after the next has begun.
    """
    tonic = scene.log_between(*tonic_hz)
    scale = _SCALES[scene.rng.integers(len(_SCALES))]
    onsets = regular(scene, 1.0 / notes_per_s, jitter=0.04)
    steps = scene.rng.integers(-3, 4, len(onsets))
    octaves, degrees = np.divmod(np.abs(np.cumsum(steps)) % (2 * len(scale)), len(scale))
    pitches = tonic * 2.0 ** (octaves - 0.5 + np.take(scale, degrees) / 12)
    note = scene.part(1.0 / notes_per_s + ring_s)
    return overlay(scene, ((t, play(note, f0)) for t, f0 in zip(onsets, pitches, strict=True)))


def violin(scene: Scene) -> Signal:
    """Bowed string: Helmholtz sawtooth, delayed vibrato, bow noise, body resonances."""
    vibrato_hz, depth = scene.between(4.5, 7.0), scene.between(0.004, 0.016)

    def play(note: Scene, f0_hz: float) -> Signal:
        delayed = np.minimum(1.0, note.times_s / 0.25)
        pitch = f0_hz * (1.0 + depth * delayed * wave(note, vibrato_hz))
        bow = 0.04 * band_noise(note, 1000.0, 6000.0)
        return (tone(note, pitch, rolloff(40, 1.0)) + bow) * swell(note, 0.09, 0.08)

    strings = melody(scene, (280.0, 700.0), scene.log_between(1.0, 5.0), play)
    size = scene.between(0.85, 1.15)
    body = (resonate(scene, strings, size * f, f / 5) for f in (280.0, 460.0, 1100.0, 2600.0))
    return 0.2 * strings + sum(body)


def trumpet(scene: Scene) -> Signal:
    """Brass: the spectrum brightens with the amplitude of each note (Risset 1966)."""
    blare = scene.between(0.7, 1.1)

    def play(note: Scene, f0_hz: float) -> Signal:
        loudness = swell(note, 0.06, 0.1) * (0.75 + 0.25 * decay(note, 0.5))
        pitch = f0_hz * (1.0 - 0.04 * np.exp(-note.times_s / 0.02))
        bright = tone(note, pitch, rolloff(30, blare))
        mellow = smooth(note, bright, f0_hz)
        return loudness * ((1.0 - loudness**2) * mellow + loudness**2 * bright)

    horn = melody(scene, (220.0, 500.0), scene.log_between(1.5, 7.0), play)
    return horn + 2.0 * resonate(scene, horn, scene.between(1000.0, 1500.0), 600.0)


def flute(scene: Scene) -> Signal:
    """Flute: few partials, breath noise around the tone, tremolo instead of vibrato."""
    breath, tremolo_hz = scene.between(0.1, 0.35), scene.between(4.0, 6.5)
    partials = rolloff(6, scene.between(1.8, 2.6))

    def play(note: Scene, f0_hz: float) -> Signal:
        air = band_noise(note, 0.8 * f0_hz, 3.0 * f0_hz, order=1)
        level = swell(note, 0.07, 0.06) * (1.0 + 0.25 * wave(note, tremolo_hz))
        return level * (tone(note, f0_hz, partials) + breath * air)

    return melody(scene, (350.0, 1200.0), scene.log_between(1.5, 6.0), play)


def clarinet(scene: Scene) -> Signal:
    """Closed-pipe reed: odd partials only, smooth legato attacks."""
    partials = rolloff(30, scene.between(0.8, 1.5)) * np.where(np.arange(30) % 2, 0.03, 1.0)

    def play(note: Scene, f0_hz: float) -> Signal:
        return tone(note, f0_hz, partials) * swell(note, 0.05, 0.05)

    return melody(scene, (250.0, 500.0), scene.log_between(1.2, 6.0), play, ring_s=0.02)


def accordion(scene: Scene) -> Signal:
    """Free reeds: two saw-like reeds a few hertz apart beat in every chord; bellows swell."""
    beat_hz, pumping_hz = scene.between(2.0, 7.0), scene.between(0.4, 1.5)
    partials = rolloff(30, scene.between(0.6, 1.0))

    def play(note: Scene, f0_hz: float) -> Signal:
        chord = np.zeros(note.n_samples)
        for semitones in (0, note.rng.integers(3, 5), 7):
            for detuned_hz in (0.0, beat_hz):
                chord += tone(note, f0_hz * 2.0 ** (semitones / 12) + detuned_hz, partials)
        return chord * swell(note, 0.03, 0.04)

    bellows = 1.0 + 0.5 * wave(scene, pumping_hz)
    return bellows * melody(scene, (180.0, 400.0), scene.log_between(1.0, 4.0), play, ring_s=0.0)


def pipe_organ(scene: Scene) -> Signal:
    """Organ: held chords of octave ranks, no vibrato, a short breath (chiff) at each onset."""
    stops = scene.rng.uniform(0.2, 1.0, 16) * np.isin(np.arange(1, 17), (1, 2, 3, 4, 6, 8, 16))
    partials = stops * rolloff(16, 0.4)

    def play(note: Scene, f0_hz: float) -> Signal:
        pipes = band_noise(note, 2 * f0_hz, 6 * f0_hz) * decay(note, 0.12)
        for semitones in (0, 4, 7, 12):
            pipes += tone(note, f0_hz * 2.0 ** (semitones / 12), partials)
        return pipes * swell(note, 0.04, 0.15)

    slow = scene.log_between(0.5, 1.5)
    return melody(scene, (120.0, 260.0), slow, play, ring_s=0.15)


def bagpipes(scene: Scene) -> Signal:
    """Bagpipes: a never-ending nasal chanter with grace notes over two drones."""
    tonic_hz = scene.log_between(350.0, 600.0)
    partials = rolloff(24, 0.5)

    def play(note: Scene, f0_hz: float) -> Signal:
        grace = np.where(note.times_s < 0.045, note.rng.choice([1.5, 1.33, 1.19]), 1.0)
        return tone(note, f0_hz * grace, partials)

    tempo = scene.log_between(2.0, 6.0)
    chanter = melody(scene, (tonic_hz, tonic_hz), tempo, play, ring_s=0.0)
    drones = tone(scene, tonic_hz / 2, partials) + tone(scene, 1.004 * tonic_hz / 4, partials)
    return chanter + scene.between(0.3, 0.7) * drones


def theremin(scene: Scene) -> Signal:
    """Theremin: one nearly pure tone that glides without a break, with a wide vibrato."""
    lowest_hz = scene.log_between(180.0, 900.0)
    glide = contour(scene, lowest_hz, 3.0 * lowest_hz, scene.between(1.0, 3.0))
    vibrato = 1.0 + scene.between(0.015, 0.04) * wave(scene, scene.between(5.0, 8.0))
    loudness = smooth(scene, contour(scene, 0.3, 1.0, 2.0), 5.0)
    return loudness * tone(scene, glide * vibrato, rolloff(5, scene.between(2.0, 3.5)))


def didgeridoo(scene: Scene) -> Signal:
    """Didgeridoo: a low drone whose vocal-tract formant opens and closes in rhythm."""
    drone = tone(scene, scene.log_between(55.0, 140.0), rolloff(200, 0.7))
    opening = 0.5 + 0.5 * wave(scene, scene.log_between(1.5, 5.0))
    formant_hz, size = scene.between(350.0, 600.0), scene.between(2.2, 4.0)
    closed = resonate(scene, drone, formant_hz, 120.0)
    opened = resonate(scene, drone, size * formant_hz, 200.0)
    return drone * 0.05 + (1.0 - 0.8 * opening) * closed + 2.0 * opening**2 * opened


def acoustic_guitar(scene: Scene) -> Signal:
    """Plucked steel strings that ring into each other, in a resonant body."""
    softness, t60_s = scene.between(0.2, 0.6), scene.between(1.0, 3.0)

    def play(note: Scene, f0_hz: float) -> Signal:
        return pluck(note, f0_hz, t60_s, softness)

    strings = melody(scene, (130.0, 400.0), scene.log_between(2.0, 5.0), play, 0.3)
    return strings + 1.5 * resonate(scene, strings, scene.between(90.0, 240.0), 60.0)


def banjo(scene: Scene) -> Signal:
    """Fast rolls on bright strings that a drum head damps at once."""

    def play(note: Scene, f0_hz: float) -> Signal:
        return pluck(note, f0_hz, 0.35, 1.0) * decay(note, 0.5)

    strings = melody(scene, (250.0, 700.0), scene.log_between(6.0, 11.0), play, 0.05)
    return strings + 2.0 * resonate(scene, strings, scene.between(500.0, 900.0), 400.0)


def harp(scene: Scene) -> Signal:
    """Glissandi: runs up and down over soft long strings, with a pause between the runs."""
    tonic_hz, run_s = scene.log_between(180.0, 400.0), scene.between(0.5, 1.2)
    softness, strings = scene.between(0.1, 0.3), int(scene.rng.integers(9, 15))

    def glissando() -> Signal:
        run = scene.part(run_s + 0.8)
        pitches = tonic_hz * 2.0 ** (np.arange(strings) / 7)
        upwards = scene.rng.uniform() < 0.6
        onsets = np.linspace(0.0, run_s, strings) if upwards else np.linspace(run_s, 0.0, strings)
        note = run.part(0.5)
        fade = through(note, 1.0, 0.5, 0.0)
        notes = (
            (t, fade * pluck(note, f0, 3.0, softness))
            for t, f0 in zip(onsets, pitches, strict=True)
        )
        return overlay(run, notes)

    return overlay(scene, ((t, glissando()) for t in regular(scene, run_s + 0.4, 0.05)))
