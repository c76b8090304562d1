"""Which differences between models are more than chance: paired, over the same tasks.

Letters: R training runs of a model, T tasks of a set, K models, N sets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from slvr.eval.tables import Table

Accuracies = NDArray[np.float64]
"""(R, T) accuracy of each run on each task, in [0, 1]."""
LEVEL = 0.05


def mean_and_interval(
    accuracies: Accuracies, minus: Accuracies | None = None
) -> tuple[float, float]:
    """A mean, or the difference of two on the same tasks, and half its 95% confidence interval.

    The variance of the mean is that over tasks, of the means over runs, plus for each model of
    several runs s^2 / R, s^2 the variance over them: the tasks that were drawn and the seeds that
    were trained with are both samples. The t quantile has the degrees of freedom of Welch and
    Satterthwaite, in which tasks count as many.
    """
    models = [accuracies] if minus is None else [accuracies, minus]
    by_task = accuracies.mean(0) - (0.0 if minus is None else minus.mean(0))
    several = [model.mean(1) for model in models if len(model) > 1]
    of_seeds = [float(means.var(ddof=1)) / len(means) for means in several]
    variance = float(by_task.var()) / by_task.size + sum(of_seeds)
    spread = sum(v**2 / (len(means) - 1) for v, means in zip(of_seeds, several, strict=True))
    freedom = variance**2 / spread if spread > 0 else np.inf
    quantile = 1.96 if np.isinf(freedom) else float(stats.t.ppf(1 - LEVEL / 2, freedom))
    return float(by_task.mean()), quantile * variance**0.5


def compared(
    results: pd.DataFrame,
    accuracies: Mapping[tuple[str, str], NDArray[np.float64]],
    groups: Mapping[str, Sequence[str]],
    reference: str,
) -> pd.DataFrame:
    """Scores with rows for groups of runs, and each beside the best and beside a reference.

    Args:
        results: one row a set and model.
        accuracies: (set, model) -> accuracy of each task, (T,).
        groups: name -> models that are one, trained with several seeds.
        reference: a model, which need not be there.
    """
    member = {model: name for name, models in groups.items() for model in models}
    parts: list[dict[Any, Any]] = []
    for set_name, of_set in results.groupby("set", sort=False):
        name = str(set_name)
        rows: dict[str, dict[Any, Any]] = {}
        runs: dict[str, Accuracies] = {}
        for row in of_set.to_dict("records"):
            model, group = row["model"], member.get(row["model"], "")
            if group and group not in rows:
                runs[group] = np.stack([accuracies[name, each] for each in groups[group]])
                seen = of_set.loc[of_set["model"].isin(groups[group]), "n_clips_seen"]
                rows[group] = _group_row(row, group, runs[group], seen)
            runs[model] = accuracies[name, model][None]
            rows[model] = row | {"group": group, "n_runs": 1, "sd_runs": np.nan}
        shown = [model for model, row in rows.items() if not row["group"]]
        best = max(shown, key=lambda model: runs[model].mean())
        for model, row in rows.items():
            gap, ci95 = _gap(model, best, runs)
            if best == row["group"]:  # it is a part of the best
                ci95 = np.nan
            row |= {
                "minus_best": gap,
                "minus_best_ci95": ci95,
                "best": model in shown and -gap <= ci95,
            }
            gap, ci95 = np.nan, np.nan
            if reference in runs:
                gap, ci95 = _gap(model, reference, runs)
            row |= {"minus_log_mel": gap, "minus_log_mel_ci95": ci95}
        parts += rows.values()
    return pd.DataFrame(parts)


def _gap(model: str, other: str, runs: Mapping[str, Accuracies]) -> tuple[float, float]:
    """The difference of a model to another, and half its interval; a model is 0 from itself."""
    return (0.0, 0.0) if model == other else mean_and_interval(runs[model], runs[other])


def _group_row(
    row: Mapping[Any, Any], group: str, runs: Accuracies, seen: "pd.Series[Any]"
) -> dict[Any, Any]:
    """The row of several runs, from that of one of them.

    Args:
        row: of one of them.
        group: their name.
        runs: (R, T), the tasks of one draw behind those of another.
        seen: clips of the set that each has seen; of all, where they are as many.
    """
    accuracy, ci95 = mean_and_interval(runs)
    of_draws = runs.mean(0).reshape(row["n_seeds"], -1).mean(1)
    return {
        **row,
        "model": group,
        "accuracy": accuracy,
        "ci95": ci95,
        "sd_seeds": float(of_draws.std(ddof=len(of_draws) > 1)),
        "model_sha256": "",
        "n_clips_seen": seen.iloc[0] if seen.nunique(dropna=False) == 1 else pd.NA,
        "group": "",
        "n_runs": len(runs),
        "sd_runs": float(runs.mean(1).std(ddof=1)),
    }


def seed_groups(training: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Name of a group -> models that were trained alike but for their seed.

    Args:
        training: model -> the configuration that it was trained with.
    """
    alike: dict[str, dict[str, Any]] = {}
    for model, config in training.items():
        if "seed" in config:
            same = {name: value for name, value in config.items() if name not in _OF_A_RUN}
            alike.setdefault(repr(sorted(same.items())), {})[model] = config["seed"]
    found: dict[str, list[str]] = {}
    for models in alike.values():
        if len(models) > 1 and len(set(models.values())) == len(models):
            name = f"{_common_name([*models])}, {len(models)} seeds"
            found[name if name not in found else f"{name} ({len(found) + 1})"] = [*models]
    return found


_OF_A_RUN = frozenset({"seed", "out", "resume", "preview"})
"""Settings in which runs of one kind differ."""


def _common_name(names: Sequence[str]) -> str:
    """What names begin with, without a number that is cut there: `a` of `a-10` and `a-11`."""
    short = min(names, key=len)
    n = next((i for i, x in enumerate(short) if any(name[i] != x for name in names)), len(short))
    while n and short[n - 1].isdigit() and any(name[n : n + 1].isdigit() for name in names):
        n -= 1
    return short[:n].rstrip("-_. /") or "runs"


def difference_tables(shown: pd.DataFrame, reference: str) -> list[Table]:
    """Paired differences to the best of each set and to a reference, where there are any."""
    models = list(shown["model"].unique())
    if len(models) == 1:
        return []
    interval = "mean ± 95% confidence interval over the same tasks"
    if (shown["n_runs"] > 1).any():
        interval += " and over training seeds"
    to_best = _differences(
        shown, models, "minus_best", f"Percentage points to the best of each set, {interval}"
    )
    others = [model for model in models if model != reference]
    if reference not in models:
        return [to_best]
    title = f"Percentage points above {reference}, {interval}"
    return [to_best, _differences(shown, others, "minus_log_mel", title)]


def _differences(shown: pd.DataFrame, models: Sequence[str], column: str, title: str) -> Table:
    """One row a set, one column a model; bold where the interval includes 0."""
    rows, best = [], set()
    for i, (name, of_set) in enumerate(shown.groupby("set", sort=False)):
        by_model = {row["model"]: row for row in of_set.to_dict("records")}
        cells = []
        for j, model in enumerate(models):
            gap, ci95 = by_model[model][column], by_model[model][f"{column}_ci95"]
            cells.append(f"{100 * gap:+.2f} ± {100 * ci95:.2f}" if ci95 else f"{100 * gap:.2f}")
            if abs(gap) <= ci95 or gap == 0:
                best.add((i, 1 + j))
        rows.append([str(name), *cells])
    notes = ["Bold: the interval includes 0, the two are not told apart."]
    if (shown["n_runs"] > 1).any():
        notes.append("Intervals of few training seeds are wide: Student's t, not 1.96.")
    return Table(title, ["set", *models], rows, notes, frozenset(best))


def seeds_tables(results: pd.DataFrame) -> list[Table]:
    """What other draws of the tasks and other training seeds change, where there are several."""
    tables = []
    shown = results[results["group"] == ""]
    models = list(shown["model"].unique())
    n_seeds = int(results["n_seeds"].iloc[0])
    if n_seeds > 1:
        spread = 100 * shown.pivot_table("sd_seeds", "set", "model", sort=False)[models]
        cells = [[str(name), *(f"{x:.2f}" for x in values)] for name, values in spread.iterrows()]
        title = f"Standard deviation over {n_seeds} draws of the tasks, percentage points"
        tables.append(Table(title, ["set", *models], cells))
    rows: list[list[str]] = []
    for group in shown[shown["n_runs"] > 1].to_dict("records"):
        runs = results[(results["group"] == group["model"]) & (results["set"] == group["set"])]
        each = ", ".join(f"{100 * accuracy:.2f}" for accuracy in runs["accuracy"])
        numbers = [f"{100 * group['accuracy']:.2f}", f"{100 * group['sd_runs']:.2f}"]
        rows.append([f"{group['set']}, {group['model']}", *numbers, str(group["n_runs"]), each])
    if rows:
        head = ["set and runs", "mean", "deviation", "n", "each run"]
        tables.append(Table("Accuracy of several training seeds, %", head, rows))
    return tables


@dataclass(frozen=True)
class Ranks:
    """Average ranks over sets and what of their differences is not chance (Demšar, JMLR 2006).

    Attributes:
        means: of each model, 1 for the best; the sets' order of models.
        n_sets: N.
        critical: difference from which two average ranks are told apart: Nemenyi's test at 5%.
        p: of Friedman's test that all are alike, in the form of Iman and Davenport.
    """

    means: "pd.Series[float]"
    n_sets: int
    critical: float
    p: float

    @property
    def note(self) -> str:
        """The test in a sentence."""
        return (
            f"Average ranks over {self.n_sets} sets that differ by less than {self.critical:.2f} "
            f"are not told apart (Nemenyi, 5%); Friedman's test that all are alike: "
            f"p = {self.p:.2g}."
        )


def average_ranks(shown: pd.DataFrame) -> Ranks | None:
    """Of several models on several sets; None where there are fewer.

    CD = q sqrt(K (K + 1) / 6 N), q the studentised range's quantile over sqrt(2).
    """
    by_set = shown.pivot_table("accuracy", "set", "model", sort=False)
    by_set = by_set[list(shown["model"].unique())].dropna(axis=1)
    n, k = by_set.shape
    if n < 2 or k < 2:
        return None
    means = by_set.rank(axis=1, ascending=False).mean()
    q = float(stats.studentized_range.ppf(1 - LEVEL, k, np.inf)) / 2**0.5
    chi2 = 12 * n / (k * (k + 1)) * (float((means**2).sum()) - k * (k + 1) ** 2 / 4)
    rest = n * (k - 1) - chi2
    p = float(stats.f.sf((n - 1) * chi2 / rest, k - 1, (k - 1) * (n - 1))) if rest > 1e-9 else 0.0
    return Ranks(means, n, q * (k * (k + 1) / (6 * n)) ** 0.5, p)


def not_told_apart(ranks: Ranks) -> list[tuple[float, float]]:
    """Lowest and highest average rank of each largest group of models that are alike."""
    means = sorted(ranks.means)
    found: list[tuple[float, float]] = []
    for low in means:
        high = max(mean for mean in means if mean - low < ranks.critical)
        if high > low and (not found or high > found[-1][1]):
            found.append((low, high))
    return found
