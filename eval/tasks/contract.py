"""What a downstream task is: a question about a frozen model, asked of labelled sets.

Each task is one file here and one line of the registry. The skeleton around them (`eval/run.py`)
opens models and sets, embeds, makes the output folder and the report; a task says what is checked,
what a score is and how scores are shown.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import pandas as pd
import torch
from markupsafe import Markup

from slvr.eval.embed import Embedder, Features
from slvr.eval.inputs import EvaluatedModel, EvaluatedSet
from slvr.eval.tables import Table


class Row(Protocol):
    """One score: a frozen dataclass, whose fields are the columns of `results.csv`."""

    @property
    def model(self) -> str:
        """Name of the model."""
        ...

    @property
    def set(self) -> str:
        """Name of the set."""
        ...


@dataclass(frozen=True)
class Presented:
    """How the scores of a task are shown.

    Attributes:
        title: of the report.
        line: the conditions in one line.
        tables: the first is printed.
        charts: heading -> chart.
    """

    title: str
    line: str
    tables: Sequence[Table]
    charts: Mapping[str, Markup] = field(default_factory=dict)


class Task(Protocol):
    """A downstream task; made of its configuration alone."""

    NAME: ClassVar[str]
    Config: ClassVar[type[Any]]
    """A frozen dataclass on top of `slvr.eval.config.Models`: the flags of `evaluate NAME`."""

    def __init__(self, config: Any) -> None: ...

    def check(self, sets: Sequence[EvaluatedSet], models: Sequence[EvaluatedModel]) -> None:
        """Finds everything that can be wrong before the first clip is embedded.

        Raises:
            ValueError: sets or models that cannot be used for this task.
        """
        ...

    def score(
        self, model: Embedder, data: EvaluatedSet, features: Features, device: torch.device
    ) -> Iterable[Row]:
        """The scores of one model on one set."""
        ...

    def present(self, results: pd.DataFrame) -> Presented:
        """All scores, one row each, as tables and charts."""
        ...
