"""Kernels, bytes and host operations of a training step on CUDA, counted without a GPU.

    python tests/benchmarks/kernels.py
    python tests/benchmarks/kernels.py --recipes mtslvr-simclr-parallel --seeds 200

What is counted and what is not: `counting.py`. Views and front end take their branches for CUDA;
the network, which has none, is counted as the CPU's. The time of the bytes is what they would take
if nothing else took any: copies reach about 3.0 TB/s on an H100 and 4.3 TB/s on an H200.
"""

import argparse
import copy
import dataclasses
import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from counting import CUDA, Count, FFTPlan, fake_cuda
from measure import table
from torch import Tensor
from torch._subclasses import FakeTensorMode

from slvr.model.encoders.contract import Embedded
from slvr.model.learner import TOTAL
from slvr.pipeline.augmentations import Augmentation, Params
from slvr.pipeline.normalise import normalise, to_float
from slvr.pipeline.stage import Made, Stage, known_of
from slvr.pipeline.views.chains import Chains
from slvr.pipeline.views.contract import Known
from slvr.shards.clip import SAMPLE_RATE_HZ
from slvr.train.build import build_model, build_stage
from slvr.train.config import TrainConfig
from slvr.train.configure import configure
from slvr.train.recipes import DEFAULT, RECIPES

HEAD = ["", "kernels", "host operations", "GB", "ms at 3.0 TB/s", "ms at 4.3 TB/s"]
SEED = (0, 0)  # of a run and a step: the chains decide how many rows go through what


class Cost(NamedTuple):
    """Counts that can be added."""

    kernels: int
    host_operations: int
    moved_bytes: int

    @classmethod
    def of(cls, *counts: Count) -> "Cost":
        """The sum of what was counted."""
        return cls.sum(cls(c.kernels, c.host_operations, c.moved_bytes) for c in counts)

    @classmethod
    def sum(cls, costs: Iterable["Cost"]) -> "Cost":
        """The cost of all of them."""
        return cls(*map(sum, zip(*costs, strict=True)))

    def row(self, name: str) -> list[str]:
        """A line under `HEAD`."""
        times_ms = (1e3 * self.moved_bytes / per_s for per_s in (3.0e12, 4.3e12))
        return [
            name,
            f"{self.kernels:,}",
            f"{self.host_operations:,}",
            f"{self.moved_bytes / 1e9:.2f}",
            *(f"{time_ms:.2f}" for time_ms in times_ms),
        ]


class StageCounts(NamedTuple):
    """The stage in front of the network, part by part, and what it gives."""

    parts: dict[str, Count]
    images: Tensor
    known: Known


def stage_of(config: TrainConfig) -> Stage:
    """View maker and front end of a configuration, on the host."""
    data = config.data
    stage = build_stage(config.parts, data.clip_s, data.normalise, torch.device("cpu"))
    if isinstance(stage.views, Chains):
        stage.views.fused = False  # what can be counted is torch's path
    return stage


def count_stage(config: TrainConfig, seed: tuple[int, ...] = SEED) -> StageCounts:
    """Clips to images and what is known of them, as `Stage` does it."""
    stage, n_samples = stage_of(config), round(config.data.clip_s * SAMPLE_RATE_HZ)
    names = ("clips to float, normalised", "plan drawn", "views", "what is known", "front end")
    parts = {name: Count("cuda") for name in names}
    with fake_cuda():
        stage = dataclasses.replace(stage, front_end=stage.front_end.to(CUDA))
        pcm = torch.empty(config.data.batch, n_samples, dtype=torch.int16, device=CUDA)
        with parts["clips to float, normalised"]:
            waves = normalise(to_float(pcm), stage.normalisation)
        with parts["plan drawn"]:
            plan = stage.views.sample(len(waves), seed, CUDA)
        with parts["views"]:
            views = stage.views.apply(waves, plan)
        made = Made(waves, views, plan)
        with parts["what is known"]:
            known = known_of(stage.views, made)
        with parts["front end"]:
            images = stage.images(made)
    return StageCounts(parts, images, known)


def count_augmentation(augmentation: Augmentation, n_clips: int, n_samples: int) -> Count:
    """Both views of clips through a chain of one augmentation, its parameters drawn before."""
    views = Chains((augmentation,), fused=False)
    with fake_cuda():
        plan = views.sample(n_clips, SEED, CUDA)
        waves = torch.empty(n_clips, n_samples, device=CUDA)
        with Count("cuda") as count:
            views.apply(waves, plan)
    return count


def count_network(config: TrainConfig, given: StageCounts, bf16: bool) -> dict[str, Count]:
    """Encoder and objectives, forward and backward, in float32 or under autocast to bfloat16."""
    names = ("network, forward", "objectives", "network, backward")
    counts = {name: Count("cpu") for name in names}
    forward, objectives, backward = counts.values()
    stage = stage_of(config)
    with FakeTensorMode():
        model = build_model(config.parts, stage)
        images = torch.empty(given.images.shape)
        known = {name: torch.empty(x.shape, dtype=x.dtype) for name, x in given.known.items()}
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            with forward:
                h = model.embed(images)
            leaves = {task: Embedded(*map(_leaf, embedded)) for task, embedded in h.items()}
            with objectives:
                total = model.losses(leaves, known)[TOTAL]
        with objectives:
            total.backward()
        pairs = [
            (x, leaf)
            for task in h
            for x, leaf in zip(h[task], leaves[task], strict=True)
            if leaf is not None and leaf.grad is not None
        ]
        with backward:
            torch.autograd.backward([x for x, _ in pairs], [leaf.grad for _, leaf in pairs])
    return counts


def _leaf(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.detach().requires_grad_()


def count_optimiser(config: TrainConfig, **kind: bool) -> Count:
    """A step of Adam after the first, and the gradients let go.

    Args:
        config: for which network.
        kind: how torch does it, `foreach` or `fused`.
    """
    stage, settings = stage_of(config), config.optimisation
    with FakeTensorMode():
        shapes = [x.shape for x in build_model(config.parts, stage).parameters()]
    with fake_cuda():
        weights = [torch.empty(shape, device=CUDA).requires_grad_() for shape in shapes]
        adam = torch.optim.Adam(weights, lr=settings.lr, weight_decay=settings.weight_decay, **kind)
        for count in (Count("cuda"), Count("cuda")):
            for x in weights:
                x.grad = torch.empty_like(x)
            with count:
                adam.step()
                adam.zero_grad()
    return count


class Rows(NamedTuple):
    """Rows that an augmentation treats alike in one call, so that their FFTs are one batch."""

    name: str
    semitones: float | None
    """Of a pitch shift that is told on the host, where each interval goes its own way."""
    n: int


def noting(augmentation: Augmentation, noted: set[Rows]) -> Any:
    """One of the same class that changes nothing, and notes which rows it gets."""

    def apply(self: Any, x: Tensor, params: Params) -> Tensor:
        if "semitones" in params:
            values, counts = params["semitones"].unique(return_counts=True)
            pairs = zip(values.tolist(), counts.tolist(), strict=True)
            noted.update(Rows(self.name, value, n) for value, n in pairs)
        else:
            noted.add(Rows(self.name, None, len(x)))
        return x

    notes = type("Noting", (type(augmentation),), {"apply": apply})
    same = copy.copy(augmentation)
    object.__setattr__(same, "__class__", notes)  # they are frozen
    return same


def plans_over_seeds(config: TrainConfig, steps: Iterable[int]) -> dict[int, int]:
    """Number of steps -> how many plans of cuFFT their views have needed.

    Step by step only the chains are drawn, and clips of one sample sent through them; which plans
    an augmentation needs follows from the rows that it got. A pitch shift gets its parameters on
    the host, as `Chains` gives it them.
    """
    maker, n_samples = stage_of(config).views, round(config.data.clip_s * SAMPLE_RATE_HZ)
    assert isinstance(maker, Chains)
    noted: set[Rows] = set()
    dry: Any = copy.copy(maker)
    dry.augmentations = {n: noting(a, noted) for n, a in maker.augmentations.items()}
    waves = torch.empty(config.data.batch, 1, device="meta")  # as many rows at once as on CUDA

    @functools.cache
    def counted(rows: Rows) -> frozenset[FFTPlan]:
        return plans_of(maker.augmentations[rows.name], rows, n_samples)

    def needed(rows: Rows) -> frozenset[FFTPlan]:
        few = counted(rows._replace(n=3))
        # each row brings the same number of transforms: the others need not run
        if counted(rows._replace(n=6)) == {plan._replace(batch=2 * plan.batch) for plan in few}:
            return frozenset(plan._replace(batch=plan.batch * rows.n // 3) for plan in few)
        return counted(rows)

    found, wanted = {}, set(steps)
    for step in range(max(wanted)):
        dry.apply(waves, maker.sample(len(waves), (0, step)))
        if step + 1 in wanted:
            found[step + 1] = len(set().union(*map(needed, noted)))
    return found


def plans_of(augmentation: Augmentation, rows: Rows, n_samples: int) -> frozenset[FFTPlan]:
    """The plans of cuFFT that an augmentation needs for some rows."""
    host = torch.device("cpu")
    drawn = augmentation.sample(rows.n, torch.Generator().manual_seed(0), host)
    with fake_cuda(), Count("cuda") as count:
        if rows.semitones is None:
            params = {name: value.to(CUDA, non_blocking=True) for name, value in drawn.items()}
        else:
            params = {"semitones": torch.full((rows.n,), rows.semitones)}
        augmentation.apply(torch.empty(rows.n, n_samples, device=CUDA), params)
    return frozenset(count.plans)


def step_costs(config: TrainConfig, stage: StageCounts) -> dict[str, dict[str, Cost]]:
    """`float32` and `bf16` -> part of the whole step -> its cost."""
    adam = count_optimiser(config, foreach=True)  # torch's choice on CUDA
    return {
        precision: {
            name: Cost.of(count)
            for name, count in {
                **stage.parts,
                **count_network(config, stage, bf16),
                "Adam": adam,
            }.items()
        }
        for precision, bf16 in (("float32", False), ("bf16", True))
    }


def stages_table(config: TrainConfig, costs: dict[str, dict[str, Cost]]) -> str:
    """Every part of a step, once where it is the same in float32 and bf16, and the step."""
    rows = []
    for precision, parts in costs.items():
        for name, cost in parts.items():
            if any(other[name] != cost for other in costs.values()):
                rows.append(cost.row(f"{name}, {precision}"))
            elif precision == "float32":
                rows.append(cost.row(name))
    rows.append(Cost.of(count_optimiser(config, fused=True)).row("Adam, fused"))
    rows += [Cost.sum(parts.values()).row(f"**step, {p}**") for p, parts in costs.items()]
    return table(HEAD, rows)


def main() -> None:
    """Counts and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    own = [name for name, recipe in RECIPES.items() if recipe.views == "chains"]
    parser.add_argument("--recipes", nargs="+", default=own, choices=RECIPES)
    parser.add_argument(
        "--seeds", type=int, default=2000, help="steps to count plans of cuFFT over"
    )
    args = parser.parse_args()
    config = configure(DEFAULT, {"shards": "none"})
    batch, clip_s = config.data.batch, config.data.clip_s
    print(f"torch {torch.__version__}; chains of seed {SEED}.\n")

    print(f"### Parts of a step, {DEFAULT}, {batch} clips of {clip_s:g} s, counted\n")
    stage = count_stage(config)
    stages = {_in_front(config): stage}
    print(stages_table(config, step_costs(config, stage)))

    n_samples = round(clip_s * SAMPLE_RATE_HZ)
    print(f"\n### Both views of {batch} clips of {clip_s:g} s by one augmentation, counted\n")
    augmentations: dict[str, Augmentation] = getattr(stage_of(config).views, "augmentations", {})
    counts = {n: count_augmentation(a, batch, n_samples) for n, a in augmentations.items()}
    print(table(HEAD, [Cost.of(count).row(name) for name, count in counts.items()]))

    print("\n### Plans that cuFFT has made after so many steps, counted\n")
    steps = sorted({n for n in (1, 10, 100) if n < args.seeds} | {args.seeds})
    found = plans_over_seeds(config, steps)
    print(table(["steps", *(f"{n:,}" for n in steps)], [["plans", *map(str, found.values())]]))

    print("\n### Whole step of each recipe, counted\n")
    head = ["recipe", *HEAD[1:], "in bf16: kernels", "GB", *HEAD[4:]]
    print(table(head, []))
    for recipe in args.recipes:
        config = configure(recipe, {"shards": "none"})
        key = _in_front(config)
        if key not in stages:
            stages[key] = count_stage(config)
        whole = {p: Cost.sum(c.values()) for p, c in step_costs(config, stages[key]).items()}
        row = whole["float32"].row(recipe) + whole["bf16"].row("")[1:2] + whole["bf16"].row("")[3:]
        print("| " + " | ".join(row) + " |", flush=True)


def _in_front(config: TrainConfig) -> str:
    """What the stage in front of the network depends on."""
    parts, data = config.parts, config.data
    return repr((parts.views, parts.front_end, data.batch, data.clip_s, data.normalise))


if __name__ == "__main__":
    main()
