"""Mixture invariant training: separate the sum of known mixtures without knowing their sources.

Wisdom et al., "Unsupervised sound separation using mixture invariant training", NeurIPS 2020,
arXiv 2006.12701, equations 2 to 4.
Letters: B examples, N mixtures, M channels, K = N^M assignments, T samples.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

MAX_SNR_DB = 30.0
"""The SNR from which on an estimate is good enough."""
FLOOR = 1e-8
MAX_ASSIGNMENTS = 2**20
"""Of channels to mixtures; more would be searched for minutes."""
_BLOCK_VALUES = 2**24
"""Values of a block of assignments: 64 MiB in float32."""


class Mixit(NamedTuple):
    """The best assignment of each example."""

    loss: Tensor
    """(B,) in dB: the mean over the mixtures."""
    assignment: Tensor
    """(B, M) int64: the mixture that each channel goes to."""
    per_mixture: Tensor
    """(B, N) in dB."""


def mixit(mixtures: Tensor, channels: Tensor, max_snr_db: float = MAX_SNR_DB) -> Mixit:
    """The loss of the best of all N^M assignments of channels to mixtures, example by example.

    With e_n the sum of the channels that go to mixture x_n, the loss of an assignment is

        1/N sum_n 10 log10(||x_n - e_n||^2 + 10^(-max_snr_db / 10) ||x_n||^2 + 1e-8)

    A mixture may get no channel. The search knows every error from the inner products of the N + M
    waveforms, ||x_n - A_n s||^2 = r_n - 2 A_n b_n + A_n G A_n', so that N^M waveforms are never
    made; the best alone is then subtracted, with gradients. Of equal ones that is the first, in the
    order of `itertools.product(range(N), repeat=M)`.

    Args:
        mixtures: (B, N, T).
        channels: (B, M, T), M at least N.
        max_snr_db: see `MAX_SNR_DB`.

    Raises:
        ValueError: other shapes, fewer channels than mixtures, or too many assignments.
    """
    _check(mixtures, channels)
    mixtures, channels = (
        x.to(torch.promote_types(x.dtype, torch.float32)) for x in (mixtures, channels)
    )
    n = mixtures.shape[1]
    with torch.autocast(mixtures.device.type, enabled=False):
        floors = 10 ** (-max_snr_db / 10) * mixtures.square().sum(-1) + FLOOR
        with torch.no_grad():
            best = _search(mixtures, channels, floors)
        taken = torch.nn.functional.one_hot(best, n).mT.to(channels.dtype)  # A (B, N, M)
        errors = (mixtures - taken @ channels).square().sum(-1)
        per_mixture = _decibels(errors, floors)
    return Mixit(per_mixture.mean(-1), best, per_mixture)


def _search(mixtures: Tensor, channels: Tensor, floors: Tensor) -> Tensor:
    """(B, M): the best assignment, by inner products alone.

    In float64 where the device has it: an error 30 dB down would otherwise keep three digits.
    """
    dtype = torch.float32 if mixtures.device.type == "mps" else torch.float64
    waves = torch.cat([mixtures, channels], 1).to(dtype)
    products = waves @ waves.mT  # (B, N + M, N + M)
    n = mixtures.shape[1]
    powers = products.diagonal(dim1=1, dim2=2)[:, :n]
    return _best(powers, products[:, :n, n:], products[:, n:, n:], floors.to(dtype))


def _decibels(errors: Tensor, floors: Tensor) -> Tensor:
    return 10 * torch.log10(errors.clamp(min=0) + floors)


def _best(powers: Tensor, cross: Tensor, gram: Tensor, floors: Tensor) -> Tensor:
    """(B, M): the best assignment of each example.

    What a mixture loses depends on its own set of channels alone: 2^M sets for each of N mixtures
    are one matrix product, and an assignment only looks up its N sets.
    """
    n, m = cross.shape[1:]
    sets = _sets(m).to(gram)  # (2^M, M)
    # S G S' of each set, in blocks of bounded size, then errors (B, N, 2^M) in dB
    energies = torch.cat(
        [
            ((part @ gram) * part).sum(-1)
            for part in torch.split(sets, max(1, _BLOCK_VALUES // (len(gram) * m)))
        ],
        dim=1,
    )
    products = cross @ sets.T
    decibels = _decibels(powers[..., None] - 2 * products + energies[:, None], floors[..., None])
    lowest = decibels.new_full((len(gram),), torch.inf)
    best = torch.zeros(len(gram), dtype=torch.int64, device=gram.device)
    count = n**m
    size = max(1, _BLOCK_VALUES // len(gram))
    for first in range(0, count, size):
        numbers = torch.arange(first, min(first + size, count), device=gram.device)
        owners = _owners(numbers, n, m)  # (k, M)
        loss = torch.zeros((), dtype=decibels.dtype, device=decibels.device)
        for mixture in range(n):
            bits = ((owners == mixture) << torch.arange(m, device=gram.device)).sum(-1)
            loss = loss + decibels[:, mixture, bits]
        found = loss.amin(-1, keepdim=True)
        # not argmin, which may give any of several equal ones
        number = torch.where(loss == found, numbers, count).amin(-1)
        better = found[:, 0] < lowest
        lowest = torch.where(better, found[:, 0], lowest)
        best = torch.where(better, number, best)
    return _owners(best, n, m)


@cache
def _sets(m: int) -> Tensor:
    """(2^M, M) of 0 and 1: set i holds channel c where bit c of i is 1."""
    return (torch.arange(2**m)[:, None] >> torch.arange(m)) & 1


def _owners(numbers: Tensor, n: int, m: int) -> Tensor:
    """(..., M): the mixture of each channel in the assignment of a number, the last one fastest."""
    places = n ** torch.arange(m - 1, -1, -1, device=numbers.device)
    return numbers[..., None] // places % n


def _check(mixtures: Tensor, channels: Tensor) -> None:
    shapes = f"mixtures {tuple(mixtures.shape)} and channels {tuple(channels.shape)}"
    if (
        mixtures.ndim != 3
        or channels.ndim != 3
        or mixtures.shape[0] != channels.shape[0]
        or mixtures.shape[-1] != channels.shape[-1]
    ):
        raise ValueError(f"MixIT takes (B, N, T) and (B, M, T), got {shapes}")
    n, m = mixtures.shape[1], channels.shape[1]
    if m < n:
        raise ValueError(
            f"MixIT: {m} channels for {n} mixtures, {shapes}: each mixture needs one at least; "
            "use a separator of more channels"
        )
    if n**m > MAX_ASSIGNMENTS:
        raise ValueError(
            f"MixIT: {n}^{m} assignments of channels to mixtures, at most {MAX_ASSIGNMENTS:,} are "
            "searched; use fewer channels or mixtures"
        )
