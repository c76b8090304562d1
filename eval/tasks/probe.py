"""A classifier over all training clips of a labelled set, on top of frozen features.

Linear or with one hidden layer; accuracy where every clip has one label, otherwise the mean over
the classes of the average precision (mAP), as for AudioSet.

Letters: C clips, D embedding, K classes.
"""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slvr.eval.charts import heatmap
from slvr.eval.config import ProbeConfig
from slvr.eval.inputs import (
    EvaluatedSet,
    features_of,
    open_device,
    open_models,
    open_out,
    open_sets,
)
from slvr.eval.precision import average_precision
from slvr.eval.report import Report, write_report
from slvr.eval.tables import Table
from slvr.eval.tasks.few_shot import training_details

_BATCH = 256


def probe(config: ProbeConfig) -> tuple[Path, Report]:
    """Return the folder of the results and the report: one row a model and set.

    Raises:
        ValueError: splits that cannot be used, or what `evaluate` refuses.
    """
    device = open_device(config.device)
    tested = open_sets(config)
    learnt = open_sets(dataclasses.replace(config, split=config.train_split))
    targets = [_targets(*pair) for pair in zip(learnt, tested, strict=True)]
    models = open_models(config, device)
    out = open_out(config, "evaluate probe", tested)
    rows = []
    for train, test, (y_train, y_test) in zip(learnt, tested, targets, strict=True):
        single = bool((y_train.sum(1) == 1).all() and (y_test.sum(1) == 1).all())
        for model in models:
            x_train, x_test = (
                features_of(model.embedder, data, config, device).clip_means.to(device)
                for data in (train, test)
            )
            scores = classify(x_train, y_train.to(device), x_test, single, config).cpu()
            value = accuracy(scores, y_test) if single else mean_precision(scores, y_test)
            rows.append(
                {
                    "model": model.embedder.name,
                    "set": test.name,
                    "metric": "accuracy" if single else "mAP",
                    "value": value,
                    "n_train": len(y_train),
                    "n_test": len(y_test),
                    "n_classes": y_train.shape[1],
                }
            )
    results = pd.DataFrame(rows).assign(protocol=config.protocol, hidden=config.hidden)
    kind = f"one hidden layer of {config.hidden}" if config.hidden else "linear classifier"
    line = (
        f"Protocol {config.protocol} · {kind} on clips' mean features, standardised · "
        f"{config.epochs} epochs of AdamW, learning rate {config.lr:g}"
    )
    wide = results.pivot_table("value", ["set", "metric"], "model", sort=False)
    names = [f"{name}, {metric}" for name, metric in wide.index]
    table = Table(
        "Classifiers on frozen features, %",
        ["set", *wide.columns],
        [
            [name, *(f"{100 * value:.2f}" for value in values)]
            for name, values in zip(names, wide.to_numpy(), strict=True)
        ],
        [f"{line}."],
    )
    chart = heatmap(100 * wide.to_numpy(), names, list(wide.columns))
    report = Report("Probe", line, results, [table], {"%": chart}, training_details(models))
    write_report(out, report)
    return out, report


def classify(
    x_train: Tensor, y_train: Tensor, x_test: Tensor, single: bool, config: ProbeConfig
) -> Tensor:
    """Return the scores (C, K) of the test clips after training on the others.

    Args:
        x_train: (C', D) features.
        y_train: (C', K) of 0 and 1.
        x_test: (C, D).
        single: one label a clip: cross-entropy, otherwise binary cross-entropy of each class.
        config: hidden units, epochs, learning rate and seed.
    """
    mean, std = x_train.mean(0), x_train.std(0, correction=0).clamp_min(1e-8)
    x_train, x_test = (x_train - mean) / std, (x_test - mean) / std
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        sizes = [x_train.shape[1], *([config.hidden] if config.hidden else []), y_train.shape[1]]
        layers = [nn.Linear(*pair) for pair in itertools.pairwise(sizes)]
        order = [torch.randperm(len(x_train)) for _ in range(config.epochs)]
    network = layers[0] if len(layers) == 1 else nn.Sequential(layers[0], nn.ReLU(), layers[1])
    network = network.to(x_train.device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.lr)
    n_steps = config.epochs * -(-len(x_train) // _BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_steps)
    loss_of = F.cross_entropy if single else F.binary_cross_entropy_with_logits
    for epoch in order:
        for rows in torch.split(epoch.to(x_train.device), _BATCH):
            optimiser.zero_grad()
            loss = loss_of(network(x_train[rows]), y_train[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    with torch.inference_mode():
        scores: Tensor = network(x_test)
    return scores


def accuracy(scores: Tensor, y: Tensor) -> float:
    """Share of clips (C, K) whose highest score is that of their label."""
    return float((scores.argmax(1) == y.argmax(1)).double().mean())


def mean_precision(scores: Tensor, y: Tensor) -> float:
    """Mean average precision over the classes that some clip has."""
    each = [
        average_precision(of_class.numpy(), has.numpy().astype(bool))
        for of_class, has in zip(scores.T, y.T, strict=True)
        if has.any()
    ]
    return float(np.mean(each))


def _targets(train: EvaluatedSet, test: EvaluatedSet) -> tuple[Tensor, Tensor]:
    """Return (C, K) of 0 and 1 for the clips of both; the classes are those of the training clips.

    Raises:
        ValueError: the same split twice, clips without a label, or fewer than two classes.
    """
    if train.split == test.split:
        raise ValueError(
            f"{train}: both learnt from and tested on; choose another of "
            f"{', '.join(train.directory.splits)} with --train-split or --split"
        )
    labels = [list(each.directory.clips(each.split)["labels"]) for each in (train, test)]
    names = sorted({label for of_clip in labels[0] for label in of_clip})
    if len(names) < 2:
        raise ValueError(f"{train}: {len(names)} class; expected two or more, choose another set")
    unknown = sorted({label for of_clip in labels[1] for label in of_clip} - set(names))
    if unknown:
        raise ValueError(
            f"{test}: label {unknown[0]} is of no clip in split {train.split!r} ({len(unknown)} "
            "such labels); choose splits of the same classes"
        )
    index = {name: k for k, name in enumerate(names)}
    targets = []
    for data, of_clips in zip((train, test), labels, strict=True):
        y = torch.zeros(len(of_clips), len(names))
        for i, of_clip in enumerate(of_clips):
            y[i, [index[label] for label in of_clip]] = 1
        if (y.sum(1) == 0).any():
            raise ValueError(f"{data}: clips without a label; choose a split where all have one")
        targets.append(y)
    return targets[0], targets[1]
