"""Fade, time masking and time shift: augmentations that only move or scale samples.

Letters: n rows, T samples.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.augmentations.contract import Params, uniform

FADE_SHAPES = ("linear", "logarithmic", "exponential")


@dataclass(frozen=True)
class Fade:
    """A fade in and a fade out, each up to half of the clip, of one shape.

    Params: ``fade_in`` and ``fade_out``, fractions of the clip, U(0, 0.5) each; ``shape``, an
    index into ``FADE_SHAPES``.
    """

    name: str = "fade"

    def sample(self, n: int, generator: torch.Generator, device: torch.device) -> Params:
        """Lengths and shapes of n rows."""
        return {
            "fade_in": uniform(0, 0.5, n, generator, device),
            "fade_out": uniform(0, 0.5, n, generator, device),
            "shape": torch.randint(len(FADE_SHAPES), (n,), generator=generator, device=device),
        }

    def apply(self, x: Tensor, params: Params) -> Tensor:
        """Faded (n, T) waveforms."""
        n_samples, shape = x.shape[-1], params["shape"][:, None]
        fade_out = _progress(n_samples, params["fade_out"]).flip(-1)
        # The two do not overlap, and every curve ends at 1: one of them is enough.
        u = torch.minimum(_progress(n_samples, params["fade_in"]), fade_out)
        logarithmic = (torch.log10(0.1 + u) + 1).clamp(0, 1)
        gain = torch.where(shape == 1, logarithmic, u)
        gain = torch.where(shape == 2, torch.exp2(u - 1) * u, gain)
        return (x * gain).to(x.dtype)


def _progress(n_samples: int, fraction: Tensor) -> Tensor:
    """(n, T) values that rise from 0 to 1 over the first ``fraction`` of the samples and stay 1."""
    length = torch.round(fraction * n_samples)[:, None]
    t = torch.arange(n_samples, device=fraction.device)
    return torch.where(t < length, t / (length - 1).clamp(min=1), 1.0)


@dataclass(frozen=True)
class TimeMasking:
    """One stretch of silence of up to an eighth of the clip.

    Params: ``length``, a fraction of the clip, U(0, 0.125); ``position``, where the mask lies
    between its earliest (0) and its latest (1) place, U(0, 1).
    """

    name: str = "time_masking"

    def sample(self, n: int, generator: torch.Generator, device: torch.device) -> Params:
        """Lengths and positions of n rows."""
        return {
            "length": uniform(0, 0.125, n, generator, device),
            "position": uniform(0, 1, n, generator, device),
        }

    def apply(self, x: Tensor, params: Params) -> Tensor:
        """(n, T) waveforms with the mask set to 0."""
        n_samples = x.shape[-1]
        length = torch.floor(params["length"] * n_samples)[:, None]
        start = torch.floor(params["position"][:, None] * (n_samples - length + 1))
        start = torch.minimum(start, n_samples - length)
        t = torch.arange(n_samples, device=x.device)
        return torch.where((t >= start) & (t < start + length), 0, x)


@dataclass(frozen=True)
class TimeShift:
    """The clip rolled onto itself by up to half of its length, either way.

    Params: ``shift``, a fraction of the clip, U(-0.5, 0.5), positive to later.
    """

    name: str = "time_shift"

    def sample(self, n: int, generator: torch.Generator, device: torch.device) -> Params:
        """Shifts of n rows."""
        return {"shift": uniform(-0.5, 0.5, n, generator, device)}

    def apply(self, x: Tensor, params: Params) -> Tensor:
        """Rolled (n, T) waveforms."""
        n_samples = x.shape[-1]
        shift = torch.round(params["shift"] * n_samples).long()[:, None]
        return x.gather(1, (torch.arange(n_samples, device=x.device) - shift) % n_samples)
