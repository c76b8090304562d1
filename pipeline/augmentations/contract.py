"""What every augmentation offers, and how its parameters are drawn."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

# Parameter name -> one entry a row, (n, ...). Lengths are fractions of the clip: no entry depends
# on the number of samples, so one draw fits clips of any length.
Params = dict[str, Tensor]


@runtime_checkable
class Augmentation(Protocol):
    """One kind of change to a waveform: a frozen value, sampling apart from applying."""

    @property
    def name(self) -> str:
        """Name of the label column; unique in a chain."""
        ...

    def sample(self, n: int, generator: torch.Generator, device: torch.device) -> Params:
        """Parameters of n rows, drawn on `device` from `generator`, which lives there."""
        ...

    def apply(self, x: Tensor, params: Params) -> Tensor:
        """The changed waveforms: (n, T) float32 or bfloat16 -> the same shape and dtype.

        Parameters lie on the device of `x`. (Chains hand `PitchShift` its own on the host, where
        it can choose by them without waiting.)
        Pure and out of place; row i depends on row i of `x` and `params` alone; no loop over
        rows and nothing that makes the host wait for the device.
        """
        ...


@runtime_checkable
class Comparable(Protocol):
    """What an augmentation offers besides if two draws of it have a difference (for AugSelf)."""

    def differences(self, first: Params, second: Params) -> Params:
        """Name -> (n,) float32 in [-1, 1]: first less second, over the range that is drawn from.

        Traded places change the sign and nothing else.
        """
        ...


def check_range(what: str, low: float, high: float, least: float, most: float) -> None:
    """Refuses a range to draw from that does not lie within limits.

    Raises:
        ValueError: not `least <= low <= high <= most`.
    """
    if not least <= low <= high <= most:
        raise ValueError(
            f"{what}: expected {least:g} <= least <= greatest <= {most:g}, got {low:g} to {high:g}"
        )


def check_reach(what: str, reach: float, most: float) -> None:
    """Refuses a greatest value to draw that is 0 or beyond a limit.

    Raises:
        ValueError: not `0 < reach <= most`.
    """
    if not 0 < reach <= most:
        raise ValueError(
            f"{what}: expected more than 0 and at most {most:g}, got {reach:g}; to do without it, "
            "leave the augmentation out"
        )


def uniform(
    low: float, high: float, n: int, generator: torch.Generator, device: torch.device
) -> Tensor:
    """(n,) float32 draws from U(low, high)."""
    return low + (high - low) * torch.rand(n, generator=generator, device=device)
