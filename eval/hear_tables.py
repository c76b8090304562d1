"""The tables of the tasks that learn a shallow predictor: scores, selections, published rows."""

import numpy as np
import pandas as pd

from slvr.eval.published_hear import CHANCE, LEADERBOARD, PAPER, published_task
from slvr.eval.tables import PUBLISHED, Table


def scores_table(results: pd.DataFrame) -> Table:
    """A row a set and metric, a column a model; the ceiling that the hop allows beside it."""
    models = list(results["model"].unique())
    rows, limited = [], False
    for _, found in results.groupby(["set", "metric"], sort=False):
        values = dict(zip(found["model"], found["value"], strict=True))
        first = found.iloc[0]
        cells = [f"{values[model]:.4f}" for model in models]
        ceilings = [f"{values:.4f}" for values in found["ceiling"].dropna().unique()]
        limited |= bool(ceilings)
        rows.append([f"{first.set}, {first.metric}", *cells, " / ".join(ceilings)])
    remarked = results[results["selects"] & (results["remark"] != "")]
    notes = [f"{row.model}, {row.set}: {row.remark}." for row in remarked.itertuples()]
    if limited:
        notes.append(
            "Ceiling: the score of perfect frame labels at the same stamps, after the same "
            "post-processing: more than that this hop does not allow."
        )
    return Table("Scores of the test split", ["set, metric", *models, "ceiling"], rows, notes)


def selected_table(results: pd.DataFrame) -> Table:
    """What was selected for each model and set; of the first fold and seed."""
    rows = []
    for row in results[results["selects"]].to_dict("records"):
        least_ms, deviation = row["min_duration_ms"], row["deviation"]
        rows.append(
            [
                f"{row['model']}, {row['set']}",
                f"{row['valid_value']:.4f}",
                f"{row['hidden_layers']}",
                f"{row['lr']:g}",
                f"{row['init']}",
                f"{row['epoch']}",
                "" if np.isnan(least_ms) else f"{least_ms:g}",
                f"{row['value']:.4f}" + (f", sd {deviation:.4f}" if deviation else ""),
            ]
        )
    head = ["model, set", "validation", "hidden layers", "lr", "weights", "epoch", "least ms"]
    notes = ["sd: over folds and seeds. Of several folds the first one alone searches the grid."]
    return Table("What was selected on the validation split", [*head, "test"], rows, notes)


def published_tables(results: pd.DataFrame) -> list[Table]:
    """Ours, the paper's rows and the leaderboard's, by task of the tables."""
    ours = results[results["selects"]]
    tables = []
    for task in dict.fromkeys(map(published_task, ours["hear_task"])):
        if task is None:
            continue
        of_task = ours[[published_task(name) == task for name in ours["hear_task"]]]
        named = zip(of_task["model"], of_task["set"], strict=True)
        mine = [f"{model} ({name})" for model, name in named]
        entries = list(zip(mine, of_task["value"].astype(float).tolist(), strict=True))
        entries += [(f"{n}{PUBLISHED}, paper*", v[task]) for n, v in PAPER.items() if task in v]
        entries += [(f"{n}{PUBLISHED}", v[task]) for n, v in LEADERBOARD.items() if task in v]
        entries.append(("chance", CHANCE[task]))
        entries.sort(key=lambda entry: -1.0 if np.isnan(entry[1]) else entry[1], reverse=True)
        best = frozenset((i, 0) for i, (name, _) in enumerate(entries) if name in mine)
        tables.append(
            Table(
                f"{task}, {of_task['metric'].iloc[0]}, beside the published results",
                ["model", "score"],
                [[name, f"{value:.3f}"] for name, value in entries],
                [
                    "Published: the HEAR leaderboard, frozen encoders under the kit's predictor. "
                    "Bold: this run's.",
                    "* The paper of multiple sampling strategies, ICASSP 2022: its text says a "
                    "linear predictor, its code runs the kit's; its sound events have a frame each "
                    "320 ms, which caps the onset F near 0.57. Which of clip + frame and clip + "
                    "pitch is which is likely, not sure.",
                ],
                best,
            )
        )
    return tables
