"""The front end against the original's numbers and against a slow float64 computation."""

from pathlib import Path

import numpy as np
import pytest
import torch

from slvr.pipeline.frontends.logmel import LogMel
from slvr.pipeline.frontends.mtslvr import MTSLVR

FIXTURES = Path(__file__).parents[2] / "shared" / "fixtures"
SILENCE_DB = -156.5356


@pytest.fixture(scope="module")
def front_end():
    return MTSLVR()


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


def htk_triangles(n_bins, n_mels, nyquist_hz):
    """The mel bank from its definition: triangles between equally spaced mels."""
    mel = np.linspace(0, 2595 * np.log10(1 + nyquist_hz / 700), n_mels + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    bins = np.linspace(0, nyquist_hz, n_bins)[:, None]
    low, mid, high = edges[:-2], edges[1:-1], edges[2:]
    return np.maximum(0, np.minimum((bins - low) / (mid - low), (high - bins) / (high - mid)))


def slow_reference(wave):
    """(T,) float64 -> (3, 128, L), frame by frame."""
    padded = np.pad(wave, 512, mode="reflect")
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    bank = htk_triangles(513, 128, 8000)
    columns = []
    for start in range(0, len(wave) + 1, 512):
        frame = padded[start : start + 1024]
        power = np.abs(np.fft.rfft(frame * hann)) ** 2 @ bank
        z = np.fft.rfft(frame) @ bank
        eps = np.finfo(np.float64).eps
        columns.append((10 * np.log10(power + eps), 10 * np.log10(abs(z) + eps), np.angle(z)))
    return np.moveaxis(np.array(columns), 0, -1)


def wrapped(radians):
    return (radians + torch.pi).remainder(2 * torch.pi) - torch.pi


def assert_same_image(ours, reference):
    """Equal within 2e-5 of each channel's standard deviation wherever rounding lets them be.

    Where spectra cancel, log magnitude and phase have no accurate digits left in any float32
    computation, so they are compared as the complex number that they stand for. Mel power 70 dB
    and more below the loudest band of its frame is the FFT's own noise: there both must be that
    low. Returns the share of each channel's values that are near without these allowances.
    """
    error = (ours - reference).abs()
    error[:, 2] = wrapped(ours[:, 2] - reference[:, 2]).abs()
    std = reference.std((0, 2, 3))

    floor = reference[:, 0].amax(1, keepdim=True) - 70
    clear = reference[:, 0] > floor
    assert clear.float().mean() > 0.7
    assert error[:, 0][clear].max() < 2e-5 * std[0]
    assert (ours[:, 0] < floor + 0.1)[~clear].all()

    z_ours, z_reference = (
        torch.polar(10 ** (image[:, 1].double() / 10), image[:, 2].double())
        for image in (ours, reference)
    )
    assert (z_ours - z_reference).abs().max() < 5e-6 * z_reference.abs().max()
    return (error < 2e-5 * std[:, None, None]).float().mean((0, 2, 3))


def test_equals_the_original(front_end):
    path = FIXTURES / "frontend.npz"
    if not path.exists():
        pytest.skip("the original's numbers (shared/fixtures/frontend.npz) are not beside us")
    stored = np.load(path)
    image = front_end(torch.from_numpy(stored["waveform"][:, 0]))
    near = assert_same_image(image, torch.from_numpy(stored["log_mel_plus_stft"]))
    assert near[0] > 0.75 and (near[1:] > 0.99).all()
    assert torch.allclose(front_end.mel_bank, torch.from_numpy(stored["mel_fb"]), atol=1e-6)


def test_equals_the_definition_in_float64(front_end):
    t = np.arange(8000) / 16000
    wave = 0.3 * np.sin(2 * np.pi * 440 * t) + noise(8000).double().numpy()
    reference = torch.from_numpy(slow_reference(wave))[None].float()
    assert_same_image(front_end(torch.from_numpy(wave).float()[None]), reference)


@pytest.mark.parametrize("n_mels", [5, 40, 64])
def test_other_numbers_of_bands(n_mels):
    wave = noise(8000)
    image = MTSLVR(n_mels=n_mels)(wave[None])[0, 0]
    spectra = torch.stft(wave, 1024, 512, window=torch.hann_window(1024), return_complex=True)
    power = spectra.abs().square().mT.numpy() @ htk_triangles(513, n_mels, 8000)
    assert np.allclose(image.mT, 10 * np.log10(power + np.finfo(np.float64).eps), atol=1e-3)


@pytest.mark.parametrize("lengths", [{}, {"n_mels": 40, "frame_samples": 512, "hop_samples": 160}])
def test_logmel_is_the_first_channel(lengths):
    waves = noise(2, 8000)
    one = LogMel(**lengths)
    images = one(waves)
    settings = LogMel.Config(**lengths)
    assert images.shape == (2, 1, settings.n_mels, 8000 // settings.hop_samples + 1)
    sizes = ("n_mels", "frame_samples", "hop_samples")
    three = MTSLVR(**{name: getattr(settings, name) for name in sizes})(waves)
    assert torch.allclose(images, three[:, :1], atol=1e-3)


@pytest.mark.parametrize(
    ("lengths", "why"),
    [
        ({"frame_samples": 256}, "n_mels 128 are too many for frames of 256 samples"),
        ({"n_mels": 0}, "got 0, 512 and 1024"),
        ({"hop_samples": 0}, "got 128, 0 and 1024"),
        ({"frame_samples": 401}, "got 128, 512 and 401"),
    ],
)
@pytest.mark.filterwarnings("ignore:At least one mel filterbank:UserWarning")
def test_lengths_that_cannot_be_are_refused(lengths, why):
    with pytest.raises(ValueError, match=why):
        MTSLVR(**lengths)


def test_a_quiet_band_beside_a_loud_tone_keeps_its_level(front_end):
    """Hann's spectrum is taken from the rectangular window's, where the tone leaks everywhere."""
    t = np.arange(16_000) / 16_000
    wave = 0.9 * np.sin(2 * np.pi * 100.3 * t) + 1e-4 * noise(16_000).double().numpy()
    error = front_end(torch.from_numpy(wave).float()[None])[0, 0] - slow_reference(wave)[0]
    assert error.abs().max() < 0.3 and error.abs().mean() < 0.02


@pytest.mark.parametrize(("seconds", "n_frames"), [(5, 157), (10, 313)])
def test_frame_counts(front_end, seconds, n_frames):
    image = front_end(torch.zeros(1, seconds * 16000))
    assert image.shape == (1, 3, 128, n_frames)


def test_silence(front_end):
    image = front_end(torch.zeros(2, 16000))
    assert torch.allclose(image[:, :2], torch.tensor(SILENCE_DB))
    assert (image[:, 2] == 0).all()


def test_a_row_is_a_batch_of_one(front_end):
    waves = noise(3, 16000)
    assert torch.allclose(front_end(waves)[1:2, :2], front_end(waves[1:2])[:, :2], atol=1e-3)


def test_stays_float32_under_autocast(front_end):
    waves = noise(2, 16000)
    with torch.autocast("cpu", torch.bfloat16):
        image = front_end(waves)
    assert image.dtype == torch.float32
    assert torch.equal(image, front_end(waves))
    assert front_end(waves.bfloat16()).dtype == torch.float32


def test_adds_nothing_to_a_checkpoint(front_end):
    assert not front_end.state_dict()


def test_a_clip_too_short_to_reflect_is_refused(front_end):
    assert front_end(noise(1, 513)).shape[-1] == 2
    with pytest.raises(ValueError, match="512 samples; expected more than 512"):
        front_end(noise(1, 512))


@pytest.mark.slow
def test_compiles(front_end):
    waves = noise(2, 16000)
    compiled = torch.compile(front_end, fullgraph=True)(waves)
    assert torch.allclose(compiled[:, :2], front_end(waves)[:, :2], atol=1e-3)
