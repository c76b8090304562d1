"""Fade, time masking and time shift: augmentations that only move or scale samples.

Letters: n rows, T samples.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from slvr.pipeline.augmentations.contract import Params, check_reach, uniform

FADE_SHAPES = ("linear", "logarithmic", "exponential")


@dataclass(frozen=True)
class Fade:
    """A fade in and a fade out of one shape.

    Args:
        name: of the label column.
        longest: of either, as a fraction of the clip, at most 0.5.

    Params: `fade_in` and `fade_out`, fractions of the clip, U(0, longest) each; `shape`, an index
    into `FADE_SHAPES`.

    Raises:
        ValueError: a length that cannot be.
    """

    name: str = "fade"
    longest: float = 0.5

    def __post_init__(self) -> None:
        check_reach(f"{self.name}, longest", self.longest, 0.5)

    def sample(self, n: int, generator: torch.Generator, device: torch.device) -> Params:
        """Lengths and shapes of n rows."""
        return {
            "fade_in": uniform(0, self.longest, n, generator, device),
            "fade_out": uniform(0, self.longest, n, generator, device),
            "shape": torch.randint(len(FADE_SHAPES), (n,), generator=generator, device=device),
        }

    def differences(self, first: Params, second: Params) -> Params:
        """Lengths of the two fades; shapes have no order."""
        names = ("fade_in", "fade_out")
        return {name: (first[name] - second[name]) / self.longest for name in names}

    def apply(self, x: Tensor, params: Params) -> Tensor:
        """Faded (n, T) waveforms."""
        n_samples, shape = x.shape[-1], params["shape"][:, None]
        t = torch.arange(n_samples, dtype=torch.float32, device=x.device)
        # The two do not overlap, and every curve ends at 1: one of them is enough.
        fade_in = _progress(t, torch.round(params["fade_in"] * n_samples)[:, None])
        fade_out = _progress(t.flip(0), torch.round(params["fade_out"] * n_samples)[:, None])
        u = torch.minimum(fade_in, fade_out).clamp_(max=1)
        logarithmic = (0.1 + u).log10_().add_(1).clamp_(0, 1)
        gain = torch.where(shape == 1, logarithmic, u)
        gain = torch.where(shape == 2, (u - 1).exp2_().mul_(u), gain)
        return gain.mul_(x).to(x.dtype)


def _progress(t: Tensor, length: Tensor) -> Tensor:
    """(n, T) values that rise from 0 to 1 over the first `length` (n, 1) samples, and on."""
    return (t + (length == 0)) / (length - 1).clamp(min=1)


@dataclass(frozen=True)
class TimeMasking:
    """One stretch of silence.

    Args:
        name: of the label column.
        longest: as a fraction of the clip, at most 1.

    Params: `length`, a fraction of the clip, U(0, longest); `position`, where the mask lies
    between its earliest (0) and its latest (1) place, U(0, 1).

    Raises:
        ValueError: a length that cannot be.
    """

    name: str = "time_masking"
    longest: float = 0.125

    def __post_init__(self) -> None:
        check_reach(f"{self.name}, longest", self.longest, 1)

    def sample(self, n: int, generator: torch.Generator, device: torch.device) -> Params:
        """Lengths and positions of n rows."""
        return {
            "length": uniform(0, self.longest, n, generator, device),
            "position": uniform(0, 1, n, generator, device),
        }

    def differences(self, first: Params, second: Params) -> Params:
        """Length and start of the mask."""
        start, other = ((1 - p["length"]) * p["position"] for p in (first, second))
        length = (first["length"] - second["length"]) / self.longest
        return {"length": length, "start": start - other}

    def apply(self, x: Tensor, params: Params) -> Tensor:
        """(n, T) waveforms with the mask set to 0."""
        n_samples = x.shape[-1]
        length, start = (samples[:, None] for samples in self.samples(params, n_samples))
        t = torch.arange(n_samples, device=x.device)
        return torch.where((t >= start) & (t < start + length), 0, x)

    def samples(self, params: Params, n_samples: int) -> tuple[Tensor, Tensor]:
        """(n,) lengths and first samples of the masks in clips of `n_samples`."""
        length = torch.floor(params["length"] * n_samples)
        start = torch.floor(params["position"] * (n_samples - length + 1))
        return length, torch.minimum(start, n_samples - length)


@dataclass(frozen=True)
class TimeShift:
    """The clip rolled onto itself, either way.

    Args:
        name: of the label column.
        furthest: either way, as a fraction of the clip, at most 0.5.

    Params: `shift`, a fraction of the clip, U(-furthest, furthest), positive to later.

    Raises:
        ValueError: a shift that cannot be.
    """

    name: str = "time_shift"
    furthest: float = 0.5

    def __post_init__(self) -> None:
        check_reach(f"{self.name}, furthest", self.furthest, 0.5)

    def sample(self, n: int, generator: torch.Generator, device: torch.device) -> Params:
        """Shifts of n rows."""
        return {"shift": uniform(-self.furthest, self.furthest, n, generator, device)}

    def differences(self, first: Params, second: Params) -> Params:
        """The shorter way round from one to the other: rolling by a whole clip changes nothing."""
        shift = first["shift"] - second["shift"]
        return {"shift": (shift - shift.round()) / min(2 * self.furthest, 0.5)}

    def apply(self, x: Tensor, params: Params) -> Tensor:
        """Rolled (n, T) waveforms."""
        n_samples = x.shape[-1]
        shift = torch.round(params["shift"] * n_samples).long()
        # Each row comes out of two copies of itself, one after the other, in one piece.
        twice = torch.cat((x, x), dim=1)
        first = torch.arange(len(x), device=x.device) * twice.shape[-1] + -shift % n_samples
        return twice.flatten().unfold(0, n_samples, 1).index_select(0, first)
