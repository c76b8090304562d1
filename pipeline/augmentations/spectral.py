"""Pitch shift and time stretch: augmentations through one batched phase vocoder.

Letters: n rows, T samples.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from slvr.pipeline.augmentations.contract import Params, check_range, check_reach, uniform
from slvr.pipeline.augmentations.resampling import (
    OVERSAMPLING,
    read_spline,
    resample,
    spline_prefilter,
)
from slvr.pipeline.augmentations.two_grids import HOPS, shift
from slvr.pipeline.augmentations.vocoder import energy, istft, restore_level, stretch
from slvr.pipeline.blocks import block_rows, in_blocks, maybe_any, rows_apart

STRETCH_FRAME, STRETCH_HOP = 2048, 512  # the published ones
# How near a drawn interval is to a published one to be that: float32 strays by 1e-6 semitones.
SAME_SEMITONES = 1e-4
# A clip of 10 s: its spectra, and what the vocoder makes of them, are 12 MB.
CPU_VOCODER_SAMPLES = 2**18


@dataclass(frozen=True)
class PitchShift:
    """Every frequency multiplied by `2^(semitones / 12)`; duration and level stay.

    Args:
        grid: `published` draws from those of `two_grids.HOPS` that are not wider, each as
            likely; `continuous` from U(-widest, widest).
        name: of the label column.
        widest_semitones: shift up and down; the paper states 15, its ratios are within 12.

    Params: `semitones`.

    Raises:
        ValueError: another grid, or a width that cannot be.
    """

    grid: Literal["published", "continuous"] = "published"
    name: str = "pitch_shift"
    widest_semitones: float = 15.0

    def __post_init__(self) -> None:
        check_reach(f"{self.name}, widest in semitones", self.widest_semitones, 48)
        if self.grid not in ("published", "continuous"):
            raise ValueError(
                f'pitch shift: expected grid "published" or "continuous", got {self.grid!r}'
            )
        if self.grid == "published" and not self._ratios():
            raise ValueError(
                f"{self.name}: none of the published ratios is within {self.widest_semitones:g} "
                "semitones; expected 0.41 or more, or the continuous grid"
            )

    def _ratios(self) -> list[float]:
        """Those of the published ratios that may be drawn."""
        ratios = map(float, HOPS)
        return [r for r in ratios if abs(12 * math.log2(r)) <= self.widest_semitones]

    def sample(self, n: int, generator: torch.Generator, device: torch.device) -> Params:
        """Intervals of n rows."""
        if self.grid == "continuous":
            low, high = -self.widest_semitones, self.widest_semitones
            return {"semitones": uniform(low, high, n, generator, device)}
        # Copied without waiting for the device, as everything that a training step uploads.
        ratios = torch.tensor(self._ratios()).to(device, non_blocking=True)
        drawn = torch.randint(len(ratios), (n,), generator=generator, device=device)
        return {"semitones": 12 * torch.log2(ratios)[drawn]}

    def differences(self, first: Params, second: Params) -> Params:
        """The interval between them."""
        widest = self.widest_semitones
        if self.grid == "published":
            widest = 12 * math.log2(max(self._ratios()))
        return {"semitones": (first["semitones"] - second["semitones"]) / (2 * widest)}

    def apply(self, x: Tensor, params: Params) -> Tensor:
        """Shifted (n, T) waveforms.

        Where the intervals lie on the host, those of the published ratios, known without waiting,
        go from one frame grid to another; all others are stretched and resampled.
        """
        x, dtype, semitones = x.float(), x.dtype, params["semitones"]
        if semitones.device.type != "cpu":
            return _by_resampling(x, semitones).to(dtype)
        y = torch.empty_like(x)
        n_rows = block_rows(x, CPU_VOCODER_SAMPLES)
        for ratio, rows in rows_by_ratio(semitones):
            there = rows.to(x.device, non_blocking=True)
            some = x.index_select(0, there)
            if ratio is None:
                shifted = _by_resampling(some, semitones[rows].to(x.device, non_blocking=True))
            else:
                shifted = in_blocks(partial(shift, ratio=ratio), n_rows, some)
            y.index_copy_(0, there, shifted)
        return y.to(dtype)


def rows_by_ratio(semitones: Tensor) -> list[tuple[Fraction | None, Tensor]]:
    """Published ratios and which of (n,) intervals on the host they are; None for all others."""
    published = 12 * torch.log2(torch.tensor([float(ratio) for ratio in HOPS]))
    distance, nearest = (semitones[:, None] - published).abs().min(1)
    nearest[distance > SAME_SEMITONES] = -1
    ratios = (None, *HOPS)
    return [(ratios[i + 1], (nearest == i).nonzero()[:, 0]) for i in sorted(set(nearest.tolist()))]


def _by_resampling(x: Tensor, semitones: Tensor) -> Tensor:
    """(n, T) waveforms shifted by any intervals (n,), on their device.

    Stretching by the ratio and reading that much faster may be done in either order. Reading
    first where pitch rises and last where it falls, neither the samples in between nor the
    vocoder's frames are ever more than those of the clip, whatever the ratio.
    """
    ratio = torch.exp2(semitones.double() / 12)
    y = torch.empty_like(x)
    for rows in rows_apart(ratio < 1):
        read, chosen = x[rows], ratio[rows]
        if maybe_any(chosen > 1):
            read = resample(read, chosen.clamp(min=1))
        n_rows = block_rows(read, CPU_VOCODER_SAMPLES)
        y[rows] = in_blocks(_stretch_and_read, n_rows, read, chosen)
    return y


def _stretch_and_read(x: Tensor, ratio: Tensor) -> Tensor:
    """(n, T) waveforms stretched by the ratio (n,), and read that much slower if it is below 1."""
    frame, hop = 768, 256
    n_samples = x.shape[-1]
    spectra = stretch(x, 1 / ratio, frame, hop)
    if maybe_any(ratio < 1):
        # The spectra are at hand: here oversampling needs no further transform.
        spectra *= spline_prefilter(torch.linspace(0, 0.5, frame // 2 + 1, device=x.device))
        coefficients = istft(spectra, OVERSAMPLING * frame, OVERSAMPLING * hop)
        position = torch.arange(n_samples, device=x.device) * ratio.clamp(max=1)[:, None]
        y = read_spline(coefficients, OVERSAMPLING * (frame // 2 + position))
    else:
        y = istft(spectra, frame, hop)[:, frame // 2 : frame // 2 + n_samples]
    # Only the first T / ratio samples of what was read faster are not silence.
    heard = n_samples / ratio.clamp(min=1).float()[:, None]
    return restore_level(y, energy(x) / heard, energy(y) / n_samples)


@dataclass(frozen=True)
class TimeStretch:
    """The clip played faster or slower at its pitch; T samples are kept.

    A longer result keeps its head, a shorter one is followed by its own beginning.
    Events move apart by the rate, each to within 8 ms of where it belongs.

    Args:
        name: of the label column.
        rates: slowest and fastest.

    Params: `rate`, U(slowest, fastest) rounded to 0.01; above 1 is faster.

    Raises:
        ValueError: rates that cannot be.
    """

    name: str = "time_stretch"
    rates: tuple[float, float] = (0.5, 1.5)

    def __post_init__(self) -> None:
        check_range(f"{self.name}, rate", *self.rates, 0.01, 100)

    def sample(self, n: int, generator: torch.Generator, device: torch.device) -> Params:
        """Rates of n rows."""
        return {"rate": torch.round(uniform(*self.rates, n, generator, device) * 100) / 100}

    def differences(self, first: Params, second: Params) -> Params:
        """How much faster, on a logarithmic scale: from 0.5 to 1.5 is a factor of 3."""
        slowest, fastest = self.rates
        widest = math.log(fastest / slowest) or 1
        return {"log_rate": torch.log(first["rate"] / second["rate"]) / widest}

    def apply(self, x: Tensor, params: Params) -> Tensor:
        """Stretched (n, T) waveforms."""
        n_rows = block_rows(x, CPU_VOCODER_SAMPLES)
        y = in_blocks(_stretch_and_fill, n_rows, x.float(), params["rate"].double())
        return y.to(x.dtype)


def _stretch_and_fill(x: Tensor, rate: Tensor) -> Tensor:
    """(n, T) waveforms played `rate` (n,) times as fast; those that end early begin again."""
    frame, hop = STRETCH_FRAME, STRETCH_HOP
    n_samples = x.shape[-1]
    y = istft(stretch(x, rate, frame, hop), frame, hop)[:, frame // 2 : frame // 2 + n_samples]
    length = torch.round(n_samples / rate).float().clamp(1, n_samples)[:, None]
    heard = torch.round(n_samples * rate).float().clamp(1, n_samples)[:, None]
    # 1 before a length and 0 after it is (length - t) between these limits.
    t = torch.arange(n_samples, dtype=torch.float32, device=x.device)
    wanted = energy(x * (heard - t).clamp_(0, 1)) / heard
    present = energy(y * (length - t[: y.shape[-1]]).clamp_(0, 1)) / length
    y = restore_level(y, wanted, present)
    if maybe_any(length < n_samples):
        y = y.gather(1, t.remainder(length).long())
    return y
