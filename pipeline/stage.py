"""The GPU-side stage: a batch of clips becomes views, their images, and what is known of them.

Letters: B clips, T samples, T' samples of a view, V views, C channels, F bands, L frames.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from slvr.pipeline.ahead import Ahead
from slvr.pipeline.blocks import may_look
from slvr.pipeline.frontends.contract import FrontEnd
from slvr.pipeline.loaders.batching import Cut
from slvr.pipeline.normalise import Normalisation, normalise, normalised_from, to_float
from slvr.pipeline.views.contract import ByClip, Clips, Known, ViewMaker

Seed = int | Sequence[int]


class Made(NamedTuple):
    """Views of a batch, still as sound."""

    waves: Tensor
    """(B, T) float32, the clips normalised."""
    views: Tensor
    """(V, B, T')."""
    plan: Any
    """The `slvr.pipeline.views.contract.Plan` that they were made by."""


@dataclass(frozen=True)
class Stage:
    """`stage(pcm, seed)`: (B, T) int16 -> images of V views of each clip, and what is known.

    Attributes:
        views: the view maker.
        front_end: on the device of the clips.
        normalisation: of the waveforms.
        rank: of this process, whose clips are a share of a batch of `world` times as many.
        world: processes; their number does not change the views of a clip.
        ahead: the plan of the next batch.
    """

    views: ViewMaker
    front_end: FrontEnd
    normalisation: Normalisation = "published"
    rank: int = 0
    world: int = 1
    ahead: Ahead = field(default_factory=Ahead, repr=False, compare=False)

    def __call__(self, pcm: Tensor, seed: Seed, cut: Cut | None = None) -> tuple[Tensor, Known]:
        """(V, B, C, F, L) float32, and (B, ...) by name; all that is drawn comes from the seed."""
        plan = self.ahead.made(*self._to_make(pcm, seed))
        share = (self.rank, self.world)
        made = make_views(pcm, seed, self.views, self.normalisation, *share, cut, plan)
        return self.images(made), known_of(self.views, made)

    def begin(self, like: Tensor, seed: Seed) -> None:
        """Has a thread draw and upload the next batch's plan, where a device has else to do.

        Args:
            like: a batch of the same shape and place.
            seed: of the next batch.
        """
        if not may_look(like.device):
            self.ahead.begin(*self._to_make(like, seed))

    def _to_make(self, pcm: Tensor, seed: Seed) -> tuple[Hashable, Callable[[], Any]]:
        """What the plan of a batch depends on, and how it is made."""
        n, n_samples = pcm.shape
        share = (self.rank, self.world)
        key = (str(seed), n, n_samples, pcm.device, *share)
        return key, partial(plan_of, self.views, n, n_samples, seed, pcm.device, *share)

    def images(self, made: Made) -> Tensor:
        """The views as the encoder sees them, (V, B, C, F, L) float32."""
        images = self.front_end(made.views.flatten(0, 1)).unflatten(0, made.views.shape[:2])
        return self.views.on_features(images, made.plan)


def plan_of(
    views: ViewMaker,
    n: int,
    n_samples: int,
    seed: Seed,
    device: torch.device,
    rank: int = 0,
    world: int = 1,
) -> Any:
    """The plan of n clips, which are the share of one of `world` processes."""
    plan = views.sample(world * n, seed, device).rows(rank * n, (rank + 1) * n)
    return views.ahead(plan, n_samples)


def make_views(
    pcm: Tensor,
    seed: Seed,
    views: ViewMaker,
    normalisation: Normalisation,
    rank: int = 0,
    world: int = 1,
    cut: Cut | None = None,
    plan: Any = None,
) -> Made:
    """The views of a batch (B, T) int16, which is the share of one of `world` processes.

    View makers that look at which clips they are given are told by `cut`. By their plan, where
    that was made before, see `plan_of`.

    Raises:
        ValueError: the view maker gives another number of views or clips.
    """
    waves = normalise(to_float(pcm), normalisation)
    n = len(waves)
    if plan is None:
        plan = plan_of(views, n, waves.shape[1], seed, waves.device, rank, world)
    if isinstance(views, ByClip) and cut is not None:
        plan = views.of_clips(plan, Clips(*cut, *normalised_from(to_float(pcm), normalisation)))
    made = views.apply(waves, plan)
    if made.ndim != 3 or tuple(made.shape[:2]) != (views.n_views, n):
        raise ValueError(
            f"--views {views.NAME}: gives {tuple(made.shape)} for {n} clips, expected (V, B, T') = "
            f"({views.n_views}, {n}, T')"
        )
    return Made(waves, made, plan)


def known_of(views: ViewMaker, made: Made) -> Known:
    """What is known of the views of a batch.

    Raises:
        ValueError: something else than the view maker says that it knows, or of other clips.
    """
    known = views.known(made.plan)
    n = len(made.waves)
    if known.keys() != views.knows or any(len(rows) != n for rows in known.values()):
        found = {name: tuple(rows.shape) for name, rows in known.items()}
        raise ValueError(
            f"--views {views.NAME}: knows {found} of {n} clips, expected a row a clip of "
            f"{', '.join(sorted(views.knows)) or 'nothing'}"
        )
    return known
