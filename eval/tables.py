"""Tables of results as data, and as markdown, LaTeX and terminal text; the few-shot tables.

Accuracies, precisions and shares are in percent in every table and chart; in `results.csv` they
are fractions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.table import Table as RichTable
from rich.text import Text

from slvr.command.text import in_latex, in_markdown, plain
from slvr.eval.published import ACCURACY, COUNTERPART, SETS

PUBLISHED = " (published)"


@dataclass(frozen=True)
class Table:
    """A table as it is shown: the first column names the rows.

    Attributes:
        title: what it shows, with the unit.
        head: names of the columns.
        rows: the cells, one tuple a row.
        notes: what belongs below it, one sentence each.
        best: (row, column) of the cells that stand out.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    best: frozenset[tuple[int, int]] = frozenset()


def markdown(table: Table) -> str:
    """The table as markdown."""
    lines = [
        f"{in_markdown(table.title)}.",
        "",
        f"| {' | '.join(map(in_markdown, table.head))} |",
        f"|---|{'---:|' * (len(table.head) - 1)}",
        *(f"| {' | '.join(_marked(table, i))} |" for i in range(len(table.rows))),
        "",
        *(f"{in_markdown(note)}  " for note in table.notes),
    ]
    return "\n".join(lines).rstrip() + "\n"


def latex(table: Table) -> str:
    """The table as LaTeX, for the package booktabs."""
    lines = [
        r"\begin{table}",
        rf"\caption{{{in_latex(' '.join([table.title + '.', *table.notes]))}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.head) - 1)}}}",
        r"\toprule",
        " & ".join(map(in_latex, table.head)) + r" \\",
        r"\midrule",
    ]
    for i, row in enumerate(table.rows):
        cells = (
            rf"\textbf{{{in_latex(cell)}}}" if (i, j) in table.best else in_latex(cell)
            for j, cell in enumerate(row)
        )
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def terminal(table: Table) -> RichTable:
    """The table for a terminal, without its notes."""
    shown = RichTable(title=Text(plain(table.title)))
    for j, name in enumerate(table.head):
        shown.add_column(Text(plain(name)), justify="left" if j == 0 else "right")
    for i, row in enumerate(table.rows):
        shown.add_row(*(Text(plain(x), "bold" * ((i, j) in table.best)) for j, x in enumerate(row)))
    return shown


def score_text(accuracy: float, ci95: float) -> str:
    """Accuracy and confidence interval in percent: `61.25 ± 0.41`."""
    return f"{100 * accuracy:.2f} ± {100 * ci95:.2f}"


def _cell(row: "pd.Series[Any]") -> str:
    """A score as it stands in the table: of several runs with the deviation over them."""
    if row["n_runs"] == 1:
        return score_text(row["accuracy"], row["ci95"])
    return f"{100 * row['accuracy']:.2f}, sd {100 * row['sd_runs']:.2f}"


def protocol(scores: pd.DataFrame) -> str:
    """The protocol in one line: what moves the numbers, besides waveforms and pieces."""
    first = scores.iloc[0]
    models = scores.groupby("classifier", sort=False)["model"].unique()
    judges = " · ".join(
        f"{classifier} classifier" + (f" for {', '.join(names)}" if len(models) > 1 else "")
        for classifier, names in models.items()
    )
    features = "L2-normalised" if first.normalise_features == "l2" else "as they are"
    support = "the mean of its pieces" if first.support == "mean" else "one piece"
    query = "the sum of its pieces' scores" if first["query"] == "scores" else "its pieces' votes"
    draws = f", drawn {first.n_seeds} times" if first.n_seeds > 1 else ""
    return (
        f"{first.n_way}-way {first.k_shot}-shot · {first.n_query} "
        f"{'query' if first.n_query == 1 else 'queries'} a class · "
        f"{first.n_tasks:,} tasks a set{draws} · "
        f"protocol {first.protocol}: features {features}, a support is {support}, a query decides "
        f"by {query} · {judges}"
    )


def score_table(scores: pd.DataFrame) -> Table:
    """One row a set and one column a model, chance beside; the average rank of several sets.

    Those stand out that are not told apart from the best of their set.
    """
    models = list(scores["model"].unique())
    chance = f"{100 / scores['n_way'].iloc[0]:.1f}"
    rows, notes, best = [], [], []
    for i, (name, of_set) in enumerate(scores.groupby("set", sort=False)):
        first = of_set.iloc[0]
        mark = "*" if first.benchmark_difference else ""
        rows.append([f"{name}{mark}", *(_cell(row) for _, row in of_set.iterrows()), chance])
        best += [(i, 1 + int(j)) for j in of_set["best"].to_numpy().nonzero()[0]]
        if mark:
            notes.append(f"* {name} is not the benchmark's: {first.benchmark_difference}.")
        if first.classes_left_out:
            needed = first.k_shot + first.n_query
            notes.append(
                f"{name}: classes of fewer than {needed} clips left out: {first.classes_left_out}."
            )
    if len(rows) > 1 and len(models) > 1:
        ranks = scores.groupby("set")["accuracy"].rank(ascending=False)
        means = ranks.groupby(scores["model"], sort=False).mean()
        rows.append(["average rank", *(f"{rank:.1f}" for rank in means), ""])
    if len(models) > 1:
        notes.append(
            "Bold: the best of each set, and those whose paired difference to it over the same "
            "tasks has an interval that includes 0."
        )
    if (scores["n_runs"] > 1).any():
        notes.append("sd: standard deviation over runs with several training seeds, of their mean.")
    return Table(
        "Accuracy in %, mean ± 95% confidence interval",
        ["set", *models, "chance"],
        rows,
        notes,
        frozenset(best),
    )


def comparison_table(scores: pd.DataFrame) -> Table | None:
    """Models and published rows, one column a set of the benchmark; None where none is there.

    Below each of our models stands its difference to the published row of the same method; a
    model without one is set beside SimCLR MT-Parallel, the best of the published average ranks.
    """
    first = scores.iloc[0]
    ours = scores[scores["set_recipe"].isin(SETS)]
    if ours.empty or (first.n_way, first.k_shot) != (5, 1):
        return None
    names = ours.drop_duplicates("set_recipe").set_index("set_recipe")["set"]
    sets = [recipe for recipe in SETS if recipe in names.index]
    # A set ingested in two ways stands here once.
    ours = ours[ours["set"].isin(names)]
    measured = 100 * ours.pivot_table("accuracy", "model", "set_recipe", sort=False)[sets]
    published = pd.DataFrame(ACCURACY).T.reindex(columns=sets).add_suffix(PUBLISHED, axis=0)
    together = pd.concat([measured, published]).dropna()
    ranks = together.rank(ascending=False).mean(axis=1)

    def row(name: str, values: pd.Series) -> list[str]:
        cells = ["" if pd.isna(value) else f"{value:.2f}" for value in values]
        return [name, *cells, f"{ranks[name]:.1f}" if name in ranks else ""]

    rows = []
    training = dict(zip(ours["model"], ours["training_recipe"], strict=True))
    for model, values in measured.iterrows():
        rows.append(row(str(model), values))
        if training[model]:
            other = COUNTERPART.get(training[model], "SimCLR MT-Parallel")
            gaps = [f"{gap:+.2f}" for gap in values - published.loc[other + PUBLISHED]]
            rows.append([f"minus {other}", *gaps, ""])
    rows += [row(str(name), values) for name, values in published.iterrows()]
    notes = ["Published: 10,000 tasks, about ± 0.4. Average rank: among the rows without a gap."]
    marked = ours.drop_duplicates("set").set_index("set_recipe")["benchmark_difference"]
    head = [SETS[name].title + ("*" if marked[name] else "") for name in sets]
    if any(marked[sets]):
        notes.append("* Clips or classes differ from the benchmark's, see above.")
    return Table(
        "Accuracy in % beside the published results",
        ["model", *head, "avg rank"],
        rows,
        notes,
    )


def _marked(table: Table, i: int) -> list[str]:
    """The cells of a row in markdown, bold where they stand out."""
    cells = enumerate(map(in_markdown, table.rows[i]))
    return [f"**{cell}**" if (i, j) in table.best else cell for j, cell in cells]
