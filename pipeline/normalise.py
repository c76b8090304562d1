"""Waveforms brought to zero mean and unit variance, by published constants or clip by clip."""

from typing import Literal

import torch
from torch import Tensor

# Statistics of balanced AudioSet at 16 kHz that MT-SLVR was trained with (arXiv 2305.17191).
PUBLISHED_MEAN = -2.9522e-4
PUBLISHED_STD = 0.11652075

Normalisation = Literal["published", "per-clip", "none"]


def to_float(pcm: Tensor) -> Tensor:
    """(B, T) float32 in [-1, 1) of int16 samples."""
    return pcm.to(torch.float32) / 32768


def normalised_from(waves: Tensor, how: Normalisation) -> tuple[Tensor, Tensor]:
    """Mean and scale (B,) of `waves = scale * normalise(waves) + mean`, of (B, T)."""
    if how == "none":
        return waves.new_zeros(len(waves)), waves.new_ones(len(waves))
    if how == "published":
        constant = waves.new_empty(len(waves))
        return torch.full_like(constant, PUBLISHED_MEAN), torch.full_like(constant, PUBLISHED_STD)
    mean = waves.mean(-1)
    centred = waves - mean[:, None]
    return mean, centred.square().mean(-1).sqrt().clamp(min=1e-8)


def normalise(waves: Tensor, how: Normalisation = "published") -> Tensor:
    """Normalised waveforms, same shape and dtype.

    Args:
        waves: (..., T), in [-1, 1].
        how: `"published"` applies the constants above; `"per-clip"` the mean and standard
            deviation of each clip, where a silent clip stays silent; `"none"`
            leaves them in [-1, 1].

    Raises:
        ValueError: `how` is none of these.
    """
    if how == "none":
        return waves
    if how == "published":
        return (waves - PUBLISHED_MEAN) / PUBLISHED_STD
    if how == "per-clip":
        centred = waves - waves.mean(-1, keepdim=True)
        return centred / centred.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-8)
    raise ValueError(f'normalisation: expected "published", "per-clip" or "none", got {how!r}')
