"""A classifier over all training clips of a labelled set, on top of frozen features.

Linear or with one hidden layer; accuracy where every clip has one label, otherwise the mean over
the classes of the average precision (mAP), as for AudioSet.

Letters: C clips, D embedding, K classes.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor, nn
from torch.nn import functional as F

from slvr.eval.baselines import with_baselines
from slvr.eval.charts import heatmap
from slvr.eval.config import Compared, check_least
from slvr.eval.embed import Features
from slvr.eval.models import EvaluatedModel
from slvr.eval.sets import EvaluatedSet
from slvr.eval.tables import Table
from slvr.eval.tasks.contract import Presented, Task

_BATCH = 256


@dataclass(frozen=True)
class Result:
    """How well a classifier does on the test clips."""

    metric: str
    value: float
    n_train: int
    n_test: int
    n_classes: int
    protocol: str
    hidden: int


class Probe(Task):
    """What a simple classifier finds in the features."""

    NAME = "probe"

    @dataclass(frozen=True, kw_only=True)
    class Config(Compared):
        """A classifier over all training clips: accuracy; mAP where clips have several labels."""

        train_split: str = "train"
        """Split whose clips the classifier learns from."""
        hidden: int = 0
        """Units of the one hidden layer; 0 for a linear classifier."""
        epochs: int = 50
        """Passes over the training clips, at least 1."""
        lr: float = 1e-3
        """Greatest learning rate of AdamW, above 0; it anneals to 0 along a cosine."""

        def __post_init__(self) -> None:
            super().__post_init__()
            check_least(self, hidden=0, epochs=1)
            if not self.lr > 0:
                raise ValueError(f"--lr {self.lr}: out of range; expected more than 0")

    def __init__(self, config: Config) -> None:
        self.config = config

    def check(self, sets: Sequence[EvaluatedSet], models: Sequence[EvaluatedModel]) -> None:
        """Looks at the labels of both splits."""
        for data in sets:
            self._both(data)

    def splits(self, data: EvaluatedSet) -> tuple[str, ...]:
        """The split that is learnt from, and the one that is evaluated."""
        return self.config.train_split, data.split

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
    ) -> list[Result]:
        """One row: accuracy, or mAP where a clip has several labels."""
        y_train, y_test = self._both(data)
        single = bool((y_train.sum(1) == 1).all() and (y_test.sum(1) == 1).all())
        x_train, x_test = (features[split].clip_means.to(device) for split in self.splits(data))
        scores = classify(x_train, y_train.to(device), x_test, single, self.config).cpu()
        value = accuracy(scores, y_test) if single else mean_precision(scores, y_test)
        metric = "accuracy" if single else "mAP"
        counts = len(y_train), len(y_test), y_train.shape[1]
        return [Result(metric, value, *counts, self.config.protocol, self.config.hidden)]

    def present(self, results: pd.DataFrame) -> Presented:
        """A row a set, a column a model."""
        config = self.config
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
        )
        chart = heatmap(100 * wide.to_numpy(), names, list(wide.columns))
        return Presented("Probe", line, [table], {"%": chart})

    def _both(self, test: EvaluatedSet) -> tuple[Tensor, Tensor]:
        """Targets of the clips that are learnt from and of those that are evaluated."""
        return _targets(test.of_split(self.config.train_split), test)


def classify(
    x_train: Tensor, y_train: Tensor, x_test: Tensor, single: bool, config: Probe.Config
) -> Tensor:
    """The scores (C, K) of the test clips after training on the others.

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
    there = y.any(0)
    return float(average_precision_score(y[:, there].numpy(), scores[:, there].numpy()))


def _targets(train: EvaluatedSet, test: EvaluatedSet) -> tuple[Tensor, Tensor]:
    """(C, K) of 0 and 1 for the clips of both; the classes are those of the training clips.

    Raises:
        ValueError: the same split twice, clips without a label, or fewer than two classes.
    """
    if train.split == test.split:
        others = [split for split in train.directory.splits if split != train.split]
        raise ValueError(
            f"{train}: both learnt from and tested on; "
            + (
                f"choose another of {', '.join(others)} with --train-split or --split"
                if others
                else "it has no other split, choose a set that has two"
            )
        )
    labels = [each.labels() for each in (train, test)]
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
