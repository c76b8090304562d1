"""Pitch shift and time stretch judged by tones, noise and clicks.

The original's vocoder uses a rectangular window, and its level falls with the ratio, so its
samples are no reference; what it is meant to do is measured here instead.
"""

from fractions import Fraction

import pytest
import torch

from slvr.pipeline import blocks
from slvr.pipeline.augmentations import PitchShift, TimeStretch, spectral, vocoder
from slvr.pipeline.augmentations.resampling import fast_fft_length, resample
from slvr.pipeline.augmentations.spectral import rows_by_ratio
from slvr.pipeline.augmentations.two_grids import HOPS
from slvr.pipeline.augmentations.vocoder import frame_count, istft, phase_vocoder, stft
from slvr.pipeline.torchaudio_import import functional as taf

RATE_HZ = 16_000
PUBLISHED = 12 * torch.log2(torch.tensor([float(ratio) for ratio in HOPS]))
SEMITONES = torch.tensor([-15, -12, -7.73, -3.86, -0.41, 0, 0.41, 4.27, 8.14, 12, 15])
SEMITONES = torch.cat((SEMITONES, PUBLISHED))  # any interval, and all that have frame grids
RATES = torch.tensor([0.5, 0.63, 0.77, 0.99, 1.0, 1.01, 1.31, 1.5])


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


def tone(frequency_hz, n_samples):
    """(n, T) sines, one for each (n,) frequency."""
    t = torch.arange(n_samples, dtype=torch.float64) / RATE_HZ
    return torch.sin(2 * torch.pi * frequency_hz.double()[:, None] * t).float()


def peak_hz(x):
    """(n,) frequencies of the highest spectral peak, by interpolation between bins."""
    spectrum = torch.fft.rfft(x.double() * torch.hann_window(x.shape[-1])).abs().log()
    top = spectrum.argmax(-1, keepdim=True)
    before, at, after = (spectrum.gather(-1, top + i) for i in (-1, 0, 1))
    offset = 0.5 * (before - after) / (before - 2 * at + after)
    return ((top + offset) * RATE_HZ / x.shape[-1])[:, 0]


def cents(frequency_hz, reference_hz):
    return 1200 * torch.log2(frequency_hz / reference_hz)


def level_db(x):
    return 10 * torch.log10(x.square().mean(-1))


def band_limited_noise(n_samples, highest_hz):
    """(n, T) rows of white noise below each (n,) frequency."""
    spectrum = torch.fft.rfft(noise(1, n_samples))
    frequency = torch.fft.rfftfreq(n_samples, 1 / RATE_HZ)
    return torch.fft.irfft(spectrum * (frequency < highest_hz[:, None]), n=n_samples)


# The vocoder


@pytest.mark.parametrize(("frame", "hop"), [(768, 256), (1536, 512), (2048, 512)])
@pytest.mark.parametrize("n_samples", [1, 1600, 16001])
def test_istft_inverts_stft(frame, hop, n_samples):
    x = noise(2, n_samples)
    spectra = stft(x, frame, hop, frame_count(n_samples, hop))
    y = istft(spectra, frame, hop)[:, frame // 2 : frame // 2 + n_samples]
    assert torch.allclose(x, y, atol=1e-6)


def test_batched_vocoder_equals_torchaudio_clip_by_clip():
    hop, n_fft, n_samples = 512, 2048, 3 * RATE_HZ
    n_frames = frame_count(n_samples, hop)
    spectra = stft(noise(len(RATES), n_samples), n_fft, hop, n_frames)
    ours = phase_vocoder(spectra, torch.arange(2 * n_frames) * RATES.double()[:, None])
    expected_advance = torch.linspace(0, torch.pi * hop, n_fft // 2 + 1, dtype=torch.float64)
    for row, rate in enumerate(RATES.tolist()):
        double = spectra[row].mT.to(torch.complex128)
        theirs = taf.phase_vocoder(double, rate, expected_advance[:, None]).mT
        n = int((n_frames - 1) / rate)  # beyond, theirs fades into silence and ours holds
        error = (ours[row, :n] - theirs[:n]).abs().max() / theirs.abs().max()
        assert error < 1e-4, (rate, error)


@pytest.mark.parametrize("n_samples", [1600, 16001])
def test_what_the_cpu_leaves_out_is_not_heard(monkeypatch, n_samples):
    """A device makes every frame and reads every row, since it does not know which are needed."""
    x = noise(len(SEMITONES), n_samples)
    calls = [
        lambda: TimeStretch().apply(x[: len(RATES)], {"rate": RATES}),
        lambda: PitchShift().apply(x, {"semitones": SEMITONES}),
    ]
    by_the_cpu = [call() for call in calls]
    monkeypatch.setattr(vocoder, "known_max", lambda x, limit: limit)
    monkeypatch.setattr(vocoder, "distinct", lambda index: (index, None))
    monkeypatch.setattr(spectral, "rows_apart", lambda mask: [slice(None)])
    monkeypatch.setattr(spectral, "maybe_any", lambda mask: True)
    monkeypatch.setattr(spectral, "block_rows", lambda x, cpu_samples: len(x))
    for ours, call in zip(by_the_cpu, calls, strict=True):
        as_on_a_device = call()
        assert (ours - as_on_a_device).norm() < 5e-3 * as_on_a_device.norm()


# Resampling


def test_resampled_tones_and_the_removal_of_aliases():
    ratio = torch.tensor([1.0, 1.003, 1.3, 2.0, 2.378], dtype=torch.float64)
    for frequency_hz in (200.0, 3300.0, 7000.0):
        x = tone(torch.full((5,), frequency_hz), RATE_HZ)
        y = resample(x, ratio)[:, 200:6000]
        kept = frequency_hz * ratio < 0.97 * RATE_HZ / 2
        removed = frequency_hz * ratio > RATE_HZ / 2
        ideal = tone((frequency_hz * ratio).float(), RATE_HZ)[:, 200:6000]
        assert (y - ideal)[kept].abs().max() < 0.03
        assert not removed.any() or y[removed].abs().max() < 0.03


def test_resampling_by_one_is_the_identity_and_the_rest_is_silence():
    x = noise(2, 5001)
    y = resample(x, torch.tensor([1.0, 2.0], dtype=torch.float64))
    assert torch.allclose(x[0], y[0], atol=1e-6)
    assert (y[1, 2501:] == 0).all() and (y[1, :2500] != 0).any()


def test_fast_fft_lengths_are_even_smooth_and_long_enough():
    for n in (1, 2, 7, 1600, 16001, 160_064):
        length = fast_fft_length(n)
        assert length >= n and length % 2 == 0
        for prime in (2, 3, 5):
            while length % prime == 0:
                length //= prime
        assert length == 1


# Pitch shift


@pytest.mark.parametrize("frequency_hz", [110.0, 440.0, 997.0, 3000.5])
def test_a_tone_lands_within_five_cents_at_its_level(frequency_hz):
    expected_hz = frequency_hz * torch.exp2(SEMITONES / 12)
    x = tone(torch.full(SEMITONES.shape, frequency_hz), 2 * RATE_HZ)
    y = PitchShift().apply(x, {"semitones": SEMITONES})
    inner = slice(2000, -2000)
    assert cents(peak_hz(y[:, inner]), expected_hz).abs().max() < 5
    assert (level_db(y[:, inner]) - level_db(x[:, inner])).abs().max() < 1


def test_noise_below_the_new_nyquist_frequency_keeps_its_level():
    highest_hz = 0.96 * RATE_HZ / 2 / torch.exp2(SEMITONES / 12).clamp(min=1)
    x = band_limited_noise(3 * RATE_HZ, highest_hz)
    y = PitchShift().apply(x, {"semitones": SEMITONES})
    assert (level_db(y) - level_db(x)).abs().max() < 1


def test_a_mixture_of_tones_keeps_its_balance():
    low, high = (tone(torch.full(SEMITONES.shape, hz), 2 * RATE_HZ) for hz in (300.0, 2000.0))
    y = PitchShift().apply(low + 0.1 * high, {"semitones": SEMITONES})[:, 2000:-2000]
    spectrum = torch.fft.rfft(y * torch.hann_window(y.shape[-1])).abs()
    frequency = torch.fft.rfftfreq(y.shape[-1], 1 / RATE_HZ)
    ratio = torch.exp2(SEMITONES / 12)[:, None]
    near_low = (frequency - 300 * ratio).abs() < 30
    near_high = (frequency - 2000 * ratio).abs() < 30
    balance = (spectrum * near_high).norm(dim=-1) / (spectrum * near_low).norm(dim=-1)
    assert (20 * balance.log10() + 20).abs().max() < 1


def test_nothing_above_the_shifted_band():
    """A shift down by an octave must leave the upper half of the band (nearly) empty."""
    y = PitchShift().apply(noise(1, 2 * RATE_HZ), {"semitones": torch.tensor([-12.0])})
    power = torch.fft.rfft(y * torch.hann_window(y.shape[-1])).abs().square()[0]
    frequency = torch.fft.rfftfreq(y.shape[-1], 1 / RATE_HZ)
    assert power[frequency > 4200].sum() < 1e-3 * power.sum()


def test_a_shift_by_nothing_returns_the_clip():
    x = noise(2, RATE_HZ)
    y = PitchShift().apply(x, {"semitones": torch.zeros(2)})
    assert (y - x).abs().max() < 1e-3 * x.abs().max()


def test_the_two_grids_of_each_published_ratio():
    assert len(HOPS) == 14
    for ratio, (analysis, synthesis) in HOPS.items():
        assert Fraction(analysis, synthesis) == ratio
        for hop in (analysis, synthesis):
            assert hop % 2 == 0 and fast_fft_length(3 * hop) == 3 * hop


def test_intervals_on_the_host_choose_the_grids_and_others_do_not():
    semitones = torch.tensor([12.0, 11.9, -12.0, 12.0, 0.0])
    found = {ratio: rows.tolist() for ratio, rows in rows_by_ratio(semitones)}
    assert found == {None: [1, 4], Fraction(2): [0, 3], Fraction(1, 2): [2]}


# Time stretch


@pytest.mark.parametrize("frequency_hz", [110.0, 997.0, 6000.0])
def test_stretching_keeps_pitch_and_level(frequency_hz):
    x = tone(torch.full(RATES.shape, frequency_hz), 3 * RATE_HZ)
    y = TimeStretch().apply(x, {"rate": RATES})[:, 4000:28000]  # faster ones end at 32,000
    assert cents(peak_hz(y), torch.tensor(frequency_hz)).abs().max() < 5
    assert (level_db(y) - level_db(x)).abs().max() < 1


def test_stretched_noise_keeps_its_level():
    x = noise(len(RATES), 4 * RATE_HZ)
    y = TimeStretch().apply(x, {"rate": RATES})
    assert (level_db(y) - level_db(x)).abs().max() < 1


@pytest.mark.parametrize("kind", ["clicks", "bursts of noise", "struck tones"])
def test_events_move_apart_by_the_rate(kind):
    """The spacing of neighbours scales within 1%; each lands within a quarter of a hop, 8 ms."""
    rates = torch.arange(0.5, 1.51, 0.1)
    onset_s = torch.arange(0.5, 6.6, 0.75)
    t = torch.arange(7 * RATE_HZ) / RATE_HZ
    after_s = t - onset_s[:, None]
    x = {
        "clicks": (after_s.abs() < 0.5 / RATE_HZ).float().sum(0),
        "bursts of noise": torch.exp(-((after_s / 0.02) ** 2)).sum(0) * noise(1, len(t))[0],
        "struck tones": ((after_s >= 0) * torch.exp(-after_s / 0.03)).nan_to_num(posinf=0).sum(0)
        * torch.sin(2 * torch.pi * 1000 * t),
    }[kind]

    def centre_s(y, near_s):
        near = ((t - near_s[:, None]).abs() < 0.2) * y.square()
        return (near * t).sum(1) / near.sum(1)

    stretched = TimeStretch().apply(x.expand(len(rates), -1), {"rate": rates})
    for y, rate in zip(stretched, rates.tolist(), strict=True):
        expected_s = centre_s(x, onset_s) / rate
        expected_s = expected_s[expected_s < min(7, 7 / rate) - 0.3]
        measured_s = centre_s(y, expected_s)
        spacing = measured_s.diff() / expected_s.diff()
        assert (spacing - 1).abs().max() < 0.01, rate
        assert (measured_s - expected_s).abs().max() < 0.008, rate


def test_a_shorter_result_is_followed_by_its_own_beginning():
    x = noise(1, RATE_HZ)
    y = TimeStretch().apply(x, {"rate": torch.tensor([1.25])})[0]
    length = round(RATE_HZ / 1.25)
    assert torch.equal(y[length:], y[: RATE_HZ - length])


def test_a_stretch_by_one_returns_the_clip():
    x = noise(2, RATE_HZ + 1)
    y = TimeStretch().apply(x, {"rate": torch.ones(2)})
    assert torch.allclose(x, y, atol=1e-5)


@pytest.mark.parametrize("n_bins", [17, 16, 9])
def test_an_inverse_transform_makes_real_what_its_library_takes_for_real(monkeypatch, n_bins):
    random = torch.Generator().manual_seed(0)
    spectra = torch.randn(3, n_bins, generator=random, dtype=torch.complex64)
    ends = torch.view_as_real(spectra.clone())
    ends[:, ::16, 1] = 0  # 0 Hz and, if it is there, half the sample rate
    expected = torch.fft.irfft(torch.view_as_complex(ends), n=32)
    assert torch.equal(blocks.irfft_(spectra.clone(), 32), expected)
    monkeypatch.setattr(blocks, "may_look", lambda device: False)  # a device's branch
    assert torch.equal(blocks.irfft_(spectra, 32), expected)
    assert torch.equal(torch.view_as_real(spectra), ends)
