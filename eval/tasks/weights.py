"""Feature selection: how much of few-shot classifiers' weight lies on each head of an encoder.

The second ablation of MT-SLVR (arXiv 2305.17191): the mean weight norm of the downstream linear
classifiers on the contrastive and on the predictive half, divided by their sum.

Letters: T tasks, N ways, n supports, D embedding.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from slvr.eval.charts import heatmap
from slvr.eval.classify import rows_of_supports, sgd_duals, shuffled
from slvr.eval.config import WeightsConfig
from slvr.eval.inputs import features_of, open_device, open_models, open_out, open_sets
from slvr.eval.protocol import PROTOCOLS
from slvr.eval.published import WEIGHTS
from slvr.eval.report import Report, write_report
from slvr.eval.tables import Table
from slvr.eval.tasks.few_shot import draw_episodes, training_details

_TASKS_A_BATCH = 1000


def weights(config: WeightsConfig) -> tuple[Path, Report]:
    """Return the folder of the results and the report: one row a model, set and head.

    Raises:
        ValueError: a model of a single head, or what `evaluate` refuses.
    """
    device = open_device(config.device)
    sets = open_sets(config)
    episodes = [draw_episodes(each, config, config.seed) for each in sets]
    models = open_models(config, device)
    for model in models:
        if len(model.embedder.heads) < 2:
            raise ValueError(
                f"{model.embedder.name}: one head only, so there is nothing to compare; give a "
                "model of variant split, bn, series or parallel"
            )
    out = open_out(config, "evaluate weights", sets)
    normalise = config.normalise_features or PROTOCOLS[config.protocol].features
    rows = []
    for data, drawn in zip(sets, episodes, strict=True):
        for model in models:
            features = features_of(model.embedder, data, config, device)
            supports = rows_of_supports(features.first_piece, features.n_pieces, drawn)
            shares = weight_shares(
                features.values,
                supports,
                config.n_way,
                model.embedder.heads,
                normalise == "l2",
                config.seed,
                device,
            )
            rows += [
                {"model": model.embedder.name, "set": data.name, "head": head, "share": share}
                for head, share in shares.items()
            ]
    results = pd.DataFrame(rows).assign(
        protocol=config.protocol, normalise_features=normalise, n_tasks=config.n_tasks
    )
    line = (
        f"Protocol {config.protocol} · features "
        f"{'L2-normalised' if normalise == 'l2' else 'as they are'} · sgd classifiers of "
        f"{config.n_tasks:,} {config.n_way}-way {config.k_shot}-shot tasks a set"
    )
    shares_of = results.pivot_table("share", ["set", "model"], "head", sort=False)
    names = [f"{name}, {model}" for name, model in shares_of.index]
    published = [f"{low:.2f} to {high:.2f}" for low, high in WEIGHTS.values()]
    table = Table(
        "Share of the classifiers' weight norm on each head",
        ["set and model", *WEIGHTS],
        [
            *(
                [name, *(f"{share:.3f}" for share in shares)]
                for name, shares in zip(names, shares_of[list(WEIGHTS)].to_numpy(), strict=True)
            ),
            ["published, over sets and variants", *published],
        ],
        [f"{line}."],
    )
    chart = heatmap(
        shares_of[list(WEIGHTS)].to_numpy(), names, list(WEIGHTS), ("equal shares", 0.5)
    )
    report = Report(
        "Feature selection",
        line,
        results,
        [table],
        {"Share of the weight norm": chart},
        training_details(models),
    )
    write_report(out, report)
    return out, report


def weight_shares(
    values: Tensor,
    supports: Tensor,
    n_way: int,
    heads: Mapping[str, slice],
    l2: bool,
    seed: int,
    device: torch.device,
) -> dict[str, float]:
    """Return the mean norm of the classifiers' weights on each head, divided by their sum.

    Weights are sums of supports, w_c = sum_i dual_ci x_i.

    Args:
        values: (P, D) features.
        supports: (T, n) rows of the supports, by class.
        n_way: N.
        heads: parts of the feature vector.
        l2: divide each feature vector by its length.
        seed: of the order in which SGD visits the supports.
        device: where the tasks are solved.
    """
    generator = torch.Generator().manual_seed(seed)
    total = dict.fromkeys(heads, 0.0)
    for rows in torch.split(supports, _TASKS_A_BATCH):
        x = values[rows].to(device)
        if l2:
            x = F.normalize(x, dim=-1)
        order = shuffled(len(rows), n_way, rows.shape[1], generator).to(device)
        dual = sgd_duals(x @ x.mT, order)
        for head, part in heads.items():
            w = dual @ x[..., part]
            total[head] += float(w.norm(dim=-1).sum(dtype=torch.float64))
    return {head: norm / sum(total.values()) for head, norm in total.items()}
