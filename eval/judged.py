"""A frozen model judged on a task of the HEAR benchmark: train, select, test.

Letters: N rows (clips, or frames of clips), D embedding, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slvr.eval.embed import Features
from slvr.eval.event_scores import event_score, segment_scores
from slvr.eval.grid import (
    GridSettings,
    Trained,
    best_of,
    kit_points,
    probabilities,
    train_grid,
)
from slvr.eval.hear_config import Predicted
from slvr.eval.hear_scores import class_scores, multilabel_scores, pitches_of
from slvr.eval.predictors import GridPoint
from slvr.eval.sets import EvaluatedSet
from slvr.eval.sound_events import (
    Events,
    PostProcessing,
    annotated,
    events_of_frames,
    frame_labels,
)
from slvr.shards.clip import Event

ONSET_F, PRECISION, RECALL = "onset_f", "onset_precision", "onset_recall"
ERROR_RATE = "segment_1s_er"


@dataclass(frozen=True)
class Fold:
    """Which splits are learnt from, selected on and tested on."""

    train: tuple[str, ...]
    valid: str
    test: str


def folds_of(data: EvaluatedSet, config: Predicted) -> list[Fold]:
    """One, or of a set of k folds k: test fold i, valid i + 1, the rest to learn from.

    Raises:
        ValueError: fewer than three folds.
    """
    splits = data.directory.splits
    if not all(split.startswith("fold") for split in splits):
        return [Fold((config.train_split,), config.valid_split, data.split)]
    if len(splits) < 3:
        raise ValueError(
            f"{data.directory.path}: {len(splits)} folds; expected three or more, to learn "
            "from, to select on and to test on"
        )
    turns = [splits[i:] + splits[:i] for i in range(len(splits))]
    return [Fold(tuple(sorted(others)), valid, test) for test, valid, *others in turns]


@dataclass(frozen=True)
class Question:
    """What is asked of the clips of a set.

    Attributes:
        labels: names of the K classes, by number.
        events: whether it is asked when something is heard, not only what.
        single: whether every clip has one class.
    """

    labels: tuple[str, ...]
    events: bool
    single: bool

    @cached_property
    def index(self) -> dict[str, int]:
        """Name -> number."""
        return {label: k for k, label in enumerate(self.labels)}

    @property
    def pitches(self) -> tuple[int, ...] | None:
        """The classes as MIDI numbers, where each clip has one and they are numbers."""
        return pitches_of(self.labels) if self.single and not self.events else None


def question_of(
    parts: Sequence[EvaluatedSet], kind: Literal["scene", "event"] | None = None
) -> Question:
    """What the splits of a set ask.

    Args:
        parts: all splits.
        kind: whole clips, or sound events; None: by the set's record of its task, else whole clips
            where all have labels.

    Raises:
        ValueError: no labels, or clips without one in a task of whole clips.
    """
    manifest, where = parts[0].directory.manifest, parts[0].directory.path
    about = manifest.extra.get("hear", {})
    labels = [of_clip for part in parts for of_clip in part.labels()]
    spans = [of_clip for part in parts for of_clip in part.clips()["events"]]
    if kind is None:
        kind = about.get("embedding_type", "scene" if all(labels) else "event")
    if kind == "event":
        there = {event["label"] for of_clip in spans for event in of_clip}
    else:
        there = {label for of_clip in labels for label in of_clip}
    if len(there) < (1 if kind == "event" else 2):
        what = "events" if kind == "event" else "clips with labels"
        raise ValueError(
            f"{where}: {len(there)} classes of {what}, so there is nothing to learn; choose "
            "another set, or of `evaluate hear`, `events` and `pitch` the one that it is for"
        )
    named = tuple(manifest.labels)
    order = named if there <= set(named) else tuple(_in_order(there))
    if kind == "event":
        return Question(order, events=True, single=False)
    single = about.get("prediction_type", "multiclass") == "multiclass"
    return Question(order, events=False, single=single and all(len(row) == 1 for row in labels))


@dataclass(frozen=True)
class Split:
    """The features of a split and what is true of it.

    Attributes:
        x: (N, D).
        y: (N,) classes, or (N, K) of 0 and 1.
        reference: the events of its clips; None of a task of whole clips.
        times_ms: stamps of the frames of each clip.
    """

    x: Tensor
    y: Tensor
    reference: Events | None = None
    times_ms: tuple[NDArray[np.float64], ...] = ()

    def of_files(self, said: NDArray[Any]) -> list[NDArray[Any]]:
        """Rows of each clip."""
        ends = np.cumsum([len(times) for times in self.times_ms])
        return np.split(said, ends[:-1])


@dataclass(frozen=True)
class Judgement:
    """How a model does on one fold with one seed.

    Attributes:
        fold: which.
        seed: which.
        best: the predictor that was selected.
        scores: name -> value on the test split, the selecting one first.
        said: (N, K) probabilities of the test split.
        test: that split.
        estimated: events that were found.
        ceiling: onset F of perfect frames at these stamps; NaN without events.
    """

    fold: Fold
    seed: int
    best: Trained
    scores: Mapping[str, float]
    said: NDArray[Any]
    test: Split
    estimated: Events | None = None
    ceiling: float = float("nan")


def split_of(data: EvaluatedSet, features: Features, question: Question) -> Split:
    """A split with its features, clips or frames."""
    clips = data.clips()
    k = len(question.labels)
    if question.events:
        spans = [[Event(**event) for event in row] for row in clips["events"]]
        reference = annotated(spans, question.index)
        ends = features.n_pieces.cumsum()[:-1]
        times = tuple(np.split(features.pieces["time_ms"].to_numpy(), ends))
        heard = [frame_labels(reference, i, at, k) for i, at in enumerate(times)]
        y = torch.from_numpy(np.concatenate(heard)).float()
        return Split(features.values, y, reference, times)
    rows = [[question.index[label] for label in labels] for labels in clips["labels"]]
    if question.single:
        return Split(features.clip_means, torch.tensor([row[0] for row in rows]))
    y = torch.zeros(len(rows), k)
    for i, row in enumerate(rows):
        y[i, row] = 1
    return Split(features.clip_means, y)


def judge(
    splits: Mapping[str, Split],
    folds: Sequence[Fold],
    question: Question,
    config: Predicted,
    task: str,
    device: torch.device,
) -> list[Judgement]:
    """Every fold with every seed; of several folds the first one alone searches the grid."""
    found = []
    for seed in range(config.seed, config.seed + config.seeds):
        settings = settings_of(config, task, seed)
        points = kit_points(config.grid_points)
        if config.predictor == "linear":
            points = [GridPoint(0, config.lr, "xavier_uniform")]
        for fold in folds:
            found.append(_judge_fold(splits, fold, question, points, settings, config, device))
            points = [found[-1].best.point]
    return found


def settings_of(config: Predicted, task: str, seed: int) -> GridSettings:
    """How predictors of a task are trained."""
    max_epochs = config.max_epochs or (250 if config.predictor == "linear" else 500)
    check_every = config.check_every or (10 if "dcase2016_task2" in task else 3)
    return GridSettings(
        hidden_dim=config.hidden_dim,
        max_epochs=max_epochs,
        check_every=min(check_every, max_epochs),  # a training ends with a validation at least
        patience=config.patience,
        seed=seed,
    )


def processings(config: Predicted) -> list[PostProcessing]:
    """Those that the validation split chooses from; of equal ones the longest is taken."""
    longest_first = sorted(set(config.least_ms), reverse=True)
    return [PostProcessing(config.threshold, config.median_filter_ms, ms) for ms in longest_first]


def event_scores(reference: Events, estimated: Events, k: int, onset_s: float) -> dict[str, float]:
    """Onset F with precision and recall, and the error rate of segments."""
    score = event_score(reference, estimated, onset_s)
    rate = segment_scores(reference, estimated, k)[0].error_rate
    values = score.f_measure, score.precision, score.recall, rate
    return dict(zip((ONSET_F, PRECISION, RECALL, ERROR_RATE), values, strict=True))


def scored(
    split: Split, said: NDArray[Any], question: Question, config: Predicted
) -> tuple[dict[str, float], PostProcessing | None]:
    """The scores of probabilities; of events with the post-processing that gives the best F."""
    if split.reference is None:
        if question.single:
            return class_scores(said, split.y.numpy(), question.pitches), None
        return multilabel_scores(said, split.y.numpy()), None
    found = [
        (_events_scored(split, said, how, question, config)[0], how) for how in processings(config)
    ]
    # no reference at all is NaN, which is never the greatest
    return max(found, key=lambda each: np.nan_to_num(each[0][ONSET_F]))


def _events_scored(
    split: Split,
    said: NDArray[Any],
    how: PostProcessing,
    question: Question,
    config: Predicted,
) -> tuple[dict[str, float], Events]:
    assert split.reference is not None
    estimated = events_of_frames(split.of_files(said), split.times_ms, how)
    k, onset_s = len(question.labels), config.onset_ms / 1000
    return event_scores(split.reference, estimated, k, onset_s), estimated


def _judge_fold(
    splits: Mapping[str, Split],
    fold: Fold,
    question: Question,
    points: Sequence[GridPoint],
    settings: GridSettings,
    config: Predicted,
    device: torch.device,
) -> Judgement:
    x, y = (
        torch.cat([getattr(splits[name], what) for name in fold.train]).to(device)
        for what in ("x", "y")
    )
    valid, test, k = splits[fold.valid], splits[fold.test], len(question.labels)

    def validate(said: Tensor) -> tuple[float, PostProcessing | None]:
        scores, how = scored(valid, said.cpu().numpy(), question, config)
        return float(np.nan_to_num(next(iter(scores.values())))), how

    trained = train_grid(points, x, y, k, valid.x.to(device), validate, settings)
    best = best_of(trained)
    said = probabilities(best, test.x.to(device), k, question.single, settings).cpu().numpy()
    judged = Judgement(fold, settings.seed, best, {}, said, test)
    if test.reference is None:
        return replace(judged, scores=scored(test, said, question, config)[0])
    scores, estimated = _events_scored(test, said, best.chosen, question, config)
    perfect, _ = scored(test, test.y.numpy(), question, config)
    return replace(judged, scores=scores, estimated=estimated, ceiling=perfect[ONSET_F])


def _in_order(labels: set[str]) -> list[str]:
    """Numbers by value, anything else by Python's order of text."""
    return sorted(labels, key=int) if pitches_of(tuple(labels)) else sorted(labels)
