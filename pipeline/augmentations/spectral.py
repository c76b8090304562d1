"""Pitch shift and time stretch: augmentations through one batched phase vocoder.

Letters: n rows, T samples.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch
from torch import Tensor

from pipeline.augmentations.contract import Params, uniform
from pipeline.augmentations.resampling import OVERSAMPLING, read_spline, resample, spline_prefilter
from pipeline.augmentations.vocoder import istft, restore_level, stretch

# Frequency ratios the published models were trained with: those that torch-audiomentations'
# PitchShift finds fast at 16 kHz within an octave.
DOWN = [Fraction(r) for r in ("1/2", "64/125", "5/8", "16/25", "25/32", "4/5", "125/128")]
PUBLISHED_RATIOS = (*DOWN, *(1 / ratio for ratio in reversed(DOWN)))
CONTINUOUS_RANGE_SEMITONES = 15.0


@dataclass(frozen=True)
class PitchShift:
    """Every frequency multiplied by ``2^(semitones / 12)``; duration and level stay.

    Args:
        grid: ``"published"`` draws from ``PUBLISHED_RATIOS``, each as likely; ``"continuous"``
            from U(-15, 15) semitones, the range the paper states.

    Params: ``semitones``.
    """

    grid: Literal["published", "continuous"] = "published"
    name: str = "pitch_shift"

    def __post_init__(self) -> None:
        if self.grid not in ("published", "continuous"):
            raise ValueError(
                f'pitch shift: expected grid "published" or "continuous", got {self.grid!r}'
            )

    def sample(self, n: int, generator: torch.Generator, device: torch.device) -> Params:
        """Intervals of n rows."""
        if self.grid == "continuous":
            low, high = -CONTINUOUS_RANGE_SEMITONES, CONTINUOUS_RANGE_SEMITONES
            return {"semitones": uniform(low, high, n, generator, device)}
        # Copied without waiting for the device, as everything that a training step uploads.
        ratios = torch.tensor([float(ratio) for ratio in PUBLISHED_RATIOS])
        ratios = ratios.to(device, non_blocking=True)
        drawn = torch.randint(len(ratios), (n,), generator=generator, device=device)
        return {"semitones": 12 * torch.log2(ratios)[drawn]}

    def apply(self, x: Tensor, params: Params) -> Tensor:
        """Shifted (n, T) waveforms.

        Stretching by the ratio and reading that much faster may be done in either order. Reading
        first where pitch rises and last where it falls, neither the samples in between nor the
        vocoder's frames are ever more than those of the clip, whatever the ratio.
        """
        frame, hop = 1024, 256
        ratio = torch.exp2(params["semitones"].double() / 12)
        up, down = ratio.clamp(min=1), ratio.clamp(max=1)
        read = resample(x.float(), up)
        # The spectra are at hand: here oversampling needs no further transform.
        spectra = stretch(read, 1 / ratio, frame, hop)
        spectra *= spline_prefilter(torch.linspace(0, 0.5, frame // 2 + 1, device=x.device))
        coefficients = istft(spectra, OVERSAMPLING * frame, OVERSAMPLING * hop)
        position = torch.arange(x.shape[-1], device=x.device) * down[:, None]
        y = read_spline(coefficients, OVERSAMPLING * (frame // 2 + position))
        # Only the first T / up samples of what was read are not silence.
        wanted = read.square().mean(-1, keepdim=True) * up.float()[:, None]
        return restore_level(y, wanted, y.square().mean(-1, keepdim=True)).to(x.dtype)


@dataclass(frozen=True)
class TimeStretch:
    """The clip played faster or slower at its pitch; T samples are kept.

    A longer result keeps its head, a shorter one is followed by its own beginning.
    Events move apart by the rate; a single one lands within a hop (32 ms) of where it belongs,
    since phases are taken over from whole frames.

    Params: ``rate``, U(0.5, 1.5) rounded to 0.01; above 1 is faster.
    """

    name: str = "time_stretch"

    def sample(self, n: int, generator: torch.Generator, device: torch.device) -> Params:
        """Rates of n rows."""
        return {"rate": torch.round(uniform(0.5, 1.5, n, generator, device) * 100) / 100}

    def apply(self, x: Tensor, params: Params) -> Tensor:
        """Stretched (n, T) waveforms."""
        frame, hop = 2048, 512
        n_samples = x.shape[-1]
        rate = params["rate"].double()
        spectra = stretch(x.float(), rate, frame, hop)
        y = istft(spectra, frame, hop)[:, frame // 2 : frame // 2 + n_samples]
        length = torch.round(n_samples / rate).long().clamp(min=1)[:, None]
        heard = torch.round(n_samples * rate).long().clamp(min=1)[:, None]
        y = restore_level(y, _mean_square(x.float(), heard), _mean_square(y, length))
        return y.gather(1, torch.arange(n_samples, device=x.device) % length).to(x.dtype)


def _mean_square(x: Tensor, length: Tensor) -> Tensor:
    """(n, 1) mean squares over the first ``length`` (n, 1) samples, or all where that is more."""
    inside = torch.arange(x.shape[-1], device=x.device) < length
    total = torch.where(inside, x, 0).square().sum(-1, keepdim=True)
    return total / length.clamp(max=x.shape[-1])
