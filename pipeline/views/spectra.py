"""SpecAugment behind any view maker: drawn with its plan, done to the images of its views.

Letters: V views, B clips, C channels, F bands, L frames, K masks.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from slvr.pipeline.augmentations.spec_augment import masked, spans, warped
from slvr.pipeline.upload import upload
from slvr.pipeline.views.contract import (
    ByClip,
    Clips,
    Known,
    Parted,
    Step,
    ViewMaker,
    Waves,
    WorksAhead,
)

STREAM = 0x5EC
"""Sets these draws apart from those of the view maker, of the same seed."""


@dataclass(frozen=True)
class SpectraPlan:
    """A view maker's plan, and what is drawn for the images besides.

    Attributes:
        INNER: class of the view maker's plan.
        inner: the view maker's.
        draws: name -> (V, B, ...) float64 of U(0, 1) on the host: the images' sizes decide later
            what they mean.
        most: the widths and distances that they are shares of, by name.
        device: of the clips.
    """

    INNER: ClassVar[Any]

    inner: Any
    draws: dict[str, Tensor]
    most: dict[str, float]
    device: torch.device

    def __len__(self) -> int:
        """The number of clips B."""
        return len(self.inner)

    def rows(self, first: int, last: int) -> Self:
        """The plan of the clips first to last - 1 alone."""
        draws = {name: value[:, first:last] for name, value in self.draws.items()}
        return replace(self, inner=self.inner.rows(first, last), draws=draws)

    def shift(self) -> Tensor:
        """(V, B) int64: how many frames later the warp's origin comes; 0 where nothing is done."""
        reach = int(self.most["warp_frames"])
        return torch.where(self.done(), below(2 * reach + 1, self.draws["shift"]) - reach, 0)

    def widths(self, axis: str) -> Tensor:
        """(V, B, K) int64 widths of the masks of `frames` or `bands`; 0 where nothing is done."""
        widths = below(int(self.most[f"mask_{axis}"]), self.draws[f"{axis}_width"])
        return torch.where(self.done()[..., None], widths, 0)

    def done(self) -> Tensor:
        """(V, B) bool: which images are changed."""
        return self.draws["chance"] < self.most["probability"]

    def describe(self, clip: int) -> list[Step]:
        """What is done to one clip; places are shares of what is free, whatever the size."""
        params: list[dict[str, float | list[float]]] = [
            {
                "warp_frames": int(self.shift()[view, clip]),
                "warp_at": float(self.draws["origin"][view, clip]),
                "band_widths": self.widths("bands")[view, clip].tolist(),
                "band_starts": self.draws["bands_start"][view, clip].tolist(),
                "frame_widths": self.widths("frames")[view, clip].tolist(),
                "frame_starts": self.draws["frames_start"][view, clip].tolist(),
            }
            for view in range(len(self.draws["chance"]))
        ]
        inner: list[Step] = self.inner.describe(clip)
        return [*inner, Step("spec_augment", params)]

    def to_json(self) -> str:
        """A text from which `from_json` restores the plan to the bit."""
        draws = {name: value.tolist() for name, value in self.draws.items()}
        return json.dumps({"inner": self.inner.to_json(), "draws": draws, "most": self.most})

    @classmethod
    def from_json(cls, text: str, device: torch.device | str = "cpu") -> Self:
        """The plan that `to_json` wrote, on any device."""
        stored = json.loads(text)
        draws = {
            name: torch.tensor(value, dtype=torch.float64)
            for name, value in stored["draws"].items()
        }
        inner = cls.INNER.from_json(stored["inner"], device)
        return cls(inner, draws, stored["most"], torch.device(device))


@cache
def plan_around(inner: Any) -> type[SpectraPlan]:
    """The class of plans around those of a view maker: which it is stands in no file."""
    return type("SpectraPlan", (SpectraPlan,), {"INNER": inner})


class SpecAugmented(ViewMaker):
    """The views of another view maker with SpecAugment of their images; a `ViewMaker`.

    Every view of every clip has draws of its own. Laws, U uniform in [0, 1), n frames or bands:
    width = floor(U most), in 0 .. most - 1; start = floor(U (n - width + 1)); the warp takes frame
    o in 1 .. n - 2 to frame min(max(o + shift, 1), n - 1), shift in -W .. W.

    Args:
        views: makes the views.
        config: how much is done.

    Raises:
        ValueError: a number out of its range.
    """

    NAME: ClassVar[str] = "spec_augment"

    @dataclass(frozen=True)
    class Config:
        """SpecAugment of the images of the views: time warp, frequency masks and time masks."""

        probability: float = 0.0
        """Share of the views whose image is changed, 0 to 1; 0 does without SpecAugment."""
        warp_frames: int = 5
        """Furthest shift of a frame by the time warp, either way; 0: no warp."""
        mask_bands: int = 10
        """Widths of frequency masks are drawn below this."""
        band_masks: int = 2
        """Frequency masks of an image."""
        mask_frames: int = 16
        """Widths of time masks are drawn below this."""
        frame_masks: int = 2
        """Time masks of an image."""
        fill: Literal["mean", "min", "zero"] = "mean"
        """What stands in the masks: mean or least value of the image, channel by channel, or 0."""

    def __init__(self, views: ViewMaker, config: Any) -> None:
        for name in ("warp_frames", "mask_bands", "band_masks", "mask_frames", "frame_masks"):
            if getattr(config, name) < 0:
                raise ValueError(
                    f"--spec-augment.{name.replace('_', '-')} {getattr(config, name)}: expected 0 "
                    "or more"
                )
        if not 0 <= config.probability <= 1:
            raise ValueError(
                f"--spec-augment.probability {config.probability}: expected 0 to 1, the share of "
                "the views that are changed"
            )
        self.views, self.config = views, config
        self.n_views, self.knows = views.n_views, views.knows
        self.columns, self.quantities = views.columns, views.quantities

    @classmethod
    def build(cls, config: Any, waves: Waves) -> Self:
        """Nothing: it stands behind another view maker.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "--views spec_augment: stands behind a view maker; add --spec-augment.probability 1"
        )

    def sample(
        self, n: int, seed: int | Sequence[int], device: torch.device | str = "cpu"
    ) -> SpectraPlan:
        """A plan for n clips; the view maker's part of it is what it would be without."""
        config, inner = self.config, self.views.sample(n, seed, device)
        numbers = [seed] if isinstance(seed, int) else [*seed]
        source = np.random.default_rng([*numbers, STREAM])
        k_bands, k_frames = (config.band_masks,), (config.frame_masks,)
        sizes: dict[str, tuple[int, ...]] = {
            **{"chance": (), "origin": (), "shift": ()},
            **{"bands_width": k_bands, "bands_start": k_bands},
            **{"frames_width": k_frames, "frames_start": k_frames},
        }
        draws = {
            name: torch.from_numpy(source.random((self.n_views, n, *size)))
            for name, size in sizes.items()
        }
        names = ("probability", "warp_frames", "mask_bands", "mask_frames")
        most = {name: getattr(config, name) for name in names}
        kind: Any = type(inner)
        return plan_around(kind)(inner, draws, most, torch.device(device))

    def apply(self, waves: Tensor, plan: SpectraPlan) -> Tensor:
        """(B, T) -> (V, B, T'): the view maker's."""
        return self.views.apply(waves, plan.inner)

    def ahead(self, plan: SpectraPlan, n_samples: int) -> SpectraPlan:
        """As the view maker has it."""
        if not isinstance(self.views, WorksAhead):
            return plan
        return replace(plan, inner=self.views.ahead(plan.inner, n_samples))

    def on_features(self, images: Tensor, plan: SpectraPlan) -> Tensor:
        """(V, B, C, F, L) changed: first by the view maker, then warped, then masked."""
        images = self.views.on_features(images, plan.inner)
        *_, n_bands, n_frames = images.shape
        origin, destination = warp_of(plan, n_frames)
        bands, frames = masks_of(plan, "bands", n_bands), masks_of(plan, "frames", n_frames)
        origin, destination, *rest = upload([origin, destination, *bands, *frames], images.device)
        if self.config.warp_frames:
            images = warped(images, origin, destination)
        return masked(
            images, spans(n_bands, *rest[:2]), spans(n_frames, *rest[2:]), self.config.fill
        )

    def known(self, plan: SpectraPlan) -> Known:
        """What the view maker knows."""
        return self.views.known(plan.inner)

    def of_clips(self, plan: SpectraPlan, clips: Clips) -> SpectraPlan:
        """The same plan of the clips that it is for, where the view maker asks for them."""
        if not isinstance(self.views, ByClip):
            return plan
        return replace(plan, inner=self.views.of_clips(plan.inner, clips))

    def parts(self, waves: Tensor, plan: SpectraPlan) -> list[dict[str, Tensor]]:
        """What the view maker's views are taken from, where it says so."""
        if not isinstance(self.views, Parted):
            return [{} for _ in range(len(plan))]
        return self.views.parts(waves, plan.inner)


def warp_of(plan: SpectraPlan, n_frames: int) -> tuple[Tensor, Tensor]:
    """Origin and destination (V, B) int64 of the warp in images of L frames."""
    origin = 1 + below(max(n_frames - 2, 1), plan.draws["origin"])
    return origin, (origin + plan.shift()).clamp(1, max(n_frames - 1, 1))


def masks_of(plan: SpectraPlan, axis: str, n: int) -> tuple[Tensor, Tensor]:
    """Starts and widths (V, B, K) int64 of the masks of `frames` or `bands` in images of n."""
    width = plan.widths(axis).clamp(max=n)
    return below(n - width + 1, plan.draws[f"{axis}_start"]), width


def below(n: int | Tensor, draws: Tensor) -> Tensor:
    """Whole numbers 0 .. n - 1 of draws from U(0, 1); 0 where n is 0."""
    return (draws * n).long()
