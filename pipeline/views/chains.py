"""Two views of every clip: a chain of augmentations drawn clip by clip, applied to the batch.

Letters: B clips, V = 2 views, T samples, P parameters that can be compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from slvr.pipeline.augmentations import (
    DEFAULT,
    Augmentation,
    ColouredNoise,
    Comparable,
    Fade,
    Params,
    PitchShift,
    TimeMasking,
    TimeShift,
    TimeStretch,
)
from slvr.pipeline.blocks import block_rows
from slvr.pipeline.fused import can_run, can_run_on
from slvr.pipeline.fused.schedule import can_fuse
from slvr.pipeline.upload import upload
from slvr.pipeline.views.chain_plan import N_VIEWS, ChainPlan
from slvr.pipeline.views.contract import Known, ViewMaker, Waves

CPU = torch.device("cpu")


class Chains(ViewMaker):
    """Paired views through chains of augmentations; a `ViewMaker`.

    Per clip k ~ U{min_ops .. max_ops} of the augmentations are chosen without replacement, in
    random order. Both views take the same chain, each with parameters of its own.

    Args:
        augmentations: what to choose from; any object that keeps the contract of
            `slvr.pipeline.augmentations.contract` can join and gets a label column.
        min_ops: shortest chain; 0 leaves some clips as they are.
        max_ops: longest chain; all augmentations if not given.
        fused: on a GPU, chains of the seven kinds in few kernels, where triton is installed.

    Raises:
        ValueError: two augmentations of one name, or a range of k that cannot be drawn.

    Attributes:
        augmentations: by name, in the order of the label columns.
        columns: their names.
        quantities: the columns of the differences, as augmentation.parameter, each with the label
            column of its augmentation.
    """

    NAME: ClassVar[str] = "chains"
    n_views = N_VIEWS
    knows = frozenset({"labels", "differences"})

    @dataclass(frozen=True)
    class Config:
        """Two views of a clip: a chain of augmentations, with parameters drawn for each view."""

        without: tuple[str, ...] = ()
        """Augmentations to leave out: of pitch_shift, fade, white_noise, mixed_noise, time_stretch,
        time_masking, time_shift."""
        extra: tuple[str, ...] = ()
        """More to choose from, each with its own label: package.Class, package.module:Class or
        ./file.py:Class, with options as in Class(option=value); of torch-audiomentations or your
        own; for example torch_audiomentations.PolarityInversion."""
        min_ops: int = 1
        """Shortest chain; 0 leaves some clips as they are."""
        max_ops: int | None = None
        """Longest chain; all augmentations if not given."""
        pitch_grid: Literal["published", "continuous"] = "published"
        """Pitch shifts: of the 14 published ratios, all within an octave, or any."""
        pitch_semitones: float = 15.0
        """Widest pitch shift, up and down, above 0."""
        fade_longest: float = 0.5
        """Longest fade, in and out each, as a share of the clip, above 0 to 0.5."""
        noise_snr_min_db: float = 3.0
        """Least signal-to-noise ratio of both noises."""
        noise_snr_max_db: float = 30.0
        """Greatest signal-to-noise ratio of both noises."""
        white_noise_f_decay_min: float = -1.0
        """Least decay of white noise: its amplitude falls with frequency^decay; -1 rises."""
        white_noise_f_decay_max: float = 0.0
        """Greatest decay of white noise; 0 is white."""
        mixed_noise_f_decay: float = 2.0
        """Greatest decay of mixed noise, either way, 0 or more."""
        stretch_min_rate: float = 0.5
        """Slowest time stretch, 0.01 or more; 0.5 is half as fast."""
        stretch_max_rate: float = 1.5
        """Fastest time stretch."""
        mask_longest: float = 0.125
        """Longest time mask, as a share of the clip, above 0 to 1."""
        shift_furthest: float = 0.5
        """Furthest time shift, either way, as a share of the clip, above 0 to 0.5."""
        fused: bool = True
        """On a GPU, make the views in few kernels by Triton, where it is installed."""

    def __init__(
        self,
        augmentations: Sequence[Augmentation] = DEFAULT,
        min_ops: int = 1,
        max_ops: int | None = None,
        fused: bool = True,
    ) -> None:
        self.augmentations = {augmentation.name: augmentation for augmentation in augmentations}
        self.min_ops = min_ops
        self.max_ops = len(augmentations) if max_ops is None else max_ops
        self.fused = fused and can_fuse(self.augmentations)
        if len(self.augmentations) != len(augmentations):
            names = [augmentation.name for augmentation in augmentations]
            raise ValueError(f"views: augmentation names must differ, got {names}")
        if not 0 <= self.min_ops <= self.max_ops <= len(augmentations):
            raise ValueError(
                f"views: expected 0 <= min_ops <= max_ops <= {len(augmentations)} augmentations, "
                f"got min_ops {self.min_ops}, max_ops {self.max_ops}"
            )
        self.columns = tuple(self.augmentations)
        self.quantities = {
            f"{name}.{quantity}": self.columns.index(name)
            for name, differences in self._differences(self.sample(1, 0)).items()
            for quantity in differences
        }

    @classmethod
    def build(cls, config: Any, waves: Waves) -> Self:
        """The chains of a configuration, the published seven first.

        Raises:
            ValueError: a name to leave out that is none of the seven, a range that cannot be, or
                an extra augmentation that cannot be made.
        """
        seven = augmentations_of(config)
        names = [augmentation.name for augmentation in seven]
        unknown = [name for name in config.without if name not in names]
        if unknown:
            raise ValueError(
                f"views: no augmentation {', '.join(unknown)} to leave out; expected some of "
                f"{', '.join(names)}"
            )
        chosen = [augmentation for augmentation in seven if augmentation.name not in config.without]
        if config.extra:
            # loads torch-audiomentations, which takes seconds
            from slvr.pipeline.augmentations.torch_audiomentations import (  # noqa: PLC0415
                augmentation_from,
            )

            chosen += [augmentation_from(text, waves.load) for text in config.extra]
        return cls(chosen, config.min_ops, config.max_ops, config.fused)

    @classmethod
    def configured(cls, **settings: Any) -> Self:
        """The chains of some settings, the fields of `Config`; `slvr.Views` is this."""
        return cls.build(cls.Config(**settings), Waves(n_samples=0))

    def sample(
        self, n: int, seed: int | Sequence[int], device: torch.device | str = "cpu"
    ) -> ChainPlan:
        """A plan for n clips.

        All of it is drawn on the host, which steers the grouping by it, from `seed` alone: no
        state to save, and `seed=(run_seed, step)` resumes anywhere. The same seed gives the same
        plan on every device.
        """
        chain_seed, param_seed = np.random.SeedSequence(seed).generate_state(2, np.uint64).tolist()
        host = torch.Generator().manual_seed(chain_seed)
        drawn = torch.Generator().manual_seed(param_seed)

        shuffled = torch.rand(n, len(self.augmentations), generator=host).argsort(1)
        k = torch.randint(self.min_ops, self.max_ops + 1, (n, 1), generator=host)
        order = torch.where(torch.arange(self.max_ops) < k, shuffled[:, : self.max_ops], -1)
        params = {
            name: {
                key: value.view(N_VIEWS, n, *value.shape[1:])
                for key, value in augmentation.sample(N_VIEWS * n, drawn, CPU).items()
            }
            for name, augmentation in self.augmentations.items()
        }
        return ChainPlan(self.columns, order, params, torch.device(device))

    def known(self, plan: ChainPlan) -> Known:
        """Labels (B, A), which augmentations a clip has, and differences (B, P), see there."""
        if plan.ready is not None:
            plan.ready.arrive()
            known: Known = plan.ready.known
            return known
        return {"labels": plan.labels, "differences": self.differences(plan)}

    def differences(self, plan: ChainPlan) -> Tensor:
        """(B, P) float32 in [-1, 1] on the device: parameters of the first view less the second's.

        They are there for all clips; those count where the augmentation's label is 1.
        """
        columns = [column for each in self._differences(plan).values() for column in each.values()]
        if not columns:
            return plan.labels.new_zeros(len(plan), 0)
        return torch.stack(columns, 1).to(plan.device, non_blocking=True)

    def ahead(self, plan: ChainPlan, n_samples: int) -> ChainPlan:
        """The plan with its schedule made and uploaded, where the views are made fused."""
        if not (self.fused and len(plan) and can_run_on(plan.device, n_samples)):
            return plan
        from slvr.pipeline.fused.views import made_ready_aside  # noqa: PLC0415  # loads triton

        known = self.known(replace(plan, device=CPU))
        ready = made_ready_aside(plan, self.augmentations, n_samples, plan.device, known)
        return replace(plan, ready=ready)

    def _differences(self, plan: ChainPlan) -> dict[str, Params]:
        """For each augmentation that can compare draws, parameter name -> (B,)."""
        return {
            name: augmentation.differences(
                *({key: value[view] for key, value in plan.params[name].items()} for view in (0, 1))
            )
            for name, augmentation in self.augmentations.items()
            if isinstance(augmentation, Comparable)
        }

    def apply(self, waves: Tensor, plan: ChainPlan) -> Tensor:
        """(B, T) float32 or bfloat16 -> (V, B, T) of the same dtype.

        The rows that wait for the same augmentation go through it together, both views in one
        call; on the CPU in blocks that stay near its caches.

        Raises:
            ValueError: the plan is for another number of clips or other augmentations.
        """
        if waves.ndim != 2 or len(waves) != len(plan):
            raise ValueError(
                f"views: expected waves ({len(plan)}, T) for a plan of {len(plan)} clips, got "
                f"{tuple(waves.shape)}"
            )
        if plan.names != self.columns:
            raise ValueError(
                f"views: the plan was sampled for {plan.names}, this chain has {self.columns}: "
                "make Chains with the plan's augmentations"
            )
        if self.fused and can_run(waves):
            from slvr.pipeline.fused.views import fused_views  # noqa: PLC0415  # loads triton

            return fused_views(waves, plan, self.augmentations, ready=plan.ready)
        views = waves.repeat(N_VIEWS, 1)
        groups = self._groups(plan)
        here = {
            name: {key: value.flatten(0, 1) for key, value in params.items()}
            for name, params in plan.params.items()
        }
        values = [value for params in here.values() for value in params.values()]
        pieces = iter(upload([*values, *(rows for _, rows in groups)], waves.device))
        there = {name: {key: next(pieces) for key in params} for name, params in here.items()}
        for (name, rows), rows_there in zip(groups, pieces, strict=True):
            augmentation, n_rows = self.augmentations[name], block_rows(views)
            for block, block_there in zip(
                torch.split(rows, n_rows), torch.split(rows_there, n_rows), strict=True
            ):
                # It chooses by its parameters, and so takes them where they can be looked at.
                by_value = isinstance(augmentation, PitchShift)
                source, index = (here, block) if by_value else (there, block_there)
                params = {key: value.index_select(0, index) for key, value in source[name].items()}
                changed = augmentation.apply(views.index_select(0, block_there), params)
                views.index_copy_(0, block_there, changed)
        return views.view(N_VIEWS, *waves.shape)

    def _groups(self, plan: ChainPlan) -> list[tuple[str, Tensor]]:
        """The calls of a plan: pitch shift, time stretch and pitch shift with the others between.

        Each of the two is a long series of operations, and makes plans of FFTs for its rows.
        """
        slow = [
            index
            for kind in (PitchShift, TimeStretch)
            for index, augmentation in enumerate(self.augmentations.values())
            if isinstance(augmentation, kind)
        ]
        return plan.groups(slow)


def augmentations_of(config: Any) -> list[Augmentation]:
    """The seven of MT-SLVR in the order of their label columns, with a configuration's ranges."""
    snr_db = (config.noise_snr_min_db, config.noise_snr_max_db)
    white = (config.white_noise_f_decay_min, config.white_noise_f_decay_max)
    mixed = (-config.mixed_noise_f_decay, config.mixed_noise_f_decay)
    return [
        PitchShift(config.pitch_grid, widest_semitones=config.pitch_semitones),
        Fade(longest=config.fade_longest),
        ColouredNoise("white_noise", white, snr_db),
        ColouredNoise("mixed_noise", mixed, snr_db),
        TimeStretch(rates=(config.stretch_min_rate, config.stretch_max_rate)),
        TimeMasking(longest=config.mask_longest),
        TimeShift(furthest=config.shift_furthest),
    ]
