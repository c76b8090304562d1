"""The protocol of the HEAR 2021 benchmark on any of its tasks: whole clips, or sound events.

Turian et al., "HEAR: Holistic Evaluation of Audio Representations", PMLR 2022, arXiv 2203.03022.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch

from slvr.eval.baselines import with_baselines
from slvr.eval.embed import Features, embed
from slvr.eval.event_scores import event_score
from slvr.eval.frames import Framing, check_framing, embed_frames
from slvr.eval.hear_config import Predicted
from slvr.eval.hear_tables import published_tables, scores_table, selected_table
from slvr.eval.judged import Judgement, Question, folds_of, judge, question_of, split_of
from slvr.eval.models import EvaluatedModel
from slvr.eval.sets import EvaluatedSet
from slvr.eval.tasks.contract import Presented, Task


@dataclass(frozen=True)
class Score:
    """One score of the test split, and what was selected for it."""

    metric: str
    value: float
    """Mean over folds and seeds."""
    deviation: float
    """Standard deviation over them; 0 of one."""
    n_folds: int
    n_seeds: int
    selects: bool
    """Whether epoch, point of the grid and post-processing were chosen by it."""
    hear_task: str
    predictor: str
    n_train: int
    """Clips, or frames, of the first fold."""
    hidden_layers: int
    lr: float
    init: str
    epoch: int
    """Of the first fold and seed, as the columns around it."""
    valid_value: float
    min_duration_ms: float
    """NaN where there are no events."""
    ceiling: float
    """The same score of perfect frames at the same stamps; NaN where that was not computed."""
    remark: str
    class_: str = ""
    """Empty for all classes together."""
    n_hits: int = 0
    """Events that were found; this and the columns after it of the first fold and seed."""
    n_reference: int = 0
    n_estimated: int = 0
    n_files: int = 0
    n_files_without: int = 0
    """Files of the test split in which nothing was estimated: they count like the others."""


class Hear(Task):
    """Scores of a shallow predictor, as the HEAR benchmark has them."""

    NAME = "hear"

    @dataclass(frozen=True, kw_only=True)
    class Config(Predicted):
        """The HEAR benchmark: shallow predictors on frozen features, of clips or sound events."""

    config: Config
    title: ClassVar[str] = "HEAR protocol"
    kind: ClassVar[Literal["scene", "event"] | None] = None  # None: what the set is for

    def __init__(self, config: Predicted) -> None:
        self.config: Predicted = config  # type: ignore[assignment]
        self._questions: dict[str, Question] = {}
        self._framing = Framing(config.hop_ms, config.window_ms, config.stamps)
        self._judged: dict[tuple[str, str], list[Judgement]] = {}

    def check(self, sets: Sequence[EvaluatedSet], models: Sequence[EvaluatedModel]) -> None:
        """Looks at splits and labels, and whether models have the frames that are asked for."""
        for data in sets:
            parts = [data.of_split(split) for split in self.splits(data)]
            question = self._questions[data.name] = question_of(parts, self.kind)
            self.accept(data, question)
            if question.events:
                for model in models:
                    check_framing(model.embedder, self._framing)

    def accept(self, data: EvaluatedSet, question: Question) -> None:
        """Nothing, where the task can be asked this.

        Raises:
            ValueError: it cannot.
        """

    def splits(self, data: EvaluatedSet) -> tuple[str, ...]:
        """All that are learnt from, selected on and tested on."""
        folds = folds_of(data, self.config)
        return tuple(
            dict.fromkeys(name for fold in folds for name in (*fold.train, fold.valid, fold.test))
        )

    def contenders(
        self, models: Sequence[EvaluatedModel], device: torch.device
    ) -> list[EvaluatedModel]:
        """The models and all baselines; of these only those that have the frames."""
        found = with_baselines(models, self.config, device)
        events = any(question.events for question in self._questions.values())
        if events and self._framing.hop_ms is None:
            return [each for each in found if each in models or not _frameless(each, self._framing)]
        return found

    def embedded(self, model: EvaluatedModel, part: EvaluatedSet, device: torch.device) -> Features:
        """Of sound events frames, else clips."""
        cache, batch = Path(self.config.cache), self.config.batch
        if self._questions[part.name].events:
            return embed_frames(model.embedder, part, self._framing, cache, batch, device)
        return embed(model.embedder, part, cache, batch, device)

    def score(
        self,
        model: EvaluatedModel,
        data: EvaluatedSet,
        features: Mapping[str, Features],
        device: torch.device,
    ) -> list[Score]:
        """A row a metric, the selecting one first."""
        return self.rows(self.judged(model, data, features, device), data)

    def judged(
        self,
        model: EvaluatedModel,
        data: EvaluatedSet,
        features: Mapping[str, Features],
        device: torch.device,
    ) -> list[Judgement]:
        """Every fold with every seed, kept for the report."""
        question = self._questions[data.name]
        splits = {
            name: split_of(data.of_split(name), of_split, question)
            for name, of_split in features.items()
        }
        found = judge(
            splits, folds_of(data, self.config), question, self.config, task_of(data), device
        )
        self._judged[data.name, model.name] = found
        return found

    def rows(self, found: Sequence[Judgement], data: EvaluatedSet) -> list[Score]:
        """A row a metric."""
        first = found[0]
        question = self._questions[data.name]
        n_train = sum(len(data.of_split(name).clips()) for name in first.fold.train)
        chosen = first.best.chosen
        ceiling = float(np.mean([each.ceiling for each in found]))
        rows: list[Score] = []
        for i, metric in enumerate(first.scores):
            values = [each.scores[metric] for each in found]
            rows.append(
                Score(
                    metric=metric,
                    value=float(np.mean(values)),
                    deviation=float(np.std(values)),
                    n_folds=len({each.fold for each in found}),
                    n_seeds=self.config.seeds,
                    selects=i == 0,
                    hear_task=task_of(data),
                    predictor=self.config.predictor,
                    n_train=n_train,
                    hidden_layers=first.best.point.hidden_layers,
                    lr=first.best.point.lr,
                    init=first.best.point.init,
                    epoch=first.best.epoch,
                    valid_value=first.best.score,
                    min_duration_ms=chosen.min_duration_ms if chosen else float("nan"),
                    ceiling=ceiling if question.events and i == 0 else float("nan"),
                    remark=_remark(found) if question.events else "",
                )
            )
        counts = _counts(first, self.config.onset_ms)
        return [dataclasses.replace(row, **counts) for row in rows]

    def headline(self, rows: Sequence[Score]) -> str:  # type: ignore[override]
        """The selecting score."""
        return f"{rows[0].metric} {rows[0].value:.4f}"

    def present(self, results: pd.DataFrame) -> Presented:
        """Scores, what was selected, and the published results."""
        tables = [scores_table(results), selected_table(results), *published_tables(results)]
        return Presented(self.title, self.line(results), tables)

    def line(self, results: pd.DataFrame) -> str:
        """The protocol in one line."""
        config = self.config
        how = "the linear predictor" if config.predictor == "linear" else "the kit's predictor"
        if config.predictor == "kit":
            how += f", {min(config.grid_points, 16)} points of its grid"
        said = [
            f"HEAR protocol · {how}, selected by the first metric on the validation split · seed "
            f"{config.seed}" + (f" and {config.seeds - 1} more" if config.seeds > 1 else "")
        ]
        if any(question.events for question in self._questions.values()):
            durations = " or ".join(f"{ms:g}" for ms in config.least_ms)
            frames = str(self._framing)
            if config.hear:
                frames += "; encoders of --hear have frames and stamps of their own"
            said.append(
                f"frames: {frames} · events: probability over {config.threshold:g}, median "
                f"{config.median_filter_ms:g} ms, at least {durations} ms, onsets within "
                f"{config.onset_ms:g} ms"
            )
        return " · ".join(said)


def task_of(data: EvaluatedSet) -> str:
    """The HEAR task that a set holds, by its record; else the set's name."""
    return str(data.directory.manifest.options.get("task", data.name))


def _counts(judged: Judgement, onset_ms: float) -> dict[str, Any]:
    """What was found in how many files."""
    reference, estimated = judged.test.reference, judged.estimated
    if reference is None or estimated is None:
        return {}
    score = event_score(reference, estimated, onset_ms / 1000)
    n_files = len(judged.test.times_ms)
    return {
        "n_hits": score.n_hits,
        "n_reference": score.n_reference,
        "n_estimated": score.n_estimated,
        "n_files": n_files,
        "n_files_without": n_files - len(np.unique(estimated.file)),
    }


def _remark(found: Sequence[Judgement]) -> str:
    """What has to be said of scores of events."""
    said = []
    silent = sum(each.estimated is not None and not len(each.estimated) for each in found)
    if silent:
        said.append("nothing was estimated, so F is 0")
    empty = sum(each.test.reference is not None and not len(each.test.reference) for each in found)
    if empty:
        said.append("the test split has no event, so the scores are NaN")
    return "; ".join(said)


def _frameless(model: EvaluatedModel, how: Framing) -> bool:
    try:
        check_framing(model.embedder, how)
    except ValueError:
        return True
    return False
