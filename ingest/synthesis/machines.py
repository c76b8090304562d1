"""Engines, vehicles, signals and radio: cyclic sources and coded tones."""

from collections.abc import Sequence

import numpy as np

from slvr.ingest.synthesis.sources import (
    Scene,
    Signal,
    band_noise,
    contour,
    impulses,
    modes,
    noise,
    overlay,
    poisson,
    regular,
    resonate,
    rolloff,
    smooth,
    swell,
    tone,
    unit,
    wave,
)


def engine(scene: Scene) -> Signal:
    """Firing pulses of a piston engine, uneven from cylinder to cylinder, idling and revving."""
    idle_hz = scene.log_between(18.0, 60.0)
    revs = smooth(scene, contour(scene, idle_hz, idle_hz * scene.between(1.1, 3.0), 1.0), 2.0)
    cylinders = scene.rng.uniform(0.3, 1.0, 60) * rolloff(60, 0.5)
    firing = tone(scene, np.maximum(revs, idle_hz / 2) / 2, cylinders)
    exhaust_hz = scene.log_between(90.0, 300.0)
    exhaust = resonate(scene, firing, exhaust_hz, 60.0) + 0.3 * firing
    load = np.maximum(0.0, unit(firing))
    return exhaust + load * band_noise(scene, 2 * exhaust_hz, 12 * exhaust_hz)


def train(scene: Scene) -> Signal:
    """Rolling rumble with pairs of wheel clacks over rail joints: ta-dum, ta-dum."""
    joint_s = 1.0 / scene.log_between(0.9, 2.4)
    axle_s = joint_s * scene.between(0.15, 0.3)
    joints = regular(scene, joint_s, jitter=0.01)
    struck = impulses(scene, np.concatenate([joints, joints + axle_s]), 2.0)
    rail_hz = scene.log_between(250.0, 800.0) * np.array([1.0, 1.8, 2.7])
    clatter = modes(scene, struck, rail_hz, (0.12, 0.08, 0.06), (1.0, 0.7, 0.5))
    rumble = noise(scene, scene.between(-6.0, -3.0)) * (1.0 + 0.3 * wave(scene, 2 / joint_s))
    return unit(clatter) + scene.between(0.05, 0.15) * rumble


def helicopter(scene: Scene) -> Signal:
    """Blade slaps: noise and a thump in every blade passage at 10-22 Hz, under a turbine whine."""
    blades_hz = scene.log_between(9.0, 22.0)
    slap = np.maximum(0.0, wave(scene, blades_hz)) ** scene.between(2.0, 6.0)
    thump_hz = scene.log_between(60.0, 160.0)
    thump = resonate(scene, slap, thump_hz, 50.0) * 10.0
    wash = band_noise(scene, thump_hz, scene.log_between(15.0, 40.0) * thump_hz, order=1)
    whine = tone(scene, scene.log_between(800.0, 2500.0), (1.0, 0.4, 0.2))
    return (thump + wash) * (0.1 + slap) + scene.between(0.01, 0.1) * whine


def siren(scene: Scene) -> Signal:
    """Wail or yelp: a bright tone sweeps up and down over about an octave without a break."""
    lowest_hz, sweeps_hz = scene.log_between(350.0, 900.0), scene.log_between(0.35, 4.0)
    octaves = scene.between(0.7, 1.5)
    position = 0.5 + 0.5 * wave(scene, sweeps_hz)
    pitch = lowest_hz * 2.0 ** (octaves * position)
    horn = tone(scene, pitch, rolloff(15, scene.between(0.7, 1.8)))
    return horn + resonate(scene, horn, scene.between(900.0, 2000.0), 500.0)


def frequency_sweep(scene: Scene) -> Signal:
    """Exponential sweeps over two octaves or more, up or down, one after another."""
    length_s = scene.log_between(0.25, 1.5)
    sweep = scene.part(length_s)
    lowest_hz, octaves = scene.log_between(200.0, 900.0), scene.between(1.8, 3.0)
    position = sweep.times_s / length_s
    if scene.rng.uniform() < 0.5:
        position = position[::-1]
    sound = tone(
        sweep, lowest_hz * 2.0 ** (octaves * position), rolloff(8, scene.between(1.5, 4.0))
    )
    sound *= swell(sweep, 0.02, 0.02)
    pause_s = scene.between(0.02, 0.3)
    return overlay(scene, ((t, sound) for t in regular(scene, length_s + pause_s)))


def car_horn(scene: Scene) -> Signal:
    """Two buzzing horns a third apart, blown in short and long hoots."""
    pitch_hz, interval = scene.log_between(280.0, 520.0), scene.between(1.18, 1.27)
    partials = rolloff(30, scene.between(0.2, 0.7))
    events, onset_s = [], scene.between(0.0, 0.2)
    while onset_s < scene.duration_s:
        hoot = scene.part(scene.log_between(0.12, 0.9))
        pair = tone(hoot, pitch_hz, partials) + tone(hoot, interval * pitch_hz, partials)
        events.append((onset_s, pair * swell(hoot, 0.02, 0.03)))
        onset_s += hoot.duration_s + scene.between(0.08, 0.7)
    return overlay(scene, events)


def alarm_clock(scene: Scene) -> Signal:
    """Groups of two to five identical electronic beeps, a square tone, then an equal pause."""
    pitch_hz, beep_s = scene.log_between(900.0, 2000.0), scene.log_between(0.05, 0.12)
    beep = scene.part(beep_s)
    square = rolloff(9, 1.0) * np.where(np.arange(9) % 2, 0.0, 1.0)
    sound = tone(beep, pitch_hz, square) * swell(beep, 0.004, 0.004)
    count = int(scene.rng.integers(2, 6))
    groups = regular(scene, 2.0 * beep_s * count + scene.between(0.2, 0.5))
    return overlay(scene, ((g + 2.0 * beep_s * k, sound) for g in groups for k in range(count)))


def telephone_ring(scene: Scene) -> Signal:
    """A bell or warbler struck 15-28 times a second, in rings with pauses of about their length."""
    clapper_hz, ring_s = scene.between(15.0, 28.0), scene.between(0.35, 1.0)
    pitch_hz, interval = scene.log_between(800.0, 1700.0), scene.between(1.12, 1.35)
    ring = scene.part(ring_s)
    if scene.rng.uniform() < 0.5:
        strokes = impulses(ring, regular(ring, 1.0 / clapper_hz), 1.0)
        gongs_hz = pitch_hz * np.array([1.0, interval, 2.6, 2.6 * interval])
        sound = modes(ring, strokes, gongs_hz, (0.4, 0.4, 0.2, 0.2), (1.0, 1.0, 0.5, 0.5))
    else:
        warble = np.where(wave(ring, clapper_hz / 2) > 0.0, 1.0, interval)
        sound = tone(ring, pitch_hz * warble, rolloff(5, scene.between(1.0, 2.5)))
    sound *= swell(ring, 0.01, 0.03)
    onsets = regular(scene, ring_s * scene.between(1.5, 2.2))
    return overlay(scene, ((t, sound) for t in onsets))


def morse_code(scene: Scene) -> Signal:
    """Dots and dashes of one keyed tone (units 1 : 3, gaps 1, 3), at 12-30 words a minute."""
    unit_s = 1.2 / scene.between(12.0, 30.0)
    keyed: list[int] = []
    while len(keyed) * unit_s < scene.duration_s:
        for _ in range(int(scene.rng.integers(1, 5))):
            keyed += [1] * int(scene.rng.choice([1, 3])) + [0]
        keyed += [0, 0]
    keying = smooth(scene, _held(scene, keyed, unit_s), 60.0)
    partials = rolloff(6, scene.between(1.5, 4.0))
    return keying * tone(scene, scene.log_between(500.0, 1100.0), partials)


def _held(scene: Scene, values: Sequence[int], unit_s: float) -> Signal:
    """Each value held for `unit_s`."""
    index = np.minimum(scene.times_s / unit_s, len(values) - 1).astype(np.int64)
    return np.asarray(values, dtype=np.float64)[index]


def radio_static(scene: Scene) -> Signal:
    """Tuning a radio: hiss with crackles, and carriers that whistle past as the dial turns."""
    hiss = band_noise(scene, 300.0, scene.log_between(2000.0, 7000.0)) * contour(
        scene, 0.3, 1.0, 6.0
    )
    crackle = smooth(scene, impulses(scene, poisson(scene, 20.0), 8.0), 3000.0)
    dial = scene.part(scene.log_between(0.3, 1.0))
    carrier_hz = scene.log_between(800.0, 2600.0)
    beat_hz = 40.0 + carrier_hz * np.abs(np.linspace(-1.0, 1.0, dial.n_samples))
    whistle = tone(dial, beat_hz, (1.0, 0.3)) * swell(dial, 0.1, 0.1)
    carriers = overlay(scene, ((t, whistle) for t in poisson(scene, 1.0)))
    return hiss + 8.0 * crackle + scene.between(0.3, 1.0) * carriers
