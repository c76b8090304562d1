"""Crops of a clip: an anchor, a positive from another place, the anchor shifted in pitch.

Kuroyanagi and Komatsu, "Self-supervised learning method using multiple sampling strategies for
general-purpose audio representation", ICASSP 2022, arXiv 2505.18984.
Letters: B clips, V views, T samples of a clip, T' of a crop, W of a crop with its margins.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from slvr.pipeline.augmentations import PitchShift
from slvr.pipeline.augmentations.noise import coloured_noise
from slvr.pipeline.augmentations.two_grids import HOPS
from slvr.pipeline.augmentations.vocoder import energy, restore_level
from slvr.pipeline.upload import upload
from slvr.pipeline.views.contract import Known, Step, ViewMaker, Waves


@dataclass(frozen=True)
class CropPlan:
    """Everything that decides the crops of B clips, apart from the clips; on the host.

    Attributes:
        anchor: (B,) float64 where the anchor lies, as a share of where it can, 0 to below 1.
        positive: (B,) the same of the positive.
        noise_seed: (B,) int64 of the positive's noise.
        shift: (B,) float32 of the anchor's pitch: what the views know.
        semitones: (B,) float32, what that shift is in pitch.
        n_views: 3 where the anchor is shifted, else 2.
        device: of the clips.
    """

    anchor: Tensor
    positive: Tensor
    noise_seed: Tensor
    shift: Tensor
    semitones: Tensor
    n_views: int
    device: torch.device

    def __len__(self) -> int:
        """B."""
        return len(self.anchor)

    def _columns(self) -> dict[str, Tensor]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def rows(self, first: int, last: int) -> "CropPlan":
        """The plan of the clips first to last - 1 alone."""
        columns = {name: column[first:last] for name, column in self._columns().items()}
        return CropPlan(**columns, n_views=self.n_views, device=self.device)

    def describe(self, clip: int) -> list[Step]:
        """Where each view is cut, as a share of where it can be, and what is done to it."""
        anchor, positive, seed, shift, semitones = (
            column[clip].item() for column in self._columns().values()
        )
        places: list[dict[str, float | list[float]]] = [{"place": anchor}, {"place": positive}]
        if self.n_views == 2:
            return [Step("crop", places), Step("noise", [{}, {"noise_seed": seed}])]
        return [
            Step("crop", [*places, {"place": anchor}]),
            Step("noise", [{}, {"noise_seed": seed}, {}]),
            Step("pitch_shift", [{}, {}, {"shift": shift, "semitones": semitones}]),
        ]

    def to_json(self) -> str:
        """A text from which `from_json` restores the plan to the bit."""
        columns = {name: column.tolist() for name, column in self._columns().items()}
        return json.dumps({"n_views": self.n_views, "columns": columns})

    @classmethod
    def from_json(cls, text: str, device: torch.device | str = "cpu") -> "CropPlan":
        """The plan that `to_json` wrote, on any device."""
        stored = json.loads(text)
        kinds = (torch.float64, torch.float64, torch.int64, torch.float32, torch.float32)
        columns = {
            name: torch.tensor(column, dtype=kind)
            for (name, column), kind in zip(stored["columns"].items(), kinds, strict=True)
        }
        return cls(**columns, n_views=stored["n_views"], device=torch.device(device))


class Crops(ViewMaker):
    """Two or three crops of each clip; a `ViewMaker`.

    View 0 is the anchor, view 1 a positive from a place of its own with a little noise, view 2 the
    anchor with every frequency multiplied by 1 + p, p the `shift` that is known. It is shifted with
    a margin on both sides, from the clip or mirrored at its ends, and then cut: the vocoder's edges
    are left behind. It has the anchor's level, so that p cannot be read from it.

    Args:
        crop_samples: T'.
        margin_samples: on both sides of an anchor that is shifted.
        noise: standard deviation of what is added to the positive.
        pitch: make view 2.
        widest: p is within [-widest, widest].
        pitch_grid: p is any, or one of the published ratios less 1.
        ratio: multiply by 1 + p as in the paper, or by its twelfth root as in the public code.

    Raises:
        ValueError: values that cannot be.
    """

    NAME: ClassVar[str] = "crops"
    columns: Sequence[str] = ()
    quantities: Mapping[str, int] = {}

    @dataclass(frozen=True)
    class Config:
        """A crop, another crop of the clip, and the first one shifted in pitch."""

        crop_s: float = 0.95
        """Length of a view in seconds, above 0 and at most that of the clip; 0.95 are 96 frames."""
        noise: float = 0.001
        """Standard deviation of the noise on the second crop, of waveforms as they come in, 0 or
        more."""
        pitch: bool = True
        """Make a third view, the first one shifted in pitch."""
        widest: float = 0.2
        """Widest shift p either way, above 0 to 0.75: frequencies are multiplied by 1 + p."""
        pitch_grid: Literal["continuous", "published"] = "continuous"
        """Any shift, or those of the published ratios of view maker chains that are not wider."""
        ratio: Literal["paper", "code"] = "paper"
        """Multiply frequencies by 1 + p, or by its twelfth root as the public code does."""
        margin_s: float = 0.125
        """What is shifted on both sides besides and then cut off, in seconds, 0 or more."""

    def __init__(
        self,
        crop_samples: int,
        margin_samples: int = 2000,
        *,
        noise: float = 0.001,
        pitch: bool = True,
        widest: float = 0.2,
        pitch_grid: Literal["continuous", "published"] = "continuous",
        ratio: Literal["paper", "code"] = "paper",
    ) -> None:
        if crop_samples < 1 or margin_samples < 0 or not noise >= 0 or not 0 < widest <= 0.75:
            raise ValueError(
                f"crops: crop of {crop_samples} samples, margin {margin_samples}, noise {noise}, "
                f"widest {widest}; expected a crop of 1 or more, a margin and noise of 0 or more "
                "and a widest shift above 0 to 0.75: see `train --views crops --help`"
            )
        self.crop_samples = crop_samples
        self.margin_samples = margin_samples
        self.noise = noise
        self.widest = widest
        self.ratio = ratio
        self.n_views = 3 if pitch else 2
        self.knows = frozenset({"shift"}) if pitch else frozenset[str]()
        self._shifts: Tensor | None = None
        if pitch_grid == "published":
            shifts = [float(ratio - 1) for ratio in HOPS if abs(float(ratio - 1)) <= widest]
            if not shifts:
                raise ValueError(
                    f"crops: none of the published ratios is within 1 +- {widest}; expected a "
                    "widest shift of 0.0235 or more, or the continuous grid"
                )
            self._shifts = torch.tensor(shifts)

    @classmethod
    def build(cls, config: Any, waves: Waves) -> Self:
        """The view maker of a configuration.

        Raises:
            ValueError: a crop longer than the clip, or values that cannot be.
        """
        crop = round(config.crop_s * waves.sample_rate_hz)
        if crop > waves.n_samples:
            raise ValueError(
                f"crops: a crop of {config.crop_s:g} s does not fit into a clip of "
                f"{waves.n_samples / waves.sample_rate_hz:g} s; give a shorter --views.crop-s or "
                "a longer --clip-s"
            )
        return cls(
            crop,
            round(config.margin_s * waves.sample_rate_hz),
            noise=config.noise,
            pitch=config.pitch,
            widest=config.widest,
            pitch_grid=config.pitch_grid,
            ratio=config.ratio,
        )

    def sample(
        self, n: int, seed: int | Sequence[int], device: torch.device | str = "cpu"
    ) -> CropPlan:
        """A plan for n clips, drawn on the host from the seed alone."""
        (state,) = np.random.SeedSequence(seed).generate_state(1, np.uint64).tolist()
        drawn = torch.Generator().manual_seed(state)
        anchor, positive = torch.rand(2, n, generator=drawn, dtype=torch.float64)
        noise_seed = torch.randint(2**31, (n,), generator=drawn)
        shift = self.widest * (2 * torch.rand(n, generator=drawn) - 1)
        if self._shifts is not None:
            shift = self._shifts[torch.randint(len(self._shifts), (n,), generator=drawn)]
        octaves = torch.log2(1 + shift.double())
        semitones = (octaves if self.ratio == "code" else 12 * octaves).float()
        columns = (anchor, positive, noise_seed, shift, semitones)
        return CropPlan(*columns, self.n_views, torch.device(device))

    def known(self, plan: CropPlan) -> Known:
        """`shift` (B,) p, where there is a third view."""
        if self.n_views < 3:
            return {}
        return {"shift": plan.shift.to(plan.device, non_blocking=True)}

    def apply(self, waves: Tensor, plan: CropPlan) -> Tensor:
        """(B, T) float32 or bfloat16 -> (V, B, T') of the same dtype.

        Raises:
            ValueError: clips shorter than a crop, or a plan for another number of clips.
        """
        if waves.ndim != 2 or len(waves) != len(plan) or waves.shape[1] < self.crop_samples:
            raise ValueError(
                f"views: expected waves ({len(plan)}, {self.crop_samples} or more) for a plan of "
                f"{len(plan)} clips, got {tuple(waves.shape)}"
            )
        spare = waves.shape[1] - self.crop_samples + 1
        starts = [(place * spare).long() for place in (plan.anchor, plan.positive)]
        anchors, positives, seeds, semitones = upload(
            [*starts, plan.noise_seed, plan.semitones], waves.device
        )
        margin = self.margin_samples if self.n_views == 3 else 0
        window = _cut(waves, anchors - margin, self.crop_samples + 2 * margin)
        anchor = window[:, margin : margin + self.crop_samples]
        positive = self._with_noise(_cut(waves, positives, self.crop_samples), seeds)
        if self.n_views < 3:
            return torch.stack([anchor, positive])
        # ratios of the published grid are looked up on the host, any others used where they lie
        there = semitones if self._shifts is None else plan.semitones
        shifted = PitchShift("continuous").apply(window.float(), {"semitones": there})
        shifted = shifted[:, margin : margin + self.crop_samples]
        level = energy(anchor.float()) / self.crop_samples
        shifted = restore_level(shifted, level, energy(shifted) / self.crop_samples)
        return torch.stack([anchor, positive, shifted.to(waves.dtype)])

    def _with_noise(self, waves: Tensor, seeds: Tensor) -> Tensor:
        """(B, T') crops with Gaussian noise, a function of each row's seed."""
        if not self.noise:
            return waves
        white = coloured_noise(seeds, torch.zeros_like(seeds, dtype=torch.float32), waves.shape[1])
        white *= self.noise * math.sqrt(waves.shape[1]) / energy(white).sqrt()
        return (waves + white).to(waves.dtype)


def _cut(waves: Tensor, start: Tensor, n_samples: int) -> Tensor:
    """(B, n_samples) pieces from `start` (B,) on; beyond its ends a clip is mirrored."""
    last = waves.shape[1] - 1
    at = start[:, None] + torch.arange(n_samples, device=waves.device)
    at = last - (last - at.abs()).abs()
    return waves.gather(1, at.clamp_(0, last))
