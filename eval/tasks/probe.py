"""A classifier over all training clips of a labelled set, on top of frozen features.

Linear or with one hidden layer; accuracy where every clip has one label. Where clips have several
it is the shallow classifier of Google's AudioSet papers (Jansen et al., ICASSP 2018; Fonseca et
al., WASPAA 2021, arXiv 2105.02132): it learns from pieces, each of which has the labels of its
clip, a clip's probabilities are the mean of those of its pieces, and the score is the mean over the
classes of the average precision (mAP), with the mean area under the ROC and d' beside it.

Letters: C clips, P pieces, D embedding, K classes.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slvr.eval.baselines import with_baselines
from slvr.eval.charts import heatmap
from slvr.eval.config import Compared, check_least
from slvr.eval.embed import Features
from slvr.eval.models import EvaluatedModel
from slvr.eval.multilabel import multilabel_score
from slvr.eval.published import AUDIOSET_MAP
from slvr.eval.sets import EvaluatedSet
from slvr.eval.tables import PUBLISHED, Table
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
    n_classes_left_out: int
    """Classes that no test clip has: the means over classes do not count them."""
    protocol: str
    hidden: int
    set_recipe: str
    train_split: str


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
        """One row: accuracy; or mAP, mean AUC and d' where a clip has several labels."""
        y_train, y_test = self._both(data)
        train, test = (features[split] for split in self.splits(data))
        n_left_out = int((y_test.sum(0) == 0).sum())
        if bool((y_train.sum(1) == 1).all() and (y_test.sum(1) == 1).all()):
            x_train, x_test = train.clip_means.to(device), test.clip_means.to(device)
            scores = classify(x_train, y_train.to(device), x_test, True, self.config).cpu()
            values = {"accuracy": accuracy(scores, y_test)}
        else:
            said = clip_probabilities(train, y_train, test, self.config, device)
            score = multilabel_score(said.numpy(), y_test.numpy())
            values = {"mAP": score.mean_precision, "mean AUC": score.mean_auc, "d'": score.d_prime}
        about = len(y_train), len(y_test), y_train.shape[1], n_left_out
        how = self.config.protocol, self.config.hidden
        which = data.directory.manifest.recipe, self.config.train_split
        return [Result(metric, value, *about, *how, *which) for metric, value in values.items()]

    def present(self, results: pd.DataFrame) -> Presented:
        """A row a set, a column a model."""
        config = self.config
        kind = f"one hidden layer of {config.hidden}" if config.hidden else "linear classifier"
        line = (
            f"Protocol {config.protocol} · {kind} on features, standardised: of clips' means where "
            "each has one label, else of pieces, whose probabilities are averaged over a clip · "
            f"{config.epochs} epochs of AdamW, learning rate {config.lr:g}"
        )
        wide = results.pivot_table("value", ["set", "metric"], "model", sort=False)
        names = [f"{name}, {metric}" for name, metric in wide.index]
        scale = [1 if metric == "d'" else 100 for _, metric in wide.index]
        values = wide.to_numpy() * np.array(scale)[:, None]
        rows = [
            [name, *(f"{value:.2f}" for value in row)]
            for name, row in zip(names, values, strict=True)
        ]
        head = ["set", *wide.columns]
        table = Table("Classifiers on frozen features, %; d' as it is", head, rows, _left(results))
        tables = [table, *_published(results)]
        shown = [i for i, (_, metric) in enumerate(wide.index) if metric != "d'"]
        chart = heatmap(values[shown], [names[i] for i in shown], list(wide.columns))
        return Presented("Probe", line, tables, {"%": chart})

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


def clip_probabilities(
    train: Features, y_train: Tensor, test: Features, config: Probe.Config, device: torch.device
) -> Tensor:
    """(C, K): the mean over a clip's pieces of what a classifier of pieces says.

    Probabilities, not logits: one piece that is sure outweighs several that are not.

    Args:
        train: pieces that are learnt from.
        y_train: (C', K) of 0 and 1 of their clips.
        test: pieces of the C clips.
        config: as of `classify`.
        device: where to compute.
    """
    n_pieces = torch.from_numpy(train.n_pieces)
    y = y_train.repeat_interleave(n_pieces, dim=0).to(device)
    said = classify(train.values.to(device), y, test.values.to(device), False, config)
    lengths = torch.from_numpy(test.n_pieces)
    return torch.segment_reduce(said.sigmoid().cpu(), "mean", lengths=lengths, axis=0)


def _left(results: pd.DataFrame) -> list[str]:
    """Which means leave classes out, a sentence each."""
    counts = results.groupby("set", sort=False)[["n_classes_left_out", "n_classes"]].first()
    return [
        f"{name}: {row.n_classes_left_out} of {row.n_classes} classes are of no test clip and left "
        "out of the means."
        for name, row in counts.iterrows()
        if row.n_classes_left_out
    ]


def _published(results: pd.DataFrame) -> list[Table]:
    """Published mAP on AudioSet, where that was evaluated, with what differs."""
    ours = results[(results["set_recipe"] == "audioset") & (results["metric"] == "mAP")]
    if ours.empty:
        return []
    rows = [[f"{row.model}, {row.set}", f"{row.value:.3f}"] for row in ours.itertuples()]
    rows += [[f"{name}{PUBLISHED}*", f"{value:.3f}"] for name, value in AUDIOSET_MAP.items()]
    first = ours.iloc[0]
    note = (
        "* Not the same measurement: the published classifier learnt from about 2 million clips of "
        f"the authors' own version of AudioSet, ours from {first.n_train:,} clips of split "
        f"{first.train_split} (balanced-train mAP where that is the balanced set), and clips of "
        "both have gone from YouTube since."
    )
    return [Table("mAP beside the published results", ["model", "mAP"], rows, [note])]


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
