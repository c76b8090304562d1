"""How clips became features, in words and as a table: what every page of results says once."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from slvr.eval.pieces import LEAST_SAMPLES
from slvr.eval.protocol import PROTOCOLS
from slvr.eval.sets import EvaluatedSet, set_columns
from slvr.eval.tables import Table

_WAVEFORMS = {
    "published": "by the published mean and deviation",
    "per-clip": "each piece by its own mean and deviation",
    "none": "not normalised",
}
_CUTTING = {
    "spread": "spread evenly from the beginning to the end of a clip, all full",
    "filled": "end to end, the last one filled",
}
_SHORT = {
    "loop": "repeated",
    "silence": "followed by silence",
    "centre": "put in the middle of silence",
}


def how_embedded(results: pd.DataFrame, parts: Sequence[EvaluatedSet], protocol: str) -> str:
    """Pieces, and the waveforms of each column, in one line."""
    lengths = dict.fromkeys(str(set_columns(part)["piece"]) for part in parts)
    cutting, short = _CUTTING[PROTOCOLS[protocol].cutting], _SHORT[parts[0].short]
    said = f"pieces of {' and '.join(lengths)}, {cutting}; what is shorter is {short}"
    if list(lengths) == ["whole clips"]:
        said = "whole clips"
    return f"{said} · waveforms {waveforms(results)}"


def waveforms(results: pd.DataFrame) -> str:
    """How those of each column are normalised; of all, where they are alike.

    Runs of several seeds are one column, by the name of their group.
    """
    shown = results[results["group"] == ""] if "group" in results else results
    models = shown.groupby("waveforms", sort=False)["model"].unique()
    return "; ".join(
        _WAVEFORMS[str(how)] + (f" for {', '.join(who)}" if len(models) > 1 else "")
        for how, who in models.items()
    )


def sets_table(parts: Sequence[EvaluatedSet], notes: Sequence[str] = ()) -> Table:
    """Clips, pieces, classes and durations of each set, a row a split that was embedded."""
    rows = []
    for part in parts:
        about = set_columns(part)
        durations = [about[f"set_{which}_s"] for which in ("shortest", "median", "longest")]
        rows.append(
            [
                f"{part.name}, {part.split}",
                f"{about['set_classes']:,}",
                f"{about['set_clips']:,}",
                f"{about['set_pieces']:,}",
                about["piece"],
                f"{_n_short(part):,}",
                *(f"{duration:.2f}" for duration in durations),
            ]
        )
    head = ["set, split", "classes", "clips", "pieces", "piece", "shorter clips"]
    return Table(
        "What was embedded", [*head, "shortest, s", "median, s", "longest, s"], rows, notes
    )


def _n_short(part: EvaluatedSet) -> int:
    least = LEAST_SAMPLES if part.samples is None else part.samples
    return int(np.sum(part.clips()["n_samples"].to_numpy() < least))
