"""Animals: calls with a moving pitch, wing strokes, croaks and drumming, each in its rhythm."""

import numpy as np

from slvr.ingest.synthesis.sources import (
    Scene,
    Signal,
    band_noise,
    formants,
    impulses,
    modes,
    noise,
    overlay,
    regular,
    resonate,
    rolloff,
    smooth,
    swell,
    through,
    tone,
    wave,
)


def songbird(scene: Scene) -> Signal:
    """Phrases of one syllable, a fast frequency sweep, repeated 6-14 times a second; new each."""
    centre_hz = scene.log_between(1600.0, 4200.0)
    events = []
    for onset_s in regular(scene, scene.between(0.7, 1.4), jitter=0.08):
        rate_hz = scene.between(6.0, 14.0)
        chirp = scene.part(scene.between(0.5, 0.85) / rate_hz)
        nodes = centre_hz * 2.0 ** scene.rng.uniform(-0.6, 0.6, 3)
        syllable = tone(chirp, through(chirp, *nodes), (1.0, 0.15)) * swell(chirp, 0.01, 0.02)
        count = int(scene.rng.integers(3, 9))
        events += [
            (onset_s + k / rate_hz, syllable * (0.6 + 0.4 * k / count)) for k in range(count)
        ]
    return overlay(scene, events)


def owl(scene: Scene) -> Signal:
    """Hoots in a fixed rhythm (short, short, long): soft, nearly pure, breathy, slightly arched."""
    pitch_hz = scene.log_between(300.0, 650.0)
    unit_s = scene.between(0.1, 0.2)
    rhythm = np.resize(((1, 1, 3), (3, 1, 1, 1), (2, 1, 1), (4,))[scene.rng.integers(4)], 64)
    events, onset_s = [], scene.between(0.0, 0.2)
    for length in rhythm:
        if onset_s > scene.duration_s:
            break
        hoot = scene.part(unit_s * length)
        arch = pitch_hz * through(hoot, 0.93, 1.0, 1.0, 0.94)
        air = 0.08 * band_noise(hoot, pitch_hz, 3 * pitch_hz)
        events.append(
            (onset_s, (tone(hoot, arch, (1.0, 0.12, 0.04)) + air) * swell(hoot, 0.05, 0.07))
        )
        onset_s += unit_s * (length + scene.between(1.2, 2.2))
    return overlay(scene, events)


def cricket(scene: Scene) -> Signal:
    """Trains of two to five pure pulses (tooth strikes of one wing stroke), 1-4 trains a second."""
    carrier_hz, pulse_hz = scene.log_between(2200.0, 6000.0), scene.between(22.0, 45.0)
    count = int(scene.rng.integers(2, 6))
    chirp = scene.part(count / pulse_hz)
    pulses = np.maximum(0.0, np.sin(2 * np.pi * pulse_hz * chirp.times_s)) ** 0.7
    strokes = tone(chirp, carrier_hz * through(chirp, 1.02, 0.98), (1.0, 0.1)) * pulses
    period_s = max(1.4 * count / pulse_hz, 1.0 / scene.log_between(1.0, 4.0))
    return overlay(scene, ((t, strokes) for t in regular(scene, period_s, jitter=0.03)))


def cicada(scene: Scene) -> Signal:
    """A drawn-out rasp: clicks of the tymbal at 100-250 Hz in a band of noise, in long swells."""
    centre_hz, click_hz = scene.log_between(2500.0, 5500.0), scene.log_between(100.0, 250.0)
    clicks = tone(scene, click_hz, rolloff(80, 0.0)) * (1.0 + 0.5 * noise(scene))
    rasp = resonate(scene, resonate(scene, clicks, centre_hz, 400.0), 1.2 * centre_hz, 900.0)
    return rasp * (0.55 + 0.45 * wave(scene, scene.log_between(0.3, 1.2)))


def dog_bark(scene: Scene) -> Signal:
    """Barks in ones, twos and threes: a hoarse tone that jumps up and falls within 0.2 s."""
    size = scene.log_between(0.7, 2.2)
    centres_hz = np.array([600.0, 1300.0, 2500.0]) * size**0.5
    events = []
    for onset_s in regular(scene, scene.between(0.6, 1.3), jitter=0.1):
        for k in range(int(scene.rng.integers(1, 4))):
            bark = scene.part(scene.between(0.12, 0.22))
            pitch = 300.0 * size * scene.between(0.9, 1.1) * through(bark, 0.8, 1.4, 1.0, 0.6)
            source = tone(bark, pitch, rolloff(30, 0.8)) + 0.5 * noise(bark)
            sound = formants(bark, source, centres_hz, (150, 250, 400)) * swell(bark, 0.015, 0.1)
            events.append((onset_s + 0.28 * k, sound))
    return overlay(scene, events)


def cat_meow(scene: Scene) -> Signal:
    """Meows of 0.5-1 s: the pitch arches while the mouth opens and closes (first formant)."""
    pitch_hz = scene.log_between(400.0, 700.0)
    events = []
    for onset_s in regular(scene, scene.between(1.0, 1.8), jitter=0.08):
        meow = scene.part(scene.between(0.45, 1.0))
        pitch = pitch_hz * scene.between(0.9, 1.15) * through(meow, 0.8, 1.15, 1.2, 1.05, 0.75)
        source = tone(meow, pitch, rolloff(30, 0.9)) + 0.04 * noise(meow)
        mouth = through(meow, 0.0, 1.0, 0.7, 0.2, 0.0)
        opened = formants(meow, source, (1500.0, 2400.0, 4000.0), (250, 300, 400))
        closed = formants(meow, source, (700.0, 1000.0, 2800.0), (150, 250, 400))
        sound = (mouth * opened + (1.0 - mouth) * closed) * swell(meow, 0.1, 0.2)
        events.append((onset_s, sound))
    return overlay(scene, events)


def crow(scene: Scene) -> Signal:
    """Caws in series: a harsh, subharmonic, nasal tone of 0.3 s with a flat or falling pitch."""
    pitch_hz, length_s = scene.log_between(350.0, 750.0), scene.between(0.22, 0.45)
    nose_hz = scene.between(1200.0, 1900.0)
    caw = scene.part(length_s)
    events = []
    for onset_s in regular(scene, length_s + scene.between(0.15, 0.6), jitter=0.05):
        pitch = pitch_hz * scene.between(0.95, 1.05) * through(caw, 0.9, 1.05, 1.0, 0.85)
        rough = 1.0 + 0.7 * wave(caw, pitch_hz / 6) + 0.5 * smooth(caw, noise(caw), 300.0)
        source = tone(caw, pitch, rolloff(24, 0.4)) * rough
        sound = formants(caw, source, (nose_hz, 1.7 * nose_hz), (400, 600))
        events.append((onset_s, sound * swell(caw, 0.04, 0.08)))
    return overlay(scene, events)


def frog(scene: Scene) -> Signal:
    """Croaks: pulse trains of 25-70 Hz that ring in the vocal sac, in pairs."""
    sac_hz, pulse_hz = scene.log_between(600.0, 1500.0), scene.log_between(25.0, 70.0)
    croak = scene.part(scene.between(0.2, 0.45))
    events = []
    for onset_s in regular(scene, croak.duration_s + scene.between(0.15, 0.7), jitter=0.05):
        quickening = np.cumsum(through(croak, 0.8, 1.2) * pulse_hz) / croak.sample_rate_hz
        pulses = np.diff(np.floor(quickening), prepend=0.0)
        ring = modes(croak, pulses, (sac_hz, 2.3 * sac_hz), (0.05, 0.03), (1.0, 0.5))
        events.append((onset_s, ring * swell(croak, 0.5 * croak.duration_s, 0.05)))
    return overlay(scene, events)


def woodpecker(scene: Scene) -> Signal:
    """Drum rolls: 10-20 knocks on wood, 15-28 a second, that quicken and fade; then a pause."""
    rate_hz, trunk_hz = scene.between(14.0, 28.0), scene.log_between(500.0, 1600.0)
    count = int(scene.rng.integers(9, 20))
    roll_s = np.cumsum(np.linspace(1.15, 0.85, count)) / rate_hz
    gains = 10.0 ** np.linspace(0.0, -0.6, count)
    wood = modes(
        scene,
        impulses(scene, np.zeros(1)),
        trunk_hz * np.array([1.0, 1.7, 2.9]),
        (0.06, 0.05, 0.03),
        (1.0, 0.7, 0.5),
    )
    knock = wood[: scene.sample_rate_hz // 20]
    starts = regular(scene, roll_s[-1] + scene.between(0.3, 1.2), jitter=0.05)
    return overlay(
        scene, ((s + t, g * knock) for s in starts for t, g in zip(roll_s, gains, strict=True))
    )
