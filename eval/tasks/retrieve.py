"""Query by example: how well cosine similarity finds clips of the same class.

The protocol of Fonseca et al., WASPAA 2021, arXiv 2105.02132, section 4: for each class about 100
clips that have it and 100 that have not; all pairs of the former against all pairs across.

Letters: C clips, D embedding.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from slvr.eval.charts import heatmap
from slvr.eval.config import RetrieveConfig
from slvr.eval.inputs import features_of, open_device, open_models, open_out, open_sets
from slvr.eval.precision import average_precision
from slvr.eval.report import Report, write_report
from slvr.eval.tables import Table
from slvr.eval.tasks.few_shot import training_details


def retrieve(config: RetrieveConfig) -> tuple[Path, Report]:
    """Return the folder of the results and the report: one row a model, set and class.

    Raises:
        ValueError: a set without two classes that can be told apart, or what `evaluate` refuses.
    """
    device = open_device(config.device)
    sets = open_sets(config)
    labels = [list(each.directory.clips(each.split)["labels"]) for each in sets]
    for data, of_clips in zip(sets, labels, strict=True):
        if not class_members(of_clips):
            raise ValueError(
                f"{data}: no class that two clips have and another has not; choose a labelled set "
                "of several classes"
            )
    models = open_models(config, device)
    out = open_out(config, "evaluate retrieve", sets)
    rows = []
    for data, of_clips in zip(sets, labels, strict=True):
        for model in models:
            means = features_of(model.embedder, data, config, device).clip_means
            found = class_precisions(means, of_clips, config)
            rows += [{"model": model.embedder.name, "set": data.name, **each} for each in found]
    results = pd.DataFrame(rows).assign(protocol=config.protocol)
    line = (
        f"Protocol {config.protocol} · cosine similarity of clips' mean features · up to "
        f"{config.n_positive} clips of a class and {config.n_negative} of others"
    )
    wide = results.pivot_table("average_precision", ["set", "class"], "model", sort=False)
    chance = results.groupby(["set", "class"], sort=False)["chance"].first()
    both = wide.assign(chance=chance)
    table = Table(
        "Mean over the classes of the average precision, %",
        ["set", *both.columns],
        [
            [str(name), *(f"{100 * value:.2f}" for value in values)]
            for name, values in both.groupby(level="set", sort=False).mean().iterrows()
        ],
        [f"{line}."],
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
        f"{name}: average precision by class": heatmap(
            values.to_numpy(), [label for _, label in values.index], list(values.columns)
        )
        for name, values in both.groupby(level="set", sort=False)
    }
    report = Report(
        "Query by example", line, results, [table, by_class], charts, training_details(models)
    )
    write_report(out, report)
    return out, report


def class_members(labels: list[list[str]]) -> dict[str, NDArray[np.int64]]:
    """Return the clips of each class that at least two clips have and at least one has not."""
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
    means: torch.Tensor, labels: list[list[str]], config: RetrieveConfig
) -> list[dict[str, object]]:
    """Return class, average precision, the share of relevant pairs (chance), and the clips drawn.

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
        having, lacking = (F.normalize(means[rows], dim=1) for rows in (positive, negative))
        among = (having @ having.T).numpy()[np.triu_indices(len(positive), 1)]
        across = (having @ lacking.T).numpy().ravel()
        relevant = np.arange(len(among) + len(across)) < len(among)
        found.append(
            {
                "class": name,
                "average_precision": average_precision(np.append(among, across), relevant),
                "chance": float(relevant.mean()),
                "n_positive": len(positive),
                "n_negative": len(negative),
            }
        )
    return found
