"""Sound event detection on frozen features, of every class: onset F, precision, recall, errors.

The protocol of the HEAR 2021 benchmark for DCASE 2016 task 2, its post-processing as options.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from markupsafe import Markup
from numpy.typing import NDArray

from slvr.eval.charts import heatmap
from slvr.eval.embed import Features
from slvr.eval.event_scores import (
    EventScore,
    SegmentScore,
    class_event_scores,
    segment_scores,
)
from slvr.eval.hear_config import Predicted
from slvr.eval.judged import ERROR_RATE, ONSET_F, PRECISION, RECALL, Judgement
from slvr.eval.models import EvaluatedModel
from slvr.eval.sets import EvaluatedSet
from slvr.eval.tables import Table
from slvr.eval.tasks.contract import Presented
from slvr.eval.tasks.hear import Hear, Score

METRICS = (ONSET_F, PRECISION, RECALL, ERROR_RATE)


class SoundEvents(Hear):
    """When which sound is heard."""

    NAME = "events"

    @dataclass(frozen=True, kw_only=True)
    class Config(Predicted):
        """Sound event detection on frozen features: onset F and segment errors of every class."""

    title = "Sound event detection"
    kind = "event"

    def score(
        self,
        model: EvaluatedModel,
        data: EvaluatedSet,
        features: Mapping[str, Features],
        device: torch.device,
    ) -> list[Score]:
        """The rows of `hear`, then onset F, precision, recall and error rate of each class."""
        found = self.judged(model, data, features, device)
        rows = self.rows(found, data)
        for k, label in enumerate(self._questions[data.name].labels):
            scores = [_of_class(each, k, self.config.onset_ms / 1000) for each in found]
            first = scores[0][0]
            for metric, values in _values(scores).items():
                known = values[~np.isnan(values)]
                rows.append(
                    dataclasses.replace(
                        rows[0],
                        metric=metric,
                        value=float(known.mean()) if len(known) else float("nan"),
                        deviation=float(known.std()) if len(known) else 0.0,
                        selects=False,
                        ceiling=float("nan"),
                        remark=first.remark,
                        class_=label,
                        n_hits=first.n_hits,
                        n_reference=first.n_reference,
                        n_estimated=first.n_estimated,
                    )
                )
        return rows

    def present(self, results: pd.DataFrame) -> Presented:
        """The tables of `hear`, and of every class onset F, as a picture too."""
        overall = results[results["class"] == ""]
        shown = super().present(overall)
        tables = list(shown.tables)
        charts: dict[str, Markup] = {}
        for name, of_set in results[results["class"] != ""].groupby("set", sort=False):
            tables.insert(len(charts) + 1, _class_table(str(name), of_set))
            f = of_set[of_set["metric"] == ONSET_F].fillna({"value": 0.0})
            wide = f.pivot_table("value", "class", "model", sort=False)
            charts[f"{name}: onset F of each class"] = heatmap(
                wide.to_numpy(), list(wide.index), list(wide.columns)
            )
        notes = [_found(row) for row in overall[overall["selects"]].to_dict("records")]
        first = tables[0]
        tables[0] = Table(first.title, first.head, first.rows, [*first.notes, *notes])
        return Presented(shown.title, shown.line, tables, charts)


def _found(row: Mapping[Any, Any]) -> str:
    """How many events a model has found in a set, in a sentence."""
    said = (
        f"{row['model']}, {row['set']}: {row['n_hits']:,} of {row['n_reference']:,} events found, "
        f"{row['n_estimated']:,} estimated, in {row['n_files']:,} files"
    )
    without = row["n_files_without"]
    return f"{said}; {without:,} without an estimate, which count too." if without else f"{said}."


def _of_class(judged: Judgement, k: int, onset_s: float) -> tuple[EventScore, SegmentScore]:
    """How one class does."""
    reference, estimated = judged.test.reference, judged.estimated
    assert reference is not None and estimated is not None
    n = judged.said.shape[1]
    events = class_event_scores(reference, estimated, n, onset_s)[k]
    return events, segment_scores(reference, estimated, n)[1][k]


def _values(
    scores: Sequence[tuple[EventScore, SegmentScore]],
) -> dict[str, NDArray[np.float64]]:
    """Metric -> its value of each fold and seed."""
    return {
        ONSET_F: np.array([events.f_measure for events, _ in scores]),
        PRECISION: np.array([events.precision for events, _ in scores]),
        RECALL: np.array([events.recall for events, _ in scores]),
        ERROR_RATE: np.array([segments.error_rate for _, segments in scores]),
    }


def _class_table(name: str, of_set: pd.DataFrame) -> Table:
    """A row a class and model, its scores and counts."""
    rows = []
    for key, found in of_set.groupby(["class", "model"], sort=False):
        values = dict(zip(found["metric"], found["value"], strict=True))
        scores = [f"{values[metric]:.4f}" for metric in METRICS]
        columns = ["n_hits", "n_reference", "n_estimated", "remark"]
        about = [f"{value}" for value in found[columns].iloc[0]]
        rows.append([f"{key[0]}, {key[1]}", *scores, *about])
    head = ["class, model", "F", "precision", "recall", "error rate", "hits", "there", "estimated"]
    return Table(f"{name}: every class", [*head, ""], rows)
