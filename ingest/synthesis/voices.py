"""People: glottal pulses or breath of a moving pitch through a vocal tract; whistles and hands."""

import numpy as np

from slvr.ingest.synthesis.sources import (
    Scene,
    Signal,
    band_noise,
    contour,
    decay,
    formants,
    noise,
    overlay,
    regular,
    resonate,
    rolloff,
    smooth,
    swell,
    through,
    tone,
    unit,
    wave,
)

# First three formants of men's vowels in Hz, after Peterson & Barney 1952.
_VOWELS_HZ = np.array(
    [
        (730, 1090, 2440),
        (530, 1840, 2480),
        (270, 2290, 3010),
        (570, 840, 2410),
        (300, 870, 2240),
        (660, 1720, 2410),
    ]
)
_BANDWIDTHS_HZ = (80.0, 100.0, 140.0)


def _speaker(scene: Scene) -> tuple[float, float]:
    """Pitch in Hz and formant scale of a man, a woman or a child."""
    lowest_hz, highest_hz, scale = ((85, 160, 1.0), (160, 260, 1.17), (230, 380, 1.35))[
        scene.rng.integers(3)
    ]
    return scene.log_between(lowest_hz, highest_hz), scale * scene.between(0.94, 1.06)


def _vowel(scene: Scene, pitch_hz: Signal, scale: float) -> Signal:
    """A voiced glottal tone through the formants of a random vowel."""
    centres_hz = scale * _VOWELS_HZ[scene.rng.integers(len(_VOWELS_HZ))]
    return formants(scene, tone(scene, pitch_hz, rolloff(120, 1.2)), centres_hz, _BANDWIDTHS_HZ)


def speech(scene: Scene) -> Signal:
    """Syllables at 3-6 a second: consonant noise, then a vowel, with falling phrases and pauses."""
    pitch_hz, scale = _speaker(scene)
    syllable_s = 1.0 / scene.between(3.0, 6.0)
    phrase = int(scene.rng.integers(4, 9))
    events = []
    for k, onset_s in enumerate(regular(scene, syllable_s, jitter=0.08)):
        position = (k % (phrase + 1)) / phrase
        if position == 1.0:
            continue  # a breath
        vowel = scene.part(syllable_s * scene.between(0.5, 0.95))
        start = pitch_hz * (1.15 - 0.3 * position) * scene.between(0.9, 1.1)
        inflected = through(vowel, start, start * scene.between(0.95, 1.2), 0.92 * start)
        voiced = _vowel(vowel, inflected, scale) * swell(vowel, 0.03, 0.05)
        events.append((onset_s, unit(voiced)))
        if scene.rng.uniform() < 0.5:
            hiss = scene.part(scene.between(0.04, 0.1))
            centre_hz = scene.between(2200.0, 5500.0)
            fricative = band_noise(hiss, centre_hz, 1.4 * centre_hz) * swell(hiss, 0.02, 0.02)
            events.append((max(0.0, onset_s - 0.06), 0.1 * fricative))
    return overlay(scene, events)


def singing(scene: Scene) -> Signal:
    """Long vowels with vibrato and a singer's formant near 3 kHz, gliding from note to note."""
    pitch_hz, scale = _speaker(scene)
    note_s = scene.between(0.5, 1.3)
    steps = scene.rng.integers(-4, 9, int(scene.duration_s / note_s) + 1)
    sung = (scene.times_s / note_s).astype(np.int64)
    tune = smooth(scene, steps[sung] / 12, 6.0)
    vibrato = 0.02 * wave(scene, scene.between(5.0, 6.5))
    glottis = tone(scene, pitch_hz * 2.0 ** (tune + vibrato), rolloff(120, 1.2))
    first, second = scene.rng.permutation(_VOWELS_HZ)[:2] * scale
    morph = 0.5 + 0.5 * wave(scene, 0.5 / note_s)
    voice = morph * formants(scene, glottis, first, _BANDWIDTHS_HZ)
    voice += (1.0 - morph) * formants(scene, glottis, second, _BANDWIDTHS_HZ)
    return voice + 0.5 * resonate(scene, glottis, 2900.0 * scale**0.5, 250.0)


def baby_cry(scene: Scene) -> Signal:
    """Wails of about a second on one breath: pitch rises, holds and falls, then a gasp."""
    pitch_hz, period_s = scene.log_between(320.0, 620.0), scene.between(0.7, 1.5)
    centres_hz = np.array([1100.0, 3200.0, 4800.0]) * scene.between(0.85, 1.15)
    events = []
    for onset_s in regular(scene, period_s, jitter=0.05):
        cry = scene.part(period_s * scene.between(0.65, 0.85))
        top = scene.between(1.2, 1.5)
        pitch = pitch_hz * through(cry, 0.8, top, 1.1 * top, top, 0.8)
        hoarse = 1.0 + scene.between(0.0, 0.6) * smooth(cry, noise(cry), 80.0)
        wail = tone(cry, pitch, rolloff(24, 0.7)) * hoarse
        events.append(
            (onset_s, formants(cry, wail, centres_hz, (200, 300, 400)) * swell(cry, 0.08, 0.15))
        )
    return overlay(scene, events)


def laughter(scene: Scene) -> Signal:
    """Bouts of 'ha' at about five a second that fall in pitch and level: breath, then voice."""
    pitch_hz, scale = _speaker(scene)
    pitch_hz *= 1.6
    laugh_s, bout = 1.0 / scene.between(4.0, 6.5), int(scene.rng.integers(4, 9))
    centres_hz = scale * _VOWELS_HZ[scene.rng.choice([0, 1, 5])]
    events = []
    for k, onset_s in enumerate(regular(scene, laugh_s, jitter=0.04)):
        place = k % (bout + 2)
        if place >= bout:
            continue
        ha = scene.part(0.9 * laugh_s)
        pitch = pitch_hz * (1.15 - 0.35 * place / bout) * through(ha, 1.0, 1.1, 0.85)
        voiced = tone(ha, pitch, rolloff(50, 1.1)) * swell(ha, 0.1 * laugh_s, 0.6 * laugh_s)
        breath = 0.25 * noise(ha) * swell(ha, 0.03, 0.7 * laugh_s)
        sound = formants(ha, voiced + breath, centres_hz, _BANDWIDTHS_HZ)
        events.append((onset_s, sound * (1.0 - 0.6 * place / bout)))
    return overlay(scene, events)


def cough(scene: Scene) -> Signal:
    """Two to four explosive bursts of throat noise, then a pause."""
    size = scene.between(0.8, 1.4)
    throat_hz = size * np.array([500.0, 1400.0, 2700.0])
    burst = scene.part(0.35)
    events = []
    for onset_s in regular(scene, scene.between(0.9, 2.0), jitter=0.08):
        for k in range(int(scene.rng.integers(2, 5))):
            pitch = through(burst, 1.2, 0.7) * scene.between(120.0, 260.0)
            source = noise(burst) + 0.4 * tone(burst, pitch, rolloff(30, 0.8))
            shape = decay(burst, scene.between(0.15, 0.35)) * swell(burst, 0.006, 0.05)
            sound = formants(burst, source * shape, throat_hz, (250, 350, 500))
            events.append((onset_s + k * scene.between(0.22, 0.32), sound * 0.75**k))
    return overlay(scene, events)


def whistling(scene: Scene) -> Signal:
    """A human whistle: a pure tone with breath noise that slides between the notes of a tune."""
    lowest_hz, note_s = scene.log_between(500.0, 1500.0), scene.between(0.2, 0.6)
    count = max(2, int(scene.duration_s / note_s) + 1)
    nodes = np.repeat(scene.rng.integers(0, 13, count), 3)  # two thirds of a note held, one slide
    tune = through(scene, *nodes) / 12
    gaps = np.repeat(scene.rng.uniform(size=count) < 0.85, 3).astype(float)
    gaps[0] = 1.0
    vibrato = 1.0 + 0.006 * wave(scene, 5.5)
    breath = 0.05 * band_noise(scene, lowest_hz, 4.0 * lowest_hz)
    return (tone(scene, lowest_hz * 2.0**tune * vibrato, (1.0, 0.05)) + breath) * through(
        scene, *gaps
    )


def applause(scene: Scene) -> Signal:
    """Many hands: claps of short resonant noise, each clapper with a beat and place of its own."""
    clap = scene.part(0.03)
    events = []
    for _ in range(int(scene.rng.integers(8, 30))):
        centre_hz, level = scene.log_between(700.0, 2800.0), 10.0 ** scene.between(-1.0, 0.0)
        sound = level * resonate(clap, noise(clap) * decay(clap, 0.03), centre_hz, 600.0)
        beat_s = 1.0 / scene.between(2.8, 5.5)
        events += [(t, sound) for t in regular(scene, beat_s, jitter=0.08)]
    crowd = 0.03 * band_noise(scene, 800.0, 4000.0)
    return overlay(scene, events) + crowd * contour(scene, 0.4, 1.0, 1.0)
