"""Banks of mel bands, and spectra summed by them. Letters: N samples of an FFT, F = N // 2 + 1."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float64]

# Added before every logarithm: float64's epsilon, so that silence is -156.5356 dB.
LOG_FLOOR = 2.220446049250313e-16
# A triangle covers a few bins: multiplied by slices, five sixths of the bank's zeros are left out.
N_SLICES = 8
BAND_BLOCK = 32  # bands of one program of `slvr.pipeline.fused.front_end`
_LINEAR_HZ = 1000.0
"""Up to where Slaney's mels are linear: 200/3 Hz each; above, 27 of them are a factor of 6.4."""


def mel(hz: Floats, scale: str) -> Floats:
    """Mels of frequencies: 2595 log10(1 + f / 700) of HTK, or Slaney's, linear up to 1 kHz."""
    if scale == "htk":
        of_htk: Floats = 2595 * np.log10(1 + hz / 700)
        return of_htk
    above = np.log(np.maximum(hz, _LINEAR_HZ) / _LINEAR_HZ) * 27 / np.log(6.4)
    mels: Floats = np.minimum(hz, _LINEAR_HZ) * 3 / 200 + above
    return mels


def hertz(mels: Floats, scale: str) -> Floats:
    """Frequencies of mels; the inverse of `mel`."""
    if scale == "htk":
        of_htk: Floats = 700 * (10 ** (mels / 2595) - 1)
        return of_htk
    above = np.exp(np.maximum(mels - _LINEAR_HZ * 3 / 200, 0) * np.log(6.4) / 27)
    hz: Floats = np.minimum(mels * 200 / 3, _LINEAR_HZ) * above
    return hz


def mel_bank(
    bins_hz: Floats,
    n_mels: int,
    low_hz: float,
    high_hz: float,
    *,
    scale: str = "htk",
    triangles: str = "hz",
    area: bool = False,
) -> Tensor:
    """(F, M) float32: triangles whose corners are equally spaced in mels.

    Args:
        bins_hz: frequency of each bin.
        n_mels: M.
        low_hz: where the first triangle begins.
        high_hz: where the last one ends.
        scale: `htk` or `slaney`.
        triangles: straight over `hz` or over `mel`.
        area: each has unit area over Hz, otherwise unit height.
    """
    low_mel, high_mel = mel(np.array([low_hz, high_hz]), scale).tolist()
    corners = np.linspace(low_mel, high_mel, n_mels + 2)
    corners_hz = hertz(corners, scale)
    along, at = (mel(bins_hz, scale), corners) if triangles == "mel" else (bins_hz, corners_hz)
    low, mid, high = at[:-2], at[1:-1], at[2:]
    x = along[:, None]
    bank = np.maximum(0, np.minimum((x - low) / (mid - low), (high - x) / (high - mid)))
    if area:
        bank *= 2 / (corners_hz[2:] - corners_hz[:-2])
    return torch.from_numpy(bank).float()


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


def sliced(bank: Tensor, n: int = N_SLICES) -> list[tuple[slice, slice]]:
    """Slices of bands, and for each the bins outside of which their weights are all 0."""
    edges = torch.linspace(0, bank.shape[1], min(n, bank.shape[1]) + 1).long().tolist()
    slices = []
    for low, high in pairwise(edges):
        used = bank[:, low:high].any(1).nonzero()[:, 0].tolist()
        slices.append((slice(used[0], used[-1] + 1), slice(low, high)))
    return slices


def summed(spectra: Tensor, bank: Tensor, slices: list[tuple[slice, slice]]) -> Tensor:
    """(..., F) -> (..., M), summed by a bank in the slices that hold its weights."""
    return torch.cat([spectra[..., bins] @ bank[bins, bands] for bins, bands in slices], -1)
