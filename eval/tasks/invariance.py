"""Learnt invariance: how far an augmentation moves the features of a clip.

Mahalanobis distance with mean and covariance of the clean features over the set, as in the
protocol of github linusericsson/ssl-invariances that MT-SLVR (arXiv 2305.17191) follows. Two
independent clips are about sqrt(2 d) apart in a head of d dimensions. This is the one module of
the evaluation that augments, because the augmentations are what it measures.

Letters: P pieces, B clips of a batch, T samples, d dimensions of a head.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from markupsafe import Markup
from torch import Tensor

from slvr.command.progress import track
from slvr.eval.baselines import with_baselines
from slvr.eval.charts import heatmap
from slvr.eval.config import Compared, check_least
from slvr.eval.embed import Embedder, Features
from slvr.eval.models import EvaluatedModel
from slvr.eval.pieces import cut, pieces_a_batch
from slvr.eval.published import INVARIANCE
from slvr.eval.sets import EvaluatedSet
from slvr.eval.tables import PUBLISHED, Table
from slvr.eval.tasks.contract import Presented, Task
from slvr.pipeline.augmentations import DEFAULT, Augmentation

_ROWS_AT_ONCE = 1 << 14
_ENOUGH = 10
"""Pieces a dimension from which on a covariance is known well: of fewer, distances are too great,
by about sqrt(n / (n - d))."""


@dataclass(frozen=True)
class Distance:
    """How far one augmentation moves the features of one head."""

    head: str
    augmentation: str
    distance: float
    ci95: float
    independent: float
    """sqrt(2 d): how far independent clips are apart."""
    protocol: str


class Invariance(Task):
    """How far augmentations move the features."""

    NAME = "invariance"

    @dataclass(frozen=True, kw_only=True)
    class Config(Compared):
        """Mahalanobis distance between features of clips and augmented clips, by augmentation."""

        n_clips: int = 1000
        """Clips that are augmented, at least 1."""
        n_draws: int = 3
        """Random settings of each augmentation for each of them, at least 1. The clips differ so
        much that more settings hardly narrow the confidence interval."""

        def __post_init__(self) -> None:
            super().__post_init__()
            check_least(self, n_clips=1, n_draws=1)

    def __init__(self, config: Config) -> None:
        self.config = config

    def check(self, sets: Sequence[EvaluatedSet], models: Sequence[EvaluatedModel]) -> None:
        """Refuses pieces of several lengths."""
        if any(data.piece_s is None for data in sets):
            raise ValueError(
                "--piece whole: clips of several lengths cannot be augmented in batches; give a "
                "length"
            )

    def contenders(
        self, models: Sequence[EvaluatedModel], device: torch.device
    ) -> list[EvaluatedModel]:
        """The models and all baselines."""
        return with_baselines(models, self.config, device)

    def score(
        self,
        model: EvaluatedModel,
        data: EvaluatedSet,
        features: Mapping[str, Features],
        device: torch.device,
    ) -> list[Distance]:
        """One row a head and augmentation."""
        clean = features[data.split]
        widest = max(part.stop - part.start for part in model.embedder.heads.values())
        if model.baseline and len(clean.values) <= widest:
            sys.stderr.write(
                f"evaluate: {data}: {model.name} is left out, {len(clean.values)} pieces are too "
                f"few for a covariance of its {widest} dimensions; expected more than {widest}\n"
            )
            return []
        return augmented_distances(model.embedder, data, clean, self.config, device)

    def present(self, results: pd.DataFrame) -> Presented:
        """Every augmentation, the means beside the published ones, and all in colour."""
        config = self.config
        line = (
            f"Protocol {config.protocol} · up to {config.n_clips:,} clips a set, {config.n_draws} "
            "draws of each augmentation a clip · covariance of the clean features of the whole set"
        )
        return Presented(
            "Learnt invariance",
            line,
            [_distances(results), _beside_published(results)],
            {"Mahalanobis distance over that of independent clips": _chart(results)},
        )


def _distances(results: pd.DataFrame) -> Table:
    """A row an augmentation, a column each head of a model on a set."""
    heads = results.groupby(["set", "model", "head"], sort=False)[["distance", "independent"]]
    means = heads.mean()  # the level is the same in all rows of a head
    rows = [
        [str(name), *(f"{row.distance:.2f} ± {row.ci95:.2f}" for row in of_name.itertuples())]
        for name, of_name in results.groupby("augmentation", sort=False)
    ]
    dims = (results["independent"] ** 2 / 2).round()
    few = results[results["set_pieces"] < _ENOUGH * dims]
    rows.append(["mean", *(f"{mean:.2f}" for mean in means["distance"])])
    rows.append(["independent clips", *(f"{level:.2f}" for level in means["independent"])])
    return Table(
        "Mahalanobis distance between clips and augmented clips, mean ± 95% confidence interval",
        ["augmentation", *map(", ".join, means.index)],
        rows,
        [
            "Columns: set, model, head. Independent clips are sqrt(2 d) apart in a head of d "
            "dimensions; smaller is more invariant.",
            *(
                f"{name}: {n:,} pieces are few for the covariance of a head's d dimensions (fewer "
                f"than {_ENOUGH} d), which makes distances too great."
                for name, n in few.groupby("set", sort=False)["set_pieces"].first().items()
            ),
        ],
    )


def _beside_published(results: pd.DataFrame) -> Table:
    """The means over the augmentations, of our models and of MT-SLVR's."""
    heads = ("contrastive", "predictive", "all")
    rows = [
        (
            ", ".join(map(str, names)),
            ours.groupby("head")["distance"].mean(),
            ours["independent"].iloc[0],
        )
        for names, ours in results.groupby(["set", "model"], sort=False)
    ]
    for name, means in INVARIANCE.items():
        dimensions = 1000 if "all" in means else 500
        rows.append((name + PUBLISHED, pd.Series(means), (2 * dimensions) ** 0.5))
    return Table(
        "Mean over the augmentations, beside the published values",
        ["set and model", *heads, "independent clips"],
        [
            [name, *(f"{means[h]:.2f}" if h in means else "" for h in heads), f"{level:.2f}"]
            for name, means, level in rows
        ],
        ["Published: MT-SLVR, on its training clips. Heads: all, where an encoder has but one."],
    )


def _chart(results: pd.DataFrame) -> Markup:
    """The distances over sqrt(2 d), so that heads of several sizes can be compared."""
    relative = results.assign(distance=results["distance"] / results["independent"])
    keys = ["set", "model", "head"]
    wide = relative.pivot_table("distance", keys, "augmentation", sort=False)
    rows = [", ".join(names) for names in wide.index]
    return heatmap(wide.to_numpy(), rows, list(wide.columns), ("√(2d)", 1.0))


def augmented_distances(
    model: Embedder,
    data: EvaluatedSet,
    clean: Features,
    config: Invariance.Config,
    device: torch.device,
    augmentations: tuple[Augmentation, ...] = DEFAULT,
) -> list[Distance]:
    """The mean distance of each head and augmentation, and its 95% interval.

    Of each of `config.n_clips` clips drawn without replacement (all, where there are fewer) one
    random piece is augmented `config.n_draws` times, each augmentation alone, before the
    waveform's normalisation. The interval is over the clips; NaN is left out.

    Raises:
        ValueError: no more pieces than dimensions, whose covariance has no inverse.
    """
    metrics = {
        head: whitening(clean.values[:, part], f"{data}, {model.name}, head {head}").to(device)
        for head, part in model.heads.items()
    }
    assert data.samples is not None
    rng = np.random.default_rng(config.seed)
    generator = torch.Generator(device).manual_seed(config.seed)
    source = data.dataset()
    chosen = rng.permutation(len(source))[: config.n_clips]
    batch = pieces_a_batch(config.batch, data.samples)
    rule = data.samples, data.cutting, data.short
    found: dict[str, list[Tensor]] = {augmentation.name: [] for augmentation in augmentations}
    label = f"augment {data.name} {data.split}, {model.name}"
    with track(label, len(chosen) * len(found) * config.n_draws, "pieces") as shown:
        for first in range(0, len(chosen), batch):
            clips = chosen[first : first + batch]
            pieces = [rng.choice(cut(source[int(clip)], *rule)) for clip in clips]
            waves = torch.from_numpy(np.stack(pieces)).to(device).float() / 32768
            with torch.inference_mode():
                origin = model.embed(waves)
            for augmentation in augmentations:
                draws = [
                    _moved(model, waves, origin, augmentation, metrics, generator)
                    for _ in range(config.n_draws)
                ]
                found[augmentation.name].append(torch.stack(draws).nanmean(0).cpu())
                shown.advance(len(waves) * config.n_draws)
    rows = []
    for i, (head, metric) in enumerate(metrics.items()):
        for name, parts in found.items():
            of_clips = torch.cat(parts, dim=1)[i]
            mean = of_clips.nanmean()
            variance = (of_clips - mean).square().nanmean()
            ci95 = float(1.96 * (variance / of_clips.isfinite().sum()).sqrt())
            independent = float(np.sqrt(2 * len(metric)))
            rows.append(Distance(head, name, float(mean), ci95, independent, config.protocol))
    return rows


@torch.inference_mode()
def _moved(
    model: Embedder,
    waves: Tensor,
    origin: Tensor,
    augmentation: Augmentation,
    metrics: Mapping[str, Tensor],
    generator: torch.Generator,
) -> Tensor:
    """(heads, B) float64: how far one draw of an augmentation moves each clip."""
    params = augmentation.sample(len(waves), generator, waves.device)
    moved = (model.embed(augmentation.apply(waves, params)) - origin).double()
    distances = [(moved[:, model.heads[head]] @ a).norm(dim=1) for head, a in metrics.items()]
    return torch.stack(distances)


def whitening(values: Tensor, what: str) -> Tensor:
    """(d, d) float64 A with |(f - f') A| the Mahalanobis distance of f and f'.

    Args:
        values: (P, d) clean features.
        what: they are of, for the error.

    Raises:
        ValueError: P <= d.
    """
    n, d = values.shape
    if n <= d:
        raise ValueError(
            f"{what}: {n} pieces for a covariance of {d} dimensions; expected more than {d}: give "
            "a larger set or split, or a smaller --piece"
        )
    mean, covariance = torch.zeros(d).double(), torch.zeros(d, d).double()
    parts = torch.split(values, _ROWS_AT_ONCE)  # double copies of all rows could fill the memory
    for part in parts:
        mean += part.double().sum(0) / n
    for part in parts:
        centred = part.double() - mean
        covariance += centred.T @ centred / (n - 1)
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if failed:  # dimensions that never change: the published protocol's remedy
        factor = torch.linalg.cholesky(covariance + 1e-10 * torch.eye(d))
    # S = L L', so |L^-1 v|^2 = v' S^-1 v, and A = L^-T.
    whitener: Tensor = torch.linalg.inv(factor).T.contiguous()
    return whitener
