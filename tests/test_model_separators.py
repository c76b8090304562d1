"""Separators: equal to the original's numbers, to a slow network, and to laws of their own."""

import json

import numpy as np
import pytest
import torch

from separation import FIXTURES, draw, filled, original, slow_block, slow_separator
from slvr.model.separators.bases import hann_window
from slvr.model.separators.consistency import energy_weights, predicted_weights, project
from slvr.model.separators.load import SIZES, untrained
from slvr.model.separators.tdcn import TDCN, Block

SMALL = {"bottleneck": 6, "hidden": 10, "dilations": 3, "repeats": 2}
STFT = {"window_samples": 16, "hop_samples": 4}
LEARNED = {"basis": "learned", "window_samples": 40, "hop_samples": 20, "n_coefficients": 12}


def fixture_separator(name: str) -> tuple[TDCN, torch.Tensor]:
    """A separator of the original's numbers, and its input."""
    about = json.loads((FIXTURES / "separator_keys.json").read_text())[name]
    separator = TDCN(
        n_channels=about["M"],
        basis=about["basis"],
        window_samples=about["win"],
        hop_samples=about["hop"],
        n_coefficients=about.get("coeffs", 256),
        bottleneck=about["B"],
        hidden=about["H"],
        dilations=about["X"],
        repeats=about["R"],
    )
    assert sum(p.numel() for p in separator.parameters()) == about["n_parameters"]
    shape, seed = about["input"].removeprefix("0.1 * randn(").split(") seed ")
    return filled(separator), 0.1 * draw(tuple(map(int, shape.split(","))), int(seed))


@pytest.mark.parametrize("name", ["learned_small", "stft_small", "learned_full", "stft_full"])
def test_channels_and_core_equal_the_original(name: str) -> None:
    numbers = original("separator.npz")
    separator, waves = fixture_separator(name)
    with torch.no_grad():
        coefficients = separator.basis.analyse(waves)
        core = separator.core(separator.basis.seen(coefficients))
        found = {"out": separator(waves), "core": core.mT, "masks": separator.masks_of(core).mT}
        found["weights"] = separator.weights_of(core, found["out"])
    for part, values in found.items():
        expected = torch.from_numpy(numbers[f"{name}__{part}"])
        n_frames = expected.shape[-2] if part in ("core", "masks") else values.shape[-2]
        assert (values[..., :n_frames, :] - expected).abs().max() <= 1e-4 * expected.std() + 1e-6, (
            part
        )


@pytest.mark.parametrize("name", ["block_d1", "block_d8"])
def test_a_block_and_its_gradients_equal_the_original(name: str) -> None:
    numbers = original("tdcn_block.npz")
    about = json.loads((FIXTURES / "separator_keys.json").read_text())[name]
    block = filled(Block(about["bottleneck"], about["hidden"], about["dilation"]))
    x = torch.from_numpy(numbers[f"{name}__x"]).requires_grad_()
    y, expected = block(x.mT).mT, torch.from_numpy(numbers[f"{name}__y"])
    assert (y - expected).abs().max() <= 1e-5 * expected.std()
    y.square().mean().backward()
    for key, tensor in {"x": x, **dict(block.named_parameters())}.items():
        norm = float(numbers[f"{name}__gradnorm_{key}"])
        assert tensor.grad is not None
        assert float(tensor.grad.norm()) == pytest.approx(norm, rel=1e-3, abs=1e-7), key


@pytest.mark.parametrize("consistency", ["uniform", "magsq", "weights"])
def test_consistency_equals_the_original(consistency: str) -> None:
    numbers = original("mixit.npz")
    mixture, channels, expected = (
        torch.from_numpy(numbers[f"cons_{consistency}__{part}"]) for part in ("mix", "est", "out")
    )
    shares = torch.full(channels.shape[:2], 1 / channels.shape[1])
    if consistency == "magsq":
        shares = energy_weights(channels)
    elif consistency == "weights":
        shares = predicted_weights(torch.from_numpy(numbers["cons_weights__logits"]))
    assert (project(mixture, channels, shares) - expected).abs().max() <= 1e-6


@pytest.mark.parametrize(
    ("options", "n_samples", "level"),
    [
        ({"n_channels": 3, "window_samples": 16, "hop_samples": 4}, 101, 0.1),
        ({"n_channels": 4, "window_samples": 20, "hop_samples": 7}, 90, 0.1),  # does not divide
        ({"n_channels": 8, "window_samples": 24, "hop_samples": 24}, 75, 0.1),  # no overlap
        ({"n_channels": 2, "window_samples": 64, "hop_samples": 16}, 30, 0.1),  # under a window
        ({"n_channels": 2, "window_samples": 64, "hop_samples": 16}, 1, 0.1),
        ({"n_channels": 2, "window_samples": 32, "hop_samples": 8}, 200, 1e-5),  # quiet
        ({"n_channels": 2, "window_samples": 32, "hop_samples": 8}, 96, 0.0),
        ({"n_channels": 3, "window_samples": 16, "hop_samples": 4, "long_skips": True}, 80, 1.0),
        ({"n_channels": 3, "window_samples": 16, "hop_samples": 4, "consistency": "energy"}, 80, 1),
        (
            {"n_channels": 3, "window_samples": 16, "hop_samples": 4, "consistency": "uniform"},
            80,
            1,
        ),
        ({**LEARNED, "n_channels": 3}, 333, 0.1),
        ({**LEARNED, "n_channels": 8, "hop_samples": 13}, 200, 0.1),
        ({**LEARNED, "n_channels": 4, "hop_samples": 40}, 400, 1e-3),
        ({**LEARNED, "n_channels": 2}, 7, 0.1),
    ],
)
def test_it_is_the_network_that_a_loop_over_frames_makes(
    options: dict, n_samples: int, level: float
) -> None:
    separator = filled(TDCN(**SMALL | options))
    waves = level * draw((2, n_samples), 7)
    with torch.no_grad():
        found = separator(waves)
    assert found.shape == (2, options["n_channels"], n_samples)
    for wave, channels in zip(waves, found, strict=True):
        expected = slow_separator(separator, wave.double().numpy())
        # what is quiet is a small part of values that float32 rounds
        limit = (1e-4 if level > 1e-2 else 1e-3) * max(expected.std(), level / 10)
        assert np.abs(channels.numpy() - expected).max() <= limit


@pytest.mark.parametrize("dilation", [1, 4, 64])
def test_a_block_is_what_a_loop_over_taps_makes(dilation: int) -> None:
    block = filled(Block(5, 9, dilation))
    y = draw((1, 5, 40), 3)
    with torch.no_grad():
        added = (block(y) - y)[0].T.numpy()
    weights = {k: v.double().numpy() for k, v in block.state_dict().items()}
    expected = slow_block(weights, y[0].T.double().numpy(), dilation)
    assert np.abs(added - expected).max() <= 1e-5 * expected.std()


@pytest.mark.parametrize(
    ("size", "n_channels", "n_parameters"),
    [
        ("learned", 2, 8_672_257),
        ("learned", 4, 8_803_841),
        ("full", 2, 8_652_547),
        ("full", 4, 8_784_643),
        ("demo", 2, 46_571),
    ],
)
def test_the_published_sizes(size: str, n_channels: int, n_parameters: int) -> None:
    with torch.device("meta"):
        separator = TDCN(**{**SIZES[size], "n_channels": n_channels})
    assert sum(p.numel() for p in separator.parameters()) == n_parameters


def test_it_begins_as_the_original_does() -> None:
    separator = untrained(0, hidden=512, bottleneck=64, dilations=3, repeats=2)
    for i, block in enumerate(separator.blocks):
        assert block.scale2.weight.item() == pytest.approx(0.9**i)
        assert block.prelu1.weight.item() == pytest.approx(0.1) and not block.conv.bias.any()
        assert 0.06 < float(block.conv.weight.detach().abs().max()) <= (6 / 1539) ** 0.5 + 1e-7
    bound = (6 / (257 + 64)) ** 0.5
    assert 0.98 * bound < float(separator.bottleneck.weight.abs().max()) <= bound
    assert not separator.bottleneck.bias.any()


@pytest.mark.parametrize("options", [{}, LEARNED, {"consistency": "energy"}])
def test_channels_sum_to_the_waves_and_rows_stand_alone(options: dict) -> None:
    separator = untrained(1, **SMALL | options, n_channels=3)
    waves = draw((3, 4000), 5)
    with torch.no_grad():
        channels = separator(waves)
        assert (channels.sum(1) - waves).abs().max() <= 1e-6 * waves.abs().max()
        again = project(waves, channels, energy_weights(channels))
        assert (again - channels).abs().max() <= 1e-6 * waves.abs().max()
        for i in range(3):
            alone = separator(waves[i : i + 1])[0]
            assert (alone - channels[i]).abs().max() <= 1e-5 * waves.abs().max()


def test_seeds_and_fingerprints() -> None:
    first, same, other = (untrained(seed, **SMALL) for seed in (0, 0, 1))
    assert first.fingerprint() == same.fingerprint() != other.fingerprint()
    assert TDCN(**first.shape()).shape() == first.shape()
    uniform = untrained(0, **SMALL, consistency="uniform")
    assert uniform.fingerprint() != first.fingerprint()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"n_channels": 1}, "separator.n_channels 1: out of range"),
        ({"window_samples": 16, "hop_samples": 17}, "separator.hop_samples 17: out of range"),
        ({"consistency": "none"}, "separator.consistency 'none': out of range"),
        ({"width": 3}, "a separator has no width"),
    ],
)
def test_sizes_out_of_range_are_sentences(options: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TDCN(**options)


def test_other_shapes_than_waves_are_refused() -> None:
    separator = untrained(0, **SMALL)
    for shape in ((2, 1, 100), (100,), (2, 0)):
        with pytest.raises(ValueError, match="takes waveforms"):
            separator(torch.zeros(shape))


def test_bf16_keeps_the_sum() -> None:
    separator = untrained(0, **SMALL)
    waves = draw((1, 2000), 2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        channels = separator(waves)
    assert channels.dtype == torch.float32
    assert (channels.sum(1) - waves).abs().max() <= 1e-6 * waves.abs().max()


def test_an_odd_window_is_tensorflows() -> None:
    assert np.allclose(hann_window(4).numpy(), np.hanning(5)[:4])
    assert np.allclose(hann_window(5).numpy(), np.hanning(5))
