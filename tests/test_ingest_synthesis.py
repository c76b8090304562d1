import hashlib
import subprocess
import sys

import numpy as np
import pytest
from scipy.signal import find_peaks, hilbert, stft

from slvr.ingest.synthesis import (
    EVALUATION_CLASSES,
    SHORTEST_S,
    SOUND_CLASSES,
    TRAINING_CLASSES,
    room,
    sources,
    synthesise,
)
from slvr.ingest.synthesis.sources import Scene

RATE_HZ = 16000
every_class = pytest.mark.parametrize("name", SOUND_CLASSES)


def scene(seed=0, duration_s=1.0):
    return Scene(np.random.default_rng(seed), duration_s, RATE_HZ)


def dry(name, seed=0, duration_s=4.0):
    return SOUND_CLASSES[name](scene(seed, duration_s))


def spectrum(x):
    """Frequencies in Hz and magnitudes of the Hann-windowed signal."""
    return np.fft.rfftfreq(len(x), 1 / RATE_HZ), np.abs(np.fft.rfft(x * np.hanning(len(x))))


def loudest_hz(x, window_s=0.064):
    """The frequency of the largest magnitude in every frame."""
    frequencies, _, frames = stft(x, RATE_HZ, nperseg=int(window_s * RATE_HZ))
    return frequencies[np.abs(frames).argmax(axis=0)]


def smoothed_envelope(x, cutoff_hz=400.0):
    return sources.smooth(scene(), np.abs(hilbert(x)), cutoff_hz)


# Registry


def test_training_and_evaluation_classes_part_the_registry():
    assert len(SOUND_CLASSES) >= 48
    assert len(TRAINING_CLASSES) >= 30
    assert len(EVALUATION_CLASSES) >= 20
    assert not set(TRAINING_CLASSES) & set(EVALUATION_CLASSES)
    assert {*TRAINING_CLASSES, *EVALUATION_CLASSES} == set(SOUND_CLASSES)
    assert len(TRAINING_CLASSES) + len(EVALUATION_CLASSES) == len(SOUND_CLASSES)


def test_every_family_is_in_both_parts():
    def families(names):
        return {SOUND_CLASSES[name].__module__ for name in names}

    assert families(TRAINING_CLASSES) == families(EVALUATION_CLASSES)
    assert len(families(TRAINING_CLASSES)) == 6


def test_an_unknown_class_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'vuvuzela'.*violin"):
        synthesise("vuvuzela", 0, 1.0)


def test_a_clip_too_short_for_an_event_is_refused():
    with pytest.raises(ValueError, match=r"at least 0\.5 s"):
        synthesise("violin", 0, 0.4)


def test_a_rate_too_low_for_the_registers_is_refused():
    with pytest.raises(ValueError, match="resample"):
        synthesise("violin", 0, 1.0, sample_rate_hz=8000)


# Laws of every class


@every_class
@pytest.mark.parametrize("duration_s", [SHORTEST_S, 1.0, 2.345])
def test_a_clip_is_finite_of_the_asked_length_and_neither_clipped_nor_silent(name, duration_s):
    for seed in range(3):
        with np.errstate(divide="raise", invalid="raise", over="raise"):
            clip = synthesise(name, seed, duration_s)
        assert clip.shape == (round(duration_s * RATE_HZ),)
        assert clip.dtype == np.float32
        assert np.isfinite(clip).all()
        peak_db = 20 * np.log10(np.abs(clip).max())
        assert room.PEAK_DB[0] - 0.01 <= peak_db <= room.PEAK_DB[1] + 0.01


@every_class
def test_the_same_arguments_give_the_same_bits_and_another_seed_another_clip(name):
    first, again, other = (synthesise(name, seed, 1.0) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.5


@every_class
def test_examples_vary_in_spectrum(name):
    """Long-term third-octave spectra of six examples differ by decibels, levels apart."""
    spectra = []
    for seed in range(6):
        frequencies, magnitudes = spectrum(synthesise(name, seed, 2.0))
        band = np.digitize(frequencies, 100.0 * 2.0 ** (np.arange(19) / 3))
        power_db = 10 * np.log10(np.bincount(band, magnitudes**2))[1:-1]
        spectra.append(power_db - power_db.mean())
    assert np.std(spectra, axis=0).mean() > 1.5


@every_class
def test_the_sound_is_spread_over_the_clip(name):
    for seed in range(4):
        halves = np.sum(dry(name, seed).reshape(2, -1) ** 2, axis=1)
        assert halves.min() > 1e-3 * halves.max()


@every_class
def test_one_second_holds_an_event(name):
    for seed in range(4):
        assert np.abs(dry(name, seed, 1.0)).max() > 0


@every_class
def test_another_sample_rate_gives_as_many_seconds(name):
    assert synthesise(name, 0, 1.0, sample_rate_hz=22050).shape == (22050,)


def test_clips_do_not_depend_on_the_process():
    program = (
        "import hashlib; from slvr.ingest.synthesis import synthesise;"
        "print(hashlib.sha256(synthesise('harp', 5, 1.0).tobytes()).hexdigest())"
    )
    child = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    here = hashlib.sha256(synthesise("harp", 5, 1.0).tobytes()).hexdigest()
    assert child.stdout.strip() == here


# Building blocks against closed forms


def test_a_tone_of_one_partial_is_a_sine():
    x = sources.tone(scene(), 440.0, (1.0,))
    residue = x**2 + np.gradient(x, 2 * np.pi * 440.0 / RATE_HZ) ** 2
    assert np.abs(residue[1:-1] - 1.0).max() < 0.03


def test_partials_beyond_nyquist_are_left_out():
    frequencies, magnitudes = spectrum(sources.tone(scene(), 3000.0, np.ones(10)))
    peaks = frequencies[find_peaks(magnitudes, height=0.1 * magnitudes.max())[0]]
    assert peaks == pytest.approx([3000.0, 6000.0], abs=2.0)


def test_modes_ring_as_decaying_sines():
    strike = np.zeros(RATE_HZ)
    strike[100] = 1.0
    t = np.arange(RATE_HZ - 100) / RATE_HZ
    expected = sum(
        g * 10 ** (-3 * t / t60) * np.sin(2 * np.pi * f * t)
        for f, t60, g in ((440.0, 0.5, 1.0), (1000.0, 0.2, 0.3))
    )
    rung = sources.modes(scene(), strike, (440.0, 1000.0, 7900.0), (0.5, 0.2, 1.0), (1.0, 0.3, 9.0))
    assert np.abs(rung[:100]).max() == 0
    assert rung[100:] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("period", [40, 73, 120])
def test_a_plucked_string_has_its_pitch_and_its_decay(period):
    f0_hz, t60_s = RATE_HZ / (period + 0.5), 2.0
    x = sources.pluck(scene(1, 2.0), f0_hz, t60_s, 0.5)
    frequencies, magnitudes = spectrum(x)
    peaks = frequencies[find_peaks(magnitudes, height=0.2 * magnitudes.max())[0]]
    assert peaks / f0_hz == pytest.approx(np.round(peaks / f0_hz), abs=0.03)
    assert peaks[0] >= 0.97 * f0_hz
    carrier = np.exp(-2j * np.pi * f0_hz * np.arange(len(x)) / RATE_HZ)
    early, late = (
        abs(np.sum((x * carrier)[start : start + 50 * period])) for start in (1600, 17600)
    )
    averaging = 2 * 20 * np.log10(np.cos(np.pi * f0_hz / RATE_HZ)) * f0_hz / 2
    assert 20 * np.log10(late / early) == pytest.approx(-60.0 / t60_s + averaging, abs=1.5)


@pytest.mark.parametrize("tilt_db", [-6.0, 0.0, 3.0])
def test_noise_has_the_asked_tilt(tilt_db):
    frequencies, magnitudes = spectrum(sources.noise(scene(0, 8.0), tilt_db))
    octaves = [(f, f * 2) for f in (125, 250, 500, 1000, 2000)]
    levels = [
        10 * np.log10(np.mean(magnitudes[(frequencies >= a) & (frequencies < b)] ** 2))
        for a, b in octaves
    ]
    assert np.diff(levels) == pytest.approx(tilt_db, abs=0.8)


def test_band_noise_is_3_db_down_at_its_edges_and_of_unit_power():
    x = sources.band_noise(scene(0, 20.0), 500.0, 4000.0)
    frequencies, magnitudes = spectrum(x)

    def level_db(centre_hz):
        near = np.abs(frequencies - centre_hz) < 0.04 * centre_hz
        return 10 * np.log10(np.mean(magnitudes[near] ** 2))

    assert np.mean(x**2) == pytest.approx(1.0)
    assert level_db(500) - level_db(1414) == pytest.approx(-3.0, abs=0.7)
    assert level_db(125) - level_db(1414) == pytest.approx(-24.1, abs=1.2)


def test_a_resonance_passes_its_centre_and_halves_the_power_at_its_edges():
    gains = []
    for f in (1000.0, 950.0, 1050.0):
        sine = np.sin(2 * np.pi * f * np.arange(RATE_HZ) / RATE_HZ)
        gains.append(sources.rms(sources.resonate(scene(), sine, 1000.0, 100.0)[8000:]) * 2**0.5)
    assert gains == pytest.approx([1.0, 0.707, 0.707], abs=0.03)


def test_envelopes_keep_their_times():
    assert sources.decay(scene(), 0.5)[RATE_HZ // 2] == pytest.approx(1e-3)
    swell = sources.swell(scene(), 0.1, 0.2)
    assert swell[[0, 800, 8000, 14400]] == pytest.approx([0.0, 0.5, 1.0, 0.5])


def test_a_contour_stays_in_its_range_and_moves():
    curve = sources.contour(scene(2, 5.0), 100.0, 400.0, 3.0)
    assert curve.min() >= 100.0 - 1e-9
    assert curve.max() <= 400.0 + 1e-9
    assert curve.std() > 20.0


def test_overlay_adds_and_cuts_at_the_end():
    events = [(0.0, np.ones(4)), (2 / RATE_HZ, np.ones(4)), (5 / RATE_HZ, np.ones(4)), (9.0, [1.0])]
    out = sources.overlay(scene(0, 6 / RATE_HZ), events)
    assert out.tolist() == [1, 1, 2, 2, 1, 2]


# Room


def test_the_background_lies_in_its_range_below_the_sound():
    burst = np.zeros(4 * RATE_HZ)
    burst[:RATE_HZ] = np.sin(2 * np.pi * 1000.0 * np.arange(RATE_HZ) / RATE_HZ)
    ratios = []
    for seed in range(30):
        clip = room.record(scene(seed, 4.0), burst)
        ratios.append(20 * np.log10(sources.rms(clip) / sources.rms(clip[2 * RATE_HZ :])))
    assert min(ratios) > room.SNR_DB[0] - 1.0
    assert max(ratios) < room.SNR_DB[1] + 1.0
    assert max(ratios) - min(ratios) > 10.0


def test_most_rooms_ring_and_some_are_dry():
    click = np.zeros(RATE_HZ)
    click[1000] = 1.0
    after = []
    for seed in range(40):
        clip = room.record(scene(seed), click)
        near, later = clip[900:1100], clip[1300:2600]
        after.append(np.sum(later**2) / np.sum(near**2))
    assert np.mean(np.array(after) > 0.02) == pytest.approx(1 - room.DRY_SHARE, abs=0.35)
    assert min(after) < 0.5 * np.median(after)


def test_levels_span_their_range():
    peaks_db = [20 * np.log10(np.abs(synthesise("owl", seed, 0.5)).max()) for seed in range(60)]
    assert min(peaks_db) < room.PEAK_DB[0] + 2.0
    assert max(peaks_db) > room.PEAK_DB[1] - 2.0


# The sounds are what they are called


@pytest.mark.parametrize("seed", range(4))
def test_a_clarinet_has_odd_partials(seed):
    _, _, frames = stft(dry("clarinet", seed), RATE_HZ, nperseg=2048)
    levels = np.abs(frames).T
    ratios = []
    for frame in levels[levels.max(axis=1) > 0.3 * levels.max()]:
        f0_bin = frame.argmax()
        ratios.append(frame[2 * f0_bin] / frame[3 * f0_bin - 2 : 3 * f0_bin + 3].max())
    assert np.median(ratios) < 0.4


@pytest.mark.parametrize("seed", range(4))
def test_a_theremin_glides_without_a_break(seed):
    x = dry("theremin", seed)
    pitches = loudest_hz(x)[2:-2]
    assert np.abs(np.diff(np.log2(pitches))).max() < 0.35
    assert pitches.max() / pitches.min() > 1.2
    frames = x.reshape(-1, 1600)
    assert np.sqrt((frames**2).mean(axis=1)).min() > 0.05 * np.abs(x).max()


@pytest.mark.parametrize("seed", range(4))
def test_a_church_bell_has_a_minor_tierce(seed):
    frequencies, magnitudes = spectrum(dry("church_bell", seed))
    peaks = frequencies[find_peaks(magnitudes, height=0.1 * magnitudes.max(), distance=100)[0]]
    for ratio in (2.0, 2.366):  # above the hum: prime, tierce
        assert np.abs(peaks / peaks[0] - ratio).min() < 0.03


@pytest.mark.parametrize("seed", range(4))
def test_a_cricket_is_one_narrow_band_in_pulses(seed):
    x = dry("cricket", seed)
    frequencies, magnitudes = spectrum(x)
    carrier_hz = frequencies[magnitudes.argmax()]
    near = np.abs(frequencies / carrier_hz - 1.0) < 0.08
    assert np.sum(magnitudes[near] ** 2) > 0.9 * np.sum(magnitudes**2)
    assert carrier_hz > 2000.0
    assert np.mean(smoothed_envelope(x, 50.0) < 0.1) > 0.1


@pytest.mark.parametrize("seed", range(4))
def test_a_woodpecker_drums_14_to_33_times_a_second(seed):
    envelope = smoothed_envelope(dry("woodpecker", seed))
    knocks, _ = find_peaks(envelope, height=0.15 * envelope.max(), distance=RATE_HZ // 50)
    interval_s = np.median(np.diff(knocks)) / RATE_HZ
    assert 1 / 34 < interval_s < 1 / 11


@pytest.mark.parametrize("seed", range(4))
def test_a_clock_ticks_evenly(seed):
    envelope = smoothed_envelope(dry("clock_tick", seed, 8.0))
    ticks, _ = find_peaks(envelope, height=0.25 * envelope.max(), distance=RATE_HZ // 10)
    every_other = ticks[2:] - ticks[:-2]  # tick to tick, tock to tock
    assert len(ticks) >= 6
    assert every_other / every_other.mean() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("seed", range(4))
def test_rain_never_stops_and_fire_crackles(seed):
    def frame_levels_db(name):
        return 10 * np.log10(np.mean(dry(name, seed).reshape(-1, 400) ** 2, axis=1))

    rain, fire = frame_levels_db("rain"), frame_levels_db("crackling_fire")
    assert np.median(rain) - rain.min() < 12.0
    assert np.percentile(fire, 99) - np.median(fire) > 8.0


@pytest.mark.parametrize("seed", range(4))
def test_water_drops_rise_in_pitch(seed):
    x = dry("water_drops", seed, 6.0)
    pitches = loudest_hz(x, window_s=0.016)
    envelope = smoothed_envelope(x, 100.0)
    drops, _ = find_peaks(envelope, height=0.4 * envelope.max(), distance=RATE_HZ // 8)
    frames = drops // 128
    frames = frames[frames + 8 < len(pitches)]
    assert np.median(pitches[frames + 8] - pitches[frames]) > 0


@pytest.mark.parametrize("seed", range(4))
def test_a_siren_sweeps_and_sounds_on(seed):
    x = dry("siren", seed)
    frames = x.reshape(-1, 1600)
    assert np.sqrt((frames**2).mean(axis=1)).min() > 0.1 * sources.rms(x)
    pitches = loudest_hz(x)[2:-2]
    assert pitches.max() / pitches.min() > 1.4
    assert len(np.unique(pitches)) >= 6


@pytest.mark.parametrize("seed", range(4))
def test_morse_code_is_keyed_in_units_of_one_and_three(seed):
    x = dry("morse_code", seed, 8.0)
    on = smoothed_envelope(x, 200.0) > 0.5 * np.percentile(np.abs(hilbert(x)), 90)
    edges = np.flatnonzero(np.diff(on.astype(int)))
    lengths_s = np.diff(edges)[1:-1] / RATE_HZ
    lengths_s = lengths_s[lengths_s > 0.01]
    unit_s = np.percentile(lengths_s, 20)
    assert 0.03 < unit_s < 0.11
    units = lengths_s / unit_s
    assert np.mean(np.minimum(np.abs(units - 1), np.abs(units - 3)) < 0.4) > 0.9


# The corpus is a task


def log_band_statistics(clip):
    """Mean, deviation and mean absolute change over time of 40 log bands."""
    _, _, frames = stft(clip, RATE_HZ, nperseg=1024)
    edges = np.geomspace(2, 513, 41).astype(int)
    bands = np.add.reduceat(np.abs(frames[:513]) ** 2, edges[:-1], axis=0)
    levels = 10 * np.log10(bands + 1e-12)
    change = np.abs(np.diff(levels, axis=1)).mean(axis=1)
    return np.concatenate([levels.mean(axis=1), levels.std(axis=1), change])


@pytest.mark.parametrize("names", [TRAINING_CLASSES, EVALUATION_CLASSES])
def test_classes_can_be_told_apart_but_not_trivially(names):
    """5-way 1-shot by the nearest example in simple statistics; chance is 0.2."""
    per_class = 6
    features = np.array(
        [[log_band_statistics(synthesise(n, k, 2.0)) for k in range(per_class)] for n in names]
    )
    features = (features - features.mean((0, 1))) / features.std((0, 1))
    rng = np.random.default_rng(0)
    correct = []
    for _ in range(600):
        classes = rng.choice(len(names), 5, replace=False)
        support, query = rng.permuted(np.tile(np.arange(per_class), (5, 1)), axis=1)[:, :2].T
        distances = features[classes, query][:, None] - features[classes, support][None]
        correct.append((distances**2).sum(-1).argmin(1) == np.arange(5))
    assert 0.4 < np.mean(correct) < 0.9
