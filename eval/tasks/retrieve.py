"""Query by example: how well cosine similarity finds clips of the same class.

The protocol of Fonseca et al., WASPAA 2021, arXiv 2105.02132, section 4: for each class about 100
clips that have it and 100 that have not; all pairs of the former against all pairs across.

Letters: C clips, D embedding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from torch import Tensor
from torch.nn import functional as F

from slvr.eval.baselines import with_baselines
from slvr.eval.charts import heatmap
from slvr.eval.config import Compared, check_least
from slvr.eval.embed import Features
from slvr.eval.models import EvaluatedModel
from slvr.eval.sets import EvaluatedSet
from slvr.eval.tables import Table
from slvr.eval.tasks.contract import Presented, Task


@dataclass(frozen=True)
class Precision:
    """How early clips of a class come."""

    class_: str
    average_precision: float
    chance: float
    """Share of relevant pairs."""
    n_positive: int
    """Clips drawn that have the class."""
    n_negative: int
    protocol: str


class Retrieve(Task):
    """Which clips are nearest to a clip."""

    NAME = "retrieve"

    @dataclass(frozen=True, kw_only=True)
    class Config(Compared):
        """Query by example: average precision of cosine similarity, by class and mean."""

        n_positive: int = 100
        """Clips of a class, at most; at least 2."""
        n_negative: int = 100
        """Clips of other classes beside them, at most; at least 1."""

        def __post_init__(self) -> None:
            super().__post_init__()
            check_least(self, n_positive=2, n_negative=1)

    def __init__(self, config: Config) -> None:
        self.config = config

    def check(self, sets: Sequence[EvaluatedSet], models: Sequence[EvaluatedModel]) -> None:
        """Looks for classes that can be told apart."""
        for data in sets:
            if not class_members(data.labels()):
                raise ValueError(
                    f"{data}: no class that two clips have and another has not; choose a labelled "
                    "set of several classes"
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
    ) -> list[Precision]:
        """One row a class."""
        return class_precisions(features[data.split].clip_means, data.labels(), self.config)

    def present(self, results: pd.DataFrame) -> Presented:
        """The mean over the classes of each set, then every class; chance beside."""
        config = self.config
        line = (
            f"Protocol {config.protocol} · cosine similarity of clips' mean features · up to "
            f"{config.n_positive} clips of a class and {config.n_negative} of others"
        )
        wide = results.pivot_table("average_precision", ["set", "class"], "model", sort=False)
        chance = results.groupby(["set", "class"], sort=False)["chance"].first()
        both = wide.assign(chance=chance)
        by_set = both.groupby(level="set", sort=False)
        table = Table(
            "Mean over the classes of the average precision, %",
            ["set", *both.columns],
            [
                [str(name), *(f"{100 * value:.2f}" for value in values)]
                for name, values in by_set.mean().iterrows()
            ],
            [
                "Chance: the share of hits among all pairs, 33.11 with 100 clips of a class and "
                "100 of others. Published values of this protocol are not known."
            ],
        )
        by_class = Table(
            "Average precision by class, %",
            ["set and class", *both.columns],
            [
                [f"{name}, {label}", *(f"{100 * value:.2f}" for value in values)]
                for (name, label), values in zip(both.index, both.to_numpy(), strict=True)
            ],
        )
        charts = {
            f"{name}: average precision by class, %": heatmap(
                100 * values.to_numpy(), [label for _, label in values.index], list(wide.columns)
            )
            for name, values in wide.groupby(level="set", sort=False)
        }
        return Presented("Query by example", line, [table, by_class], charts)


def class_members(labels: list[list[str]]) -> dict[str, NDArray[np.int64]]:
    """The clips of each class that at least two clips have and at least one has not."""
    members: dict[str, list[int]] = {}
    for i, of_clip in enumerate(labels):
        for label in of_clip:
            members.setdefault(label, []).append(i)
    return {
        name: np.array(members[name])
        for name in sorted(members)
        if 2 <= len(members[name]) < len(labels)
    }


def class_precisions(
    means: Tensor, labels: list[list[str]], config: Retrieve.Config
) -> list[Precision]:
    """The average precision of each class.

    Args:
        means: (C, D) features.
        labels: labels of each clip.
        config: how many clips are drawn, and the seed.
    """
    found = []
    for number, (name, members) in enumerate(class_members(labels).items()):
        rng = np.random.default_rng([config.seed, number])
        others = np.ones(len(labels), dtype=bool)
        others[members] = False
        positive = rng.permutation(members)[: config.n_positive]
        negative = rng.permutation(np.flatnonzero(others))[: config.n_negative]
        precision, chance = query_precision(means[positive], means[negative])
        drawn = len(positive), len(negative)
        found.append(Precision(name, precision, chance, *drawn, config.protocol))
    return found


def query_precision(positive: Tensor, negative: Tensor) -> tuple[float, float]:
    """The average precision of one class, and chance, which is the share of hits.

    Ranked are all pairs of clips with the class, which are the hits, and all pairs across: hits are
    n (n - 1) / 2 of n (n - 1) / 2 + n m, which is 0.331 of 100 and 100 clips.

    Args:
        positive: (n, D) features of clips that have it.
        negative: (m, D) of clips that have it not.
    """
    having, lacking = (F.normalize(rows, dim=1) for rows in (positive, negative))
    among = (having @ having.T).numpy()[np.triu_indices(len(positive), 1)]
    across = (having @ lacking.T).numpy().ravel()
    relevant = np.arange(len(among) + len(across)) < len(among)
    precision = average_precision_score(relevant, np.append(among, across))
    return float(precision), float(relevant.mean())
