"""Laws that hold for every augmentation, the simple ones to the sample, and all distributions."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from slvr.pipeline.augmentations import (
    DEFAULT,
    ColouredNoise,
    Fade,
    PitchShift,
    TimeMasking,
    TimeShift,
)
from slvr.pipeline.augmentations.noise import coloured_noise
from slvr.pipeline.augmentations.temporal import FADE_SHAPES

FIXTURES = Path(__file__).parents[2] / "shared" / "fixtures"
CPU = torch.device("cpu")
ALL = (*DEFAULT, PitchShift(grid="continuous"))
each = pytest.mark.parametrize(
    "augmentation", ALL, ids=[a.name for a in DEFAULT] + ["continuous_pitch"]
)


def draw(augmentation, n, seed=0):
    return augmentation.sample(n, torch.Generator().manual_seed(seed), CPU)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


def given(**values):
    return {name: torch.as_tensor([value]) for name, value in values.items()}


def original(*keys):
    path = FIXTURES / "augmentations.npz"
    if not path.exists():
        pytest.skip("the original's numbers (shared/fixtures/augmentations.npz) are not beside us")
    stored = np.load(path)
    return [torch.from_numpy(stored[key])[None] for key in ("waveform", *keys)]


# Laws of the contract


@each
def test_a_row_depends_on_itself_alone(augmentation):
    x, params = noise(4, 8000), draw(augmentation, 4)
    whole = augmentation.apply(x, params)
    for row in range(4):
        alone = augmentation.apply(x[[row]], {k: v[[row]] for k, v in params.items()})
        assert torch.allclose(whole[[row]], alone, atol=1e-5), row


@each
def test_same_seed_same_bits(augmentation):
    x = noise(3, 8000)
    first, second = (augmentation.apply(x, draw(augmentation, 3, seed=7)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, augmentation.apply(x, draw(augmentation, 3, seed=8)))


@each
def test_the_input_stays(augmentation):
    x = noise(2, 4000)
    params = draw(augmentation, 2)
    before = x.clone(), {k: v.clone() for k, v in params.items()}
    augmentation.apply(x, params)
    assert torch.equal(x, before[0])
    assert all(torch.equal(params[k], before[1][k]) for k in params)


@each
def test_nothing_makes_the_host_wait_for_the_device(augmentation):
    """Tensors on the meta device have no values: reading one on the host would raise."""
    params = {key: value.to("meta") for key, value in draw(augmentation, 2).items()}
    y = augmentation.apply(torch.empty(2, 8000, device="meta"), params)
    assert y.shape == (2, 8000) and y.device.type == "meta"


def difficult_clips(n_samples):
    impulse = torch.zeros(n_samples)
    impulse[n_samples // 3] = 1
    clipped = (20 * noise(n_samples)).clamp(-1, 1)
    silence, dc = torch.zeros(n_samples), torch.ones(n_samples)
    return torch.stack((silence, dc, impulse, clipped, 1e-30 * dc, noise(n_samples)))


@each
@pytest.mark.parametrize("n_samples", [1600, 16001])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_difficult_clips_stay_finite_and_keep_their_form(augmentation, n_samples, dtype):
    x = difficult_clips(n_samples).to(dtype)
    y = augmentation.apply(x, draw(augmentation, len(x)))
    assert y.shape == x.shape and y.dtype == dtype
    assert y.isfinite().all()
    assert (y[0] == 0).all(), "silence must stay silent"
    assert y.abs().max() < 10


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_minute_and_a_large_batch(augmentation, dtype):
    for x in (difficult_clips(960_000)[1:4], noise(257, 1600), noise(1, 1600)):
        y = augmentation.apply(x.to(dtype), draw(augmentation, len(x)))
        assert y.shape == x.shape and y.dtype == dtype and y.isfinite().all()


@each
def test_bfloat16_differs_by_its_rounding_only(augmentation):
    x, params = noise(4, 8000).bfloat16(), draw(augmentation, 4)
    exact = augmentation.apply(x.float(), params)
    error = (augmentation.apply(x, params).float() - exact).square().mean().sqrt()
    assert error < 0.01 * exact.square().mean().sqrt()


# Distributions, over 20,000 draws each

N_DRAWS = 20_000
UNIFORM = {
    ("fade", "fade_in"): (0, 0.5),
    ("fade", "fade_out"): (0, 0.5),
    ("white_noise", "snr_db"): (3, 30),
    ("white_noise", "f_decay"): (-1, 0),
    ("mixed_noise", "snr_db"): (3, 30),
    ("mixed_noise", "f_decay"): (-2, 2),
    ("white_noise", "noise_seed"): (0, 2**31),
    ("mixed_noise", "noise_seed"): (0, 2**31),
    ("time_masking", "length"): (0, 0.125),
    ("time_masking", "position"): (0, 1),
    ("time_shift", "shift"): (-0.5, 0.5),
}
DISCRETE = {("pitch_shift", "semitones"), ("fade", "shape"), ("time_stretch", "rate")}
PUBLISHED_SEMITONES = (0.41, 3.86, 4.27, 7.73, 8.14, 11.59, 12.00)


def test_every_parameter_has_a_stated_distribution():
    names = {(a.name, key) for a in DEFAULT for key in draw(a, 1)}
    assert names == UNIFORM.keys() | DISCRETE


@pytest.mark.parametrize(("name", "key"), UNIFORM)
def test_uniform_parameters(name, key):
    low, high = UNIFORM[name, key]
    augmentation = next(a for a in DEFAULT if a.name == name)
    values = draw(augmentation, N_DRAWS)[key].double().numpy()
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-3


def test_continuous_pitch_is_uniform():
    semitones = draw(PitchShift(grid="continuous"), N_DRAWS)["semitones"].numpy()
    assert stats.kstest(semitones, stats.uniform(-15, 30).cdf).pvalue > 1e-3


def test_published_pitch_takes_the_fourteen_values_equally_often():
    values, counts = draw(DEFAULT[0], N_DRAWS)["semitones"].unique(return_counts=True)
    expected = sorted([*PUBLISHED_SEMITONES, *(-s for s in PUBLISHED_SEMITONES)])
    assert np.allclose(values.numpy(), expected, atol=0.006)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_fade_shapes_are_equally_often():
    counts = draw(Fade(), N_DRAWS)["shape"].bincount(minlength=len(FADE_SHAPES))
    assert len(counts) == 3 and stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_stretch_rates_are_hundredths_with_half_weight_at_both_ends():
    rate = draw(DEFAULT[4], N_DRAWS)["rate"].double() * 100
    assert torch.allclose(rate, rate.round(), atol=1e-4)
    counts = (rate.round().long() - 50).bincount(minlength=101)
    weights = np.array([0.5, *[1.0] * 99, 0.5])
    assert stats.chisquare(counts.numpy(), weights / weights.sum() * N_DRAWS).pvalue > 1e-3


def test_an_unknown_pitch_grid_is_refused():
    with pytest.raises(ValueError, match="got 'chromatic'"):
        PitchShift(grid="chromatic")


# Fade, masking and shift, to the sample


def test_fade_equals_the_original():
    keys = [f"fade_{shape}_in5000_out9000" for shape in FADE_SHAPES]
    x, *faded = original(*keys)
    for index, expected in enumerate(faded):
        params = given(fade_in=5000 / 32000, fade_out=9000 / 32000, shape=index)
        assert torch.allclose(Fade().apply(x, params), expected, atol=1e-6)


@pytest.mark.parametrize("shape", range(3))
def test_fade_reaches_silence_and_full_level_where_it_says(shape):
    x = torch.ones(1, 1000)
    y = Fade().apply(x, given(fade_in=0.1, fade_out=0.3, shape=shape))[0]
    assert y[0] == 0 and y[-1] == 0
    assert (y[99:701] == 1).all()
    assert (y[:89] < 1).all() and (y[731:] < 1).all()  # logarithmic is at 1 after nine tenths
    assert (y[:100].diff() >= 0).all() and (y[700:].diff() <= 0).all()
    assert torch.equal(Fade().apply(x, given(fade_in=0.0, fade_out=0.0, shape=shape)), x)


@pytest.mark.parametrize(("length", "position"), [(0.1, 0.0), (0.1, 0.5), (0.1049, 1.0), (0, 0.3)])
def test_masking_zeroes_one_stretch_and_nothing_else(length, position):
    x = torch.rand(1, 1000) + 1
    y = TimeMasking().apply(x, given(length=length, position=position))
    n = int(length * 1000)
    start = min(int(position * (1000 - n + 1)), 1000 - n)
    expected = x.clone()
    expected[:, start : start + n] = 0
    assert torch.equal(y, expected)


def test_shift_equals_the_original():
    x, shifted = original("shift_+12345")
    assert torch.equal(TimeShift().apply(x, given(shift=12345 / 32000)), shifted)


@pytest.mark.parametrize("shift", [-500, -123, 0, 7, 500])
def test_shift_rolls(shift):
    x = noise(1, 1000)
    assert torch.equal(TimeShift().apply(x, given(shift=shift / 1000)), x.roll(shift, -1))


# Noise


@pytest.mark.parametrize("f_decay", [-2.0, -0.5, 0.0, 2.0])
@pytest.mark.parametrize("snr_db", [3.0, 30.0])
def test_measured_signal_to_noise_ratio(f_decay, snr_db):
    x = noise(2, 32000) * torch.tensor([[1.0], [0.01]])
    params = {"snr_db": [snr_db] * 2, "f_decay": [f_decay] * 2, "noise_seed": [5, 6]}
    y = ColouredNoise("noise", (-2, 2)).apply(x, {k: torch.tensor(v) for k, v in params.items()})
    measured = 10 * torch.log10(x.square().mean(-1) / (y - x).square().mean(-1))
    assert torch.allclose(measured, torch.tensor(snr_db), atol=0.3)


def measured_decay(wave):
    """The exponent of 1 / m^f_decay that fits a (T,) noise, m = 1 .. sqrt(8000) over the band."""
    power = torch.fft.rfft(wave.double()).abs().square()
    m = torch.linspace(1, 8000**0.5, len(power), dtype=torch.float64)
    edges = torch.linspace(0, len(power), 81).long()
    bands = list(pairwise(edges))
    log_power = [power[a:b].mean().log().item() for a, b in bands]
    log_m = [m[a:b].mean().log().item() for a, b in bands]
    return -np.polyfit(log_m, log_power, 1)[0] / 2


@pytest.mark.parametrize("f_decay", [-2.0, -1.0, -0.5, 0.0, 1.0, 2.0])
def test_spectral_slope(f_decay):
    seeds, decays = torch.arange(4), torch.full((4,), f_decay)
    for wave in coloured_noise(seeds, decays, 160_000):
        assert abs(measured_decay(wave) - f_decay) < 0.1


@pytest.mark.parametrize("f_decay", [-2.0, -1.0, -0.5, 0.0, 1.0, 2.0])
def test_the_slope_of_the_original_is_measured_alike(f_decay):
    x, noisy = original(f"noise_fdecay{f_decay}_snr10")
    assert abs(measured_decay((noisy - x)[0]) - f_decay) < 0.1


def test_noise_is_gaussian_and_rows_are_independent():
    waves = coloured_noise(torch.arange(64), torch.zeros(64), 16_000)
    waves = waves / waves.std(-1, keepdim=True)
    assert stats.kstest(waves[0].numpy(), "norm").pvalue > 1e-3
    correlation = waves @ waves.T / 16_000
    assert (correlation - torch.eye(64)).abs().max() < 5 / 16_000**0.5
    autocorrelation = torch.fft.irfft(torch.fft.rfft(waves).abs().square())[:, 1:8000] / 16_000
    assert autocorrelation.abs().max() < 6 / 16_000**0.5
