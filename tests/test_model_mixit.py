"""MixIT: equal to the original's numbers, to brute force, and to its own laws."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from separation import draw, original
from slvr.model.separators.measures import si_snr, si_snr_improvement
from slvr.model.separators.mixit import mixit


def by_force(mixtures: np.ndarray, channels: np.ndarray) -> tuple[float, tuple[int, ...]]:
    """Loss and assignment of one example, in float64, each assignment's waveforms in full."""
    found = []
    for owners in itertools.product(range(len(mixtures)), repeat=len(channels)):
        losses = []
        for n, mixture in enumerate(mixtures):
            mine = sum((channels[m] for m, owner in enumerate(owners) if owner == n), 0 * mixture)
            error = ((mixture - mine) ** 2).sum() + 1e-3 * (mixture**2).sum() + 1e-8
            losses.append(10 * np.log10(error))
        found.append((float(np.mean(losses)), owners))
    return min(found, key=lambda pair: pair[0])


@pytest.mark.parametrize("name", ["M2", "M4", "M4_clean", "M2_silent_est"])
def test_loss_assignment_and_gradient_equal_the_original(name: str) -> None:
    numbers = original("mixit.npz")

    def of(part: str) -> torch.Tensor:
        return torch.from_numpy(numbers[f"mixit_{name}__{part}"])

    channels = of("estimates").requires_grad_()
    found = mixit(of("mixtures"), channels)
    assert (found.loss - of("loss")).abs().max() <= 1e-4
    found.loss.mean().backward()
    assert channels.grad is not None
    if name != "M2_silent_est":  # where the assignment is a tie
        assert torch.equal(found.assignment, of("assignment").long())
        assert (found.per_mixture - of("loss_per_mixture")).abs().max() <= 1e-4
        gradient = of("grad_of_batch_mean")
        assert (channels.grad - gradient).abs().max() <= 1e-5 * gradient.abs().max() + 1e-6


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 3), st.integers(0, 3), st.integers(1, 40), st.integers(0, 10**6), st.data())
def test_it_is_what_brute_force_finds(
    n: int, more: int, n_samples: int, seed: int, data: st.DataObject
) -> None:
    m = n + more
    rng = np.random.default_rng(seed)
    mixtures, channels = rng.normal(size=(2, n, n_samples)), rng.normal(size=(2, m, n_samples))
    for i in range(m):  # silent, quiet and equal channels: ties
        kind = data.draw(st.sampled_from(["as it is", "silent", "quiet", "as the first"]))
        scale = {"silent": 0, "quiet": 1e-4}.get(kind, 1)
        channels[:, i] = channels[:, 0] if kind == "as the first" else scale * channels[:, i]
    mixtures, channels = (x.astype(np.float32) for x in (mixtures, channels))
    found = mixit(torch.from_numpy(mixtures), torch.from_numpy(channels))
    for b in range(2):
        loss, _ = by_force(mixtures[b].astype(np.float64), channels[b].astype(np.float64))
        assert float(found.loss[b]) == pytest.approx(loss, abs=1e-4)
        owners = found.assignment[b].tolist()
        parts = [
            channels[b, [i for i in range(m) if owners[i] == k]].sum(0, dtype=np.float64)
            for k in range(n)
        ]
        said = [
            10 * np.log10(((x - p) ** 2).sum() + 1e-3 * (x.astype(np.float64) ** 2).sum() + 1e-8)
            for x, p in zip(mixtures[b], parts, strict=True)
        ]
        assert found.per_mixture[b].tolist() == pytest.approx(said, abs=1e-4)


def test_of_equal_assignments_the_first_is_taken() -> None:
    mixtures, channels = torch.ones(1, 2, 8), torch.zeros(1, 4, 8)
    assert mixit(mixtures, channels).assignment.tolist() == [[0, 0, 0, 0]]


def test_laws() -> None:
    mixtures, channels = draw((3, 2, 400), 1), draw((3, 4, 400), 2)
    loss = mixit(mixtures, channels).loss
    order = [2, 0, 3, 1]
    assert torch.allclose(mixit(mixtures, channels[:, order]).loss, loss, atol=1e-5)
    assert torch.allclose(mixit(mixtures.flip(1), channels).loss, loss, atol=1e-5)
    louder = mixit(10 * mixtures, 10 * channels).loss
    assert torch.allclose(louder, loss + 20, atol=1e-4)
    # not worse than any permutation
    two = channels[:, :2]
    aligned = mixit(mixtures, two).loss
    for chosen in ([0, 1], [1, 0]):
        error = (mixtures - two[:, chosen]).square().sum(-1) + 1e-3 * mixtures.square().sum(-1)
        assert (aligned <= (10 * torch.log10(error + 1e-8)).mean(1) + 1e-4).all()
    perfect = mixit(mixtures, mixtures).loss
    floor = 10 * torch.log10(1e-3 * mixtures.square().sum(-1) + 1e-8)
    assert torch.allclose(perfect, floor.mean(1), atol=1e-4)


def test_a_channels_gradient_comes_from_its_own_mixture_alone() -> None:
    mixtures, channels = draw((1, 2, 300), 3), draw((1, 3, 300), 4).requires_grad_()
    found = mixit(mixtures, channels)
    for n in range(2):
        (gradient,) = torch.autograd.grad(found.per_mixture[0, n], channels, retain_graph=True)
        touched = gradient[0].abs().sum(-1) > 0
        assert torch.equal(touched, found.assignment[0] == n)


@pytest.mark.parametrize(
    ("mixtures", "channels", "says"),
    [
        ((2, 3, 9), (2, 2, 9), "2 channels for 3 mixtures"),
        ((2, 2, 9), (2, 2, 8), "MixIT takes"),
        ((2, 9), (2, 2, 9), "MixIT takes"),
        ((1, 2, 9), (1, 40, 9), "2\\^40 assignments"),
    ],
)
def test_other_shapes_are_sentences(mixtures: tuple, channels: tuple, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        mixit(torch.zeros(mixtures), torch.zeros(channels))


def test_si_snr_is_what_it_says() -> None:
    sources = draw((2, 2, 1000), 5)
    mixture = sources.sum(1)
    noisy = sources + 0.1 * draw((2, 2, 1000), 6)
    clean = si_snr(noisy, sources)
    assert torch.allclose(clean, torch.full_like(clean, 20.0), atol=1.0)
    assert torch.allclose(si_snr(3 * noisy + 1, sources), clean, atol=1e-3)
    channels = torch.cat([torch.zeros(2, 1, 1000), noisy.flip(1)], 1)
    gained = si_snr_improvement(mixture, channels, sources)
    expected = clean.mean(1) - si_snr(mixture[:, None], sources).mean(1)
    assert torch.allclose(gained, expected, atol=1e-4)
    assert (
        float(si_snr_improvement(mixture, mixture[:, None].repeat(1, 2, 1), sources).abs().max())
        < 1e-4
    )
