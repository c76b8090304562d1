"""Pitch of single notes: accuracy, chroma accuracy, and how many octaves a wrong answer is off.

The protocol of the HEAR 2021 benchmark for NSynth: every clip has one class, a MIDI number.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from slvr.eval.charts import heatmap
from slvr.eval.hear_config import Predicted
from slvr.eval.hear_scores import octave_confusion
from slvr.eval.judged import Question
from slvr.eval.published_hear import PAPER_CHROMA
from slvr.eval.sets import EvaluatedSet
from slvr.eval.tables import PUBLISHED, Table
from slvr.eval.tasks.contract import Presented
from slvr.eval.tasks.hear import Hear


class Pitch(Hear):
    """Which note is played."""

    NAME = "pitch"

    @dataclass(frozen=True, kw_only=True)
    class Config(Predicted):
        """Pitch of notes on frozen features: accuracy, chroma accuracy, confusion by octave."""

    title = "Pitch"
    kind = "scene"

    def accept(self, data: EvaluatedSet, question: Question) -> None:
        """Nothing, where every clip has one class and that is a MIDI number.

        Raises:
            ValueError: they have others.
        """
        if question.pitches is None:
            raise ValueError(
                f"{data}: its labels are not one MIDI number a clip, for example "
                f"{question.labels[0]!r}; choose a set of notes, such as one of `ingest hear "
                "nsynth_pitch`, or run: evaluate hear"
            )

    def present(self, results: pd.DataFrame) -> Presented:
        """The tables of `hear`, and for each model and set the confusion by octave as a picture."""
        shown = super().present(results)
        charts = {}
        for (name, model), found in self._judged.items():
            pitches = self._questions[name].pitches
            assert pitches is not None
            said = np.concatenate([each.said for each in found])
            truth = np.concatenate([each.test.y.numpy() for each in found])
            shares, octaves, distances = octave_confusion(said, truth, pitches)
            charts[f"{name}, {model}: % of an octave's clips by octaves that the answer is off"] = (
                heatmap(
                    100 * shares,
                    [f"octave {octave}" for octave in octaves],
                    [f"{distance:+d}" if distance else "0" for distance in distances],
                )
            )
        return Presented(shown.title, shown.line, [*shown.tables, _paper_chroma()], charts)


def _paper_chroma() -> Table:
    """The paper's chroma accuracies, which the leaderboard does not have."""
    rows = [[f"{name}{PUBLISHED}", f"{value:.3f}"] for name, value in PAPER_CHROMA.items()]
    note = "nsynth_pitch-50h, ICASSP 2022. Chance is 1/12 = 0.083 where all notes are as many."
    return Table("Published chroma accuracy", ["model", "chroma_acc"], rows, [note])
