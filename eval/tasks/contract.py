"""What a downstream task is: a question about a frozen model, asked of labelled sets.

Each task is one file here and one line of the registry. The skeleton around them (`eval/run.py`)
opens models and sets, embeds, makes the output folder and the report; a task says what is checked,
what a score is and how scores are shown.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pandas as pd
import torch
from markupsafe import Markup

from slvr.eval.embed import Features, embed
from slvr.eval.models import EvaluatedModel
from slvr.eval.sets import EvaluatedSet
from slvr.eval.tables import Table


class Row(Protocol):
    """One score: a frozen dataclass, whose fields are columns of `results.csv`.

    The columns `model` and `set` are put before them, and after them `n_clips_left_out`, clips that
    --drop-duplicates and --drop-seen took, and of all before that `n_clips_equal` and
    `n_clips_seen`: those that are there twice, or in the model's training shards. A field `class_`
    is the column `class`.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


@dataclass(frozen=True)
class Presented:
    """How the scores of a task are shown.

    Attributes:
        title: of the report.
        line: the conditions in one line.
        tables: the first is printed first.
        charts: caption -> inline SVG.
    """

    title: str
    line: str
    tables: Sequence[Table]
    charts: Mapping[str, Markup] = field(default_factory=dict)


class Task(ABC):
    """A downstream task; made of its configuration alone.

    A new one is a subclass with `NAME`, `Config`, `score` and `present`; the other methods say
    something only where a task needs more than scores of each model on each set.

    Attributes:
        NAME: of the sub-command, and in the name of the output folder.
        Config: a frozen dataclass on top of `slvr.eval.config.Models`: the flags of
            `evaluate NAME`, and in its docstring what the task is.
        config: what it was made with.
    """

    NAME: ClassVar[str]
    Config: ClassVar[type[Any]]

    def __init__(self, config: Any) -> None:
        self.config = config

    def check(  # noqa: B027 - not every task has something to check
        self, sets: Sequence[EvaluatedSet], models: Sequence[EvaluatedModel]
    ) -> None:
        """Finds everything that can be wrong before the first clip is embedded.

        Raises:
            ValueError: sets or models that cannot be used for this task.
        """

    def contenders(
        self, models: Sequence[EvaluatedModel], device: torch.device
    ) -> Sequence[EvaluatedModel]:
        """Who is scored, by default the models of the command line.

        A task whose `Config` is on top of `slvr.eval.config.Compared` adds what they are compared
        with by `slvr.eval.baselines.with_baselines`.
        """
        return models

    def splits(self, data: EvaluatedSet) -> tuple[str, ...]:
        """The splits of a set whose features `score` gets, by default the one that is evaluated."""
        return (data.split,)

    def embedded(self, model: EvaluatedModel, part: EvaluatedSet, device: torch.device) -> Features:
        """The features of a split, by default of its pieces."""
        cache = Path(self.config.cache)
        return embed(model.embedder, part, cache, self.config.batch, device)

    @abstractmethod
    def score(
        self,
        model: EvaluatedModel,
        data: EvaluatedSet,
        features: Mapping[str, Features],
        device: torch.device,
    ) -> Iterable[Row]:
        """The scores of one model on one set.

        Args:
            model: what is judged, on the device.
            data: the set and its split.
            features: of the model, by split: those of `splits`.
            device: where to compute.
        """

    def headline(self, rows: Sequence[Row]) -> str:
        """What is printed as soon as a model's rows on a set are there; by default nothing."""
        return ""

    def compared(self, results: pd.DataFrame) -> pd.DataFrame:
        """All scores, with what only all of them together tell; by default as they are.

        Here a task adds rows and columns that compare models, such as paired differences.
        """
        return results

    @abstractmethod
    def present(self, results: pd.DataFrame) -> Presented:
        """All scores, one row each, as tables and charts."""
