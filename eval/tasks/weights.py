"""Feature selection: how much of few-shot classifiers' weight lies on each head of an encoder.

The second ablation of MT-SLVR (arXiv 2305.17191): the mean weight norm of the downstream linear
classifiers on the contrastive and on the predictive half, divided by their sum.

Letters: T episodes, N ways, n supports, D embedding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from slvr.eval.baselines import untrained
from slvr.eval.charts import heatmap
from slvr.eval.classify import sgd_duals, shuffled
from slvr.eval.config import FewShotTasks
from slvr.eval.embed import Features
from slvr.eval.episodes import Episodes
from slvr.eval.models import EvaluatedModel
from slvr.eval.protocol import PROTOCOLS
from slvr.eval.published import WEIGHTS
from slvr.eval.sets import EvaluatedSet
from slvr.eval.supports import Supports
from slvr.eval.tables import Table
from slvr.eval.tasks.contract import Presented, Task
from slvr.eval.tasks.few_shot import draw_episodes

_EPISODES_A_BATCH = 1000


@dataclass(frozen=True)
class Share:
    """What one head has of the classifiers' weight norm."""

    head: str
    share: float
    protocol: str
    normalise_features: str
    n_tasks: int


class Weights(Task):
    """What few-shot classifiers make of each head."""

    NAME = "weights"

    @dataclass(frozen=True, kw_only=True)
    class Config(FewShotTasks):
        """Share of few-shot classifiers' weight norm that lies on each head."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._normalise = config.normalise_features or PROTOCOLS[config.protocol].features
        self._drawn: dict[str, Episodes] = {}

    def check(self, sets: Sequence[EvaluatedSet], models: Sequence[EvaluatedModel]) -> None:
        """Draws the episodes of each set, and looks for two heads in each model."""
        self._drawn = {data.name: draw_episodes(data, self.config) for data in sets}
        for model in models:
            if len(model.embedder.heads) < 2:
                raise ValueError(
                    f"{model.name}: one head only, so there is nothing to compare; give a model of "
                    "variant split, bn, series or parallel"
                )

    def contenders(
        self, models: Sequence[EvaluatedModel], device: torch.device
    ) -> list[EvaluatedModel]:
        """The models and their networks untrained: other baselines have one head."""
        found = untrained(models, self.config, device) if self.config.baselines else []
        return [*models, *found]

    def score(
        self,
        model: EvaluatedModel,
        data: EvaluatedSet,
        features: Mapping[str, Features],
        device: torch.device,
    ) -> list[Share]:
        """One row a head."""
        config, of_pieces = self.config, features[data.split]
        supports = Supports(
            of_pieces.values,
            of_pieces.first_piece,
            of_pieces.n_pieces,
            self._drawn[data.name],
            config.support or PROTOCOLS[config.protocol].support,
            self._normalise == "l2",
        )
        heads = model.embedder.heads
        shares = weight_shares(supports, config.n_tasks, config.n_way, heads, config.seed, device)
        return [
            Share(head, share, config.protocol, self._normalise, config.n_tasks)
            for head, share in shares.items()
        ]

    def present(self, results: pd.DataFrame) -> Presented:
        """A row a model on a set, a column a head, and what is published."""
        config = self.config
        line = (
            f"Protocol {config.protocol} · features "
            f"{'L2-normalised' if self._normalise == 'l2' else 'as they are'} · sgd classifiers of "
            f"{config.n_tasks:,} {config.n_way}-way {config.k_shot}-shot tasks a set"
        )
        heads = list(WEIGHTS)
        shares = results.pivot_table("share", ["set", "model"], "head", sort=False)[heads]
        names = [f"{name}, {model}" for name, model in shares.index]
        published = [f"{100 * low:.0f} to {100 * high:.0f}" for low, high in WEIGHTS.values()]
        table = Table(
            "Share of the classifiers' weight norm on each head, %",
            ["set and model", *heads],
            [
                *(
                    [name, *(f"{100 * share:.1f}" for share in of_model)]
                    for name, of_model in zip(names, shares.to_numpy(), strict=True)
                ),
                ["published, over sets and variants", *published],
            ],
        )
        chart = heatmap(100 * shares.to_numpy(), names, heads, ("equal shares", 50))
        return Presented("Feature selection", line, [table], {"Share of the weight norm, %": chart})


def weight_shares(
    supports: Supports,
    n_tasks: int,
    n_way: int,
    heads: Mapping[str, slice],
    seed: int,
    device: torch.device,
) -> dict[str, float]:
    """The mean norm of the classifiers' weights on each head, divided by their sum.

    Weights are sums of supports, w_c = sum_i dual_ci x_i.

    Args:
        supports: of all episodes.
        n_tasks: T.
        n_way: N.
        heads: parts of the feature vector.
        seed: of the order in which SGD visits the supports.
        device: where they are solved.
    """
    generator = torch.Generator().manual_seed(seed)
    total = dict.fromkeys(heads, 0.0)
    for tasks in torch.split(torch.arange(n_tasks), _EPISODES_A_BATCH):
        x = supports.vectors(tasks).to(device)
        order = shuffled(len(tasks), n_way, supports.n, generator).to(device)
        dual = sgd_duals(x @ x.mT, order)
        for head, part in heads.items():
            w = dual @ x[..., part]
            total[head] += float(w.norm(dim=-1).sum(dtype=torch.float64))
    return {head: norm / sum(total.values()) for head, norm in total.items()}
