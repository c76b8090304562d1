"""A bank of mel bands as what is multiplied by, and the floor of every logarithm.

Letters: F bins, M mel bands.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

# Added before every logarithm: float64's epsilon, so that silence is -156.5356 dB.
LOG_FLOOR = 2.220446049250313e-16
# A triangle covers a few bins: multiplied by slices, five sixths of the bank's zeros are left out.
N_SLICES = 8
BAND_BLOCK = 32  # bands of one program of `slvr.pipeline.fused.front_end`


class Bands(NamedTuple):
    """The bank band by band: its first bin and the weights from there on."""

    first: Tensor
    """(M,) int32."""
    widest: Tensor
    """(blocks,) int32: bins of the widest band of each `BAND_BLOCK`."""
    weights: Tensor
    """(W, M), 0 beyond a band's last bin."""


def sparse(bank: Tensor) -> Bands:
    """A bank (F, M) band by band."""
    used = bank > 0
    first = used.int().argmax(0)
    width = used.sum(0)
    bins = first + torch.arange(int(width.max()))[:, None]
    within = bins < first + width
    weights = torch.where(within, bank.gather(0, bins.clamp(max=len(bank) - 1)), 0)
    widest = torch.stack([block.max() for block in torch.split(width, BAND_BLOCK)])
    return Bands(first.int(), widest.int(), weights.contiguous())


def slices_of(bank: Tensor, n: int) -> list[tuple[slice, slice]]:
    """Slices of bands, and for each the bins outside of which their weights are all 0."""
    edges = torch.linspace(0, bank.shape[1], min(n, bank.shape[1]) + 1).long().tolist()
    slices = []
    for low, high in pairwise(edges):
        used = bank[:, low:high].any(1).nonzero()[:, 0].tolist()
        slices.append((slice(used[0], used[-1] + 1), slice(low, high)))
    return slices
