"""The log-mel front end against published numbers and against its definition, frame by frame."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from slvr.model.panns import FRONT_END as PANNS
from slvr.pipeline.frontends.logmel import LogMel
from slvr.pipeline.frontends.published import K22, YAMNET

FIXTURES = Path(__file__).parents[2] / "shared" / "fixtures"


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


def stored(name):
    path = FIXTURES / name
    if not path.exists():
        pytest.skip(f"the originals' numbers (shared/fixtures/{name}) are not beside us")
    return np.load(path)


def to_mel(hz, scale):
    if scale == "htk":
        return 1127 * np.log(1 + hz / 700)
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)


def to_hz(mel, scale):
    if scale == "htk":
        return 700 * (np.exp(mel / 1127) - 1)
    return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


def slow_bank(config, n_fft):
    """Triangle after triangle, bin after bin."""
    scale = config.scale
    mels = np.linspace(
        *(to_mel(f, scale) for f in (config.low_hz, config.high_hz)), config.n_mels + 2
    )
    hertz = [to_hz(m, scale) for m in mels]
    bank = np.zeros((n_fft // 2 + 1, config.n_mels))
    for k in range(len(bank)):
        f = k * 16000 / n_fft
        for m in range(config.n_mels):
            at, (a, b, c) = f, hertz[m : m + 3]
            if config.triangles == "mel":
                at, (a, b, c) = to_mel(f, scale), mels[m : m + 3]
            height = 2 / (hertz[m + 2] - hertz[m]) if config.area else 1
            if a < at <= b:
                bank[k, m] = height * (at - a) / (b - a)
            elif b < at < c:
                bank[k, m] = height * (c - at) / (c - b)
    return bank


def slow_reference(wave, config):
    """(T,) float64 -> (M, L) before statistics."""
    frame, hop = config.frame_samples, config.hop_samples
    n_fft = config.fft_samples or frame
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frame) / frame)
    if config.centred:
        wave = np.pad(wave, frame // 2, mode="reflect")
    bank, columns = slow_bank(config, n_fft), []
    for start in range(0, len(wave) - frame + 1, hop):
        spectrum = np.abs(np.fft.rfft(wave[start : start + frame] * window, n_fft))
        if config.window_norm == "energy":
            spectrum = spectrum / np.sqrt((window**2).sum())
        bands = (spectrum**2 if config.spectrum == "power" else spectrum) @ bank
        bands = (
            bands + config.floor if config.floor_is == "added" else np.maximum(bands, config.floor)
        )
        decade = 10 if config.spectrum == "power" else 20
        columns.append(
            {"none": lambda x: x - config.floor, "natural": np.log}.get(
                config.log, lambda x, decade=decade: decade * np.log10(x)
            )(bands)
        )
    return np.array(columns).T


SHAPES = [
    {},
    YAMNET,
    PANNS,
    K22,
    {**YAMNET, "n_mels": 40, "frame_samples": 320, "hop_samples": 100, "high_hz": 8000.0},
    {**YAMNET, "centred": True, "window_norm": "energy", "log": "decibel", "floor": 1e-5},
    {**PANNS, "n_mels": 24, "frame_samples": 400, "fft_samples": 1024, "floor": 1e-4},
    {**PANNS, "triangles": "mel", "area": False, "spectrum": "magnitude", "log": "natural"},
    {**K22, "spectrum": "magnitude", "hop_samples": 133, "n_mels": 32, "fft_samples": 600},
]


@pytest.mark.parametrize("settings", SHAPES, ids=range(len(SHAPES)))
@pytest.mark.parametrize("n_samples", [5000, 6111])
def test_equals_the_definition_frame_by_frame(settings, n_samples):
    front_end, waves = LogMel(**settings), noise(2, n_samples, seed=n_samples)
    images = front_end(waves)
    expected = np.stack([slow_reference(w, front_end.config) for w in waves.double().numpy()])
    assert images.shape == (2, 1, *expected.shape[1:])
    scale = expected.std() if front_end.config.log == "none" else 1
    assert np.abs(images[:, 0].numpy() - expected).max() < 2e-3 * scale


def test_equals_yamnet_s_numbers():
    found, front_end = stored("separation/frontend_64mel.npz"), LogMel(**YAMNET)
    assert np.abs(front_end.bank.numpy() - found["mel_fb"]).max() < 2e-5
    for name, waves, near in (
        ("noise", noise(2, 16000, seed=501), 2e-4),
        ("tone_silence", torch.from_numpy(found["tone_silence_waveform"]), 6e-3),
    ):
        assert np.abs(front_end(waves)[:, 0].mT.numpy() - found[name]).max() < near


def test_equals_the_mel_power_of_multiple_sampling_strategies():
    found, front_end = stored("k22/k22_frontend.npz"), LogMel(**K22)
    assert np.abs(front_end.bank.numpy() - found["mel_fb"]).max() < 2e-5
    for name, waves in (("crop", noise(2, 15200, seed=360)), ("1s", noise(1, 16000, seed=361))):
        expected = found[f"{name}_mel_power"]
        assert np.abs(front_end(waves)[:, 0].numpy() - expected).max() < 1e-4 * expected.std()


def test_frames_silence_and_the_shortest_clip():
    whole, centred = LogMel(**YAMNET), LogMel(**PANNS)
    assert [whole(torch.zeros(1, n)).shape[-1] for n in (15_600, 160_000)] == [96, 998]
    assert torch.allclose(whole(torch.zeros(1, 16_000)), torch.tensor(1e-3).log())
    assert torch.allclose(centred(torch.zeros(1, 16_000)), torch.tensor(-100.0))
    assert whole(noise(1, 400)).shape[-1] == 1
    with pytest.raises(ValueError, match="399 samples; expected more than 399, a frame"):
        whole(noise(1, 399))
    with pytest.raises(ValueError, match="256 samples; expected more than 256, half a frame"):
        centred(noise(1, 256))


@pytest.mark.parametrize("statistics", ["all", "bands"])
def test_statistics_of_clips_are_taken_once_and_kept(statistics):
    front_end = LogMel(**YAMNET, statistics=statistics)
    raw, waves = LogMel(**YAMNET), 0.3 + noise(7, 8000)
    with pytest.raises(ValueError, match=rf"statistics of {statistics} are not there"):
        front_end(waves)
    assert front_end.fit_clips == 1000 and raw.fit_clips == 0
    front_end.fit(iter(waves.split([3, 1, 3])))
    axes = (0, 1, 3) if statistics == "bands" else (0, 1, 2, 3)
    expected = raw(waves).double()
    std, mean = torch.std_mean(expected, axes, correction=0, keepdim=True)
    assert torch.allclose(front_end(waves), ((expected - mean) / std).float(), atol=1e-4)
    assert f"mean {float(mean.min()):.3f}" in front_end.found
    shape = json.loads(json.dumps(front_end.shape()))
    assert torch.equal(LogMel(**shape)(waves), front_end(waves))
    assert LogMel(**shape).found == front_end.found
    assert torch.equal(front_end.heard(waves), raw.heard(waves))


def test_a_band_that_hardly_moves_is_not_magnified():
    front_end = LogMel(**YAMNET, statistics="bands")
    t = torch.arange(16_000) / 16_000
    low = 0.1 * torch.sin(2 * torch.pi * 300 * t) * torch.linspace(0, 1, 16_000)
    front_end.fit([torch.stack([low, low / 2])])
    assert front_end.deviation is not None
    assert front_end.deviation.min() > 0.005 * front_end.deviation.max() > 0
    assert front_end(noise(1, 16_000)).abs().max() < 1000


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"n_mels": 0}, "n-mels 0"),
        ({"frame_samples": 401}, "frame-samples 401"),
        ({"hop_samples": 0}, "hop-samples 0"),
        ({"fft_samples": 256}, "fft-samples 256"),
        ({"low_hz": 9000.0}, "low-hz 9000"),
        ({"high_hz": 9000.0}, "high-hz 9000"),
        ({"floor": 0.0}, "floor 0.0"),
        ({"scale": "bark"}, "scale bark: out of range; expected htk or slaney"),
        ({"statistics_clips": 0}, "statistics-clips 0"),
        ({"n_mels": 128}, "n_mels 128 are too many for an FFT of 400 samples"),
        ({"mean": [1.0]}, "mean of 1 values, expected 0"),
    ],
)
def test_what_cannot_be_is_refused(settings, why):
    with pytest.raises(ValueError, match=why):
        LogMel(**settings)


def test_a_checkpoint_written_before_there_were_choices_means_what_it_meant():
    old = {"n_mels": 40, "frame_samples": 512, "hop_samples": 160}
    waves = noise(2, 8000)
    power = torch.stft(
        waves, 512, 160, window=torch.hann_window(512), center=True, return_complex=True
    )
    bank = torch.from_numpy(slow_bank(LogMel.Config(**old), 512)).float()
    expected = 10 * ((power.abs().square().mT @ bank).mT + 2.2e-16).log10()
    assert torch.allclose(LogMel(**old)(waves)[:, 0], expected, atol=1e-3)


def test_stays_float32_under_autocast_and_adds_nothing_to_a_checkpoint():
    front_end, waves = LogMel(**YAMNET), noise(2, 16_000)
    with torch.autocast("cpu", torch.bfloat16):
        image = front_end(waves)
    assert image.dtype == torch.float32 and torch.equal(image, front_end(waves))
    assert not front_end.state_dict()


@pytest.mark.slow
def test_compiles():
    front_end, waves = LogMel(**YAMNET), noise(2, 16_000)
    compiled = torch.compile(front_end, fullgraph=True)(waves)
    assert torch.allclose(compiled, front_end(waves), atol=1e-4)
