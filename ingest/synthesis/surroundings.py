"""Weather, water, fire, steps and things of the house: shaped noise and impacts on bodies."""

import numpy as np

from slvr.ingest.synthesis.sources import (
    Scene,
    Signal,
    band_noise,
    contour,
    decay,
    impulses,
    modes,
    noise,
    overlay,
    poisson,
    regular,
    resonate,
    rms,
    rolloff,
    smooth,
    swell,
    through,
    tone,
    unit,
    wave,
)


def rain(scene: Scene) -> Signal:
    """Steady hiss of far drops with near drops as separate clicks on one surface."""
    hiss = band_noise(scene, scene.log_between(300.0, 1500.0), 7000.0, order=1)
    near = impulses(scene, poisson(scene, scene.log_between(20.0, 120.0)), spread_db=8.0)
    surface_hz = scene.log_between(900.0, 4000.0)
    clicks = modes(scene, near, (surface_hz, 1.6 * surface_hz), (0.015, 0.01), (1.0, 0.8))
    return hiss + scene.between(2.0, 6.0) * clicks * rms(hiss)


def wind(scene: Scene) -> Signal:
    """Gusts: low noise that swells slowly, with a howl whose resonance follows the strength."""
    gust = smooth(scene, contour(scene, 0.08, 1.0, scene.between(0.7, 2.0)), 2.0)
    rumble = noise(scene, scene.between(-6.0, -3.0))
    howl_hz = scene.log_between(250.0, 900.0)
    low, high = (resonate(scene, noise(scene), f * howl_hz, 0.08 * howl_hz) for f in (1.0, 1.6))
    return gust * (rumble + scene.between(8.0, 20.0) * ((1.0 - gust) * low + gust * high))


def thunder(scene: Scene) -> Signal:
    """A crack, then claps of low noise that arrive over seconds and lose their treble."""
    strikes = regular(scene, scene.between(2.0, 4.0), jitter=0.05)
    events = []
    for strike_s in strikes:
        for lag_s in np.sort(scene.rng.exponential(0.5, 6)):
            clap = scene.part(scene.between(0.3, 1.0))
            roll = noise(clap, scene.between(-10.0, -5.0)) * swell(clap, 0.02, clap.duration_s)
            events.append((strike_s + lag_s, roll / (1.0 + 2.0 * lag_s)))
        crack = scene.part(0.3)
        events.append((strike_s, noise(crack, -3.0) * decay(crack, scene.between(0.15, 0.5))))
    return overlay(scene, events)


def stream(scene: Scene) -> Signal:
    """A brook: bubbles, each a short rising sine (van den Doel 2005), by hundreds."""
    pool_hz = scene.log_between(450.0, 1300.0)
    bubble = scene.part(0.06)
    bubbles = []
    for _ in range(24):
        pitch = (
            pool_hz
            * 2.0 ** scene.between(-1.0, 1.2)
            * through(bubble, 1.0, scene.between(1.05, 1.5))
        )
        bubbles.append(
            tone(bubble, pitch, (1.0,)) * decay(bubble, 0.07) * 10.0 ** scene.between(-1.2, 0.0)
        )
    onsets = poisson(scene, scene.log_between(50.0, 140.0))
    chosen = scene.rng.integers(len(bubbles), size=len(onsets))
    flow = 0.02 * band_noise(scene, pool_hz, 5 * pool_hz, order=1)
    return flow + overlay(scene, ((t, bubbles[k]) for t, k in zip(onsets, chosen, strict=True)))


def sea_waves(scene: Scene) -> Signal:
    """Breakers: each wave swells dark, breaks bright, and hisses back over the shingle."""
    period_s = scene.between(0.8, 3.0) * max(1.0, scene.duration_s / 6)
    phase = scene.times_s / period_s + scene.between(0.0, 1.0)
    shape = (phase + 0.06 * wave(scene, 0.37)) % 1.0
    breaking = np.where(shape < 0.35, shape / 0.35, np.exp(-3.5 * (shape - 0.35))) ** 2
    dark, bright = noise(scene, -3.0), band_noise(scene, scene.log_between(700.0, 2000.0), 7000.0)
    return dark * (0.15 + breaking) + scene.between(0.7, 1.5) * bright * (0.03 + breaking**2)


def crackling_fire(scene: Scene) -> Signal:
    """Crackles of random size, in clusters, over a faint flutter of flames."""
    activity = contour(scene, 0.1, 1.0, 4.0)
    onsets = poisson(scene, scene.log_between(15.0, 50.0))
    heard = activity[(onsets * scene.sample_rate_hz).astype(np.int64)] > scene.rng.uniform(0.1, 0.6)
    heard[0] = True
    snaps = impulses(scene, onsets[heard], spread_db=10.0)
    wood_hz = scene.log_between(1000.0, 3500.0) * np.array([1.0, 1.45, 2.1])
    crackles = modes(scene, snaps, wood_hz, (0.006, 0.008, 0.005), (1.0, 1.0, 1.0))
    flames = noise(scene, -7.0) * contour(scene, 0.3, 1.0, 9.0)
    return unit(crackles) + scene.between(0.005, 0.03) * flames


def water_drops(scene: Scene) -> Signal:
    """A dripping tap: a click, then one bubble that rises in pitch, at a slow uneven beat."""
    pool_hz = scene.log_between(700.0, 1500.0)
    events = []
    for onset_s in regular(scene, scene.log_between(0.25, 0.9), jitter=0.08):
        drop = scene.part(0.18)
        pitch = pool_hz * scene.between(0.85, 1.2) * through(drop, 1.0, scene.between(1.3, 1.9))
        bubble = tone(drop, pitch, (1.0, 0.1)) * decay(drop, scene.between(0.08, 0.16))
        click = 0.4 * noise(drop) * decay(drop, 0.006)
        events += [(onset_s, click), (onset_s + 0.02, bubble * swell(drop, 0.005, 0.02))]
    return overlay(scene, events)


def footsteps(scene: Scene) -> Signal:
    """Heel and toe at walking or running pace, on a floor that thuds and grit that scrapes."""
    step_s, floor_hz = 1.0 / scene.log_between(1.4, 3.2), scene.log_between(80.0, 260.0)
    steps = regular(scene, step_s, jitter=0.04)
    heel_to_toe_s = scene.between(0.06, 0.14)
    both = np.concatenate([steps, steps + heel_to_toe_s])
    thud = modes(
        scene,
        impulses(scene, both, 4.0),
        floor_hz * np.array([1.0, 2.3, 4.1]),
        (0.12, 0.07, 0.05),
        (1.0, 0.6, 0.4),
    )
    scrape = scene.part(0.16)
    grit = band_noise(scrape, 1200.0, 5000.0) * swell(scrape, 0.03, 0.12)
    grit *= smooth(scrape, np.abs(noise(scrape)), 150.0)
    scrapes = overlay(scene, ((t, grit * scene.between(0.5, 1.0)) for t in steps))
    return unit(thud) + scene.between(0.1, 0.6) * unit(scrapes)


def door_knock(scene: Scene) -> Signal:
    """Groups of two to five even knocks on a wooden panel, then a pause."""
    knock_s, count = 1.0 / scene.between(3.5, 7.0), int(scene.rng.integers(2, 6))
    starts = regular(scene, count * knock_s + scene.between(0.4, 0.9), jitter=0.05)
    onsets = (starts[:, None] + knock_s * np.arange(count)).ravel()
    knocks = impulses(scene, onsets, 3.0)
    panel_hz = scene.log_between(120.0, 420.0) * np.array([1.0, 1.6, 2.4, 3.7, 5.3])
    return modes(
        scene, knocks, panel_hz, scene.between(0.08, 0.2) * rolloff(5, 0.5), rolloff(5, 0.6)
    )


def clock_tick(scene: Scene) -> Signal:
    """Tick and tock, strictly periodic: sharp clicks of two colours in a small case."""
    tick_s, case_hz = 1.0 / scene.log_between(1.0, 5.0), scene.log_between(1500.0, 4500.0)
    ticks = regular(scene, tick_s)
    ratio, echo_s = scene.between(0.6, 0.9), scene.between(0.008, 0.03)
    out = np.zeros(scene.n_samples)
    for parity, colour in ((0, 1.0), (1, ratio)):
        strokes = ticks[parity::2]
        if len(strokes) == 0:
            continue
        rebounds = strokes + echo_s
        click = impulses(scene, strokes, 1.0) + 0.4 * impulses(scene, rebounds, 1.0)
        body_hz = colour * case_hz * np.array([1.0, 1.37, 0.4])
        out += modes(scene, click, body_hz, (0.02, 0.015, 0.03), (1.0, 0.7, 0.3))
    return out


def door_creak(scene: Scene) -> Signal:
    """Stick and slip: friction pulses whose rate rises and falls wildly excite the door."""
    slowest_hz = scene.log_between(50.0, 130.0)
    rate = contour(scene, slowest_hz, 7.0 * slowest_hz, scene.between(3.0, 6.0))
    rate *= 1.0 + 0.1 * smooth(scene, noise(scene), 30.0)
    slips = np.diff(np.floor(np.cumsum(rate) / scene.sample_rate_hz), prepend=0.0)
    hinge_hz = scene.log_between(600.0, 1300.0) * np.array([1.0, 1.9, 3.1])
    pressure = contour(scene, 0.02, 1.0, 3.0)
    return pressure * modes(scene, slips, hinge_hz, (0.03, 0.02, 0.015), (1.0, 0.8, 0.6))


def keyboard_typing(scene: Scene) -> Signal:
    """Key strokes in bursts: each a press and a softer release of another colour."""
    strokes = regular(scene, 1.0 / scene.log_between(4.0, 11.0), jitter=0.25)
    typed = scene.rng.uniform(size=len(strokes)) < 0.85
    typed[0] = True
    presses = strokes[typed]
    releases = presses + scene.between(0.05, 0.11)
    key_hz = scene.log_between(900.0, 2600.0)
    down = modes(
        scene,
        impulses(scene, presses, 4.0),
        (0.25 * key_hz, key_hz, 2.2 * key_hz),
        (0.04, 0.02, 0.015),
        (0.6, 1.0, 1.0),
    )
    up = modes(
        scene,
        impulses(scene, releases, 4.0),
        (1.4 * key_hz, 2.9 * key_hz),
        (0.015, 0.01),
        (0.5, 0.6),
    )
    return down + up


def hand_saw(scene: Scene) -> Signal:
    """Strokes there and back: teeth rasp at a rate that follows the blade's speed."""
    stroke_hz, teeth_hz = scene.log_between(0.9, 2.5), scene.log_between(60.0, 180.0)
    blade = wave(scene, stroke_hz)
    speed, forward = np.abs(blade), 0.75 + 0.25 * np.sign(blade)
    teeth = tone(scene, teeth_hz * (0.3 + speed), rolloff(40, 0.2))
    wood_hz = scene.log_between(700.0, 2500.0)
    rasp = (1.0 + 0.4 * teeth) * noise(scene)
    cut = resonate(scene, rasp, wood_hz, 0.6 * wood_hz) + 0.2 * rasp
    return cut * speed**1.5 * forward
