"""The charts of a report: accuracies as bars, matrices of numbers as heat maps."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from slvr.command.charts import ACCENT, INK, LINE, MUTED, PALE, drawing, svg
from slvr.eval.significance import Ranks, not_told_apart


def bars(scores: pd.DataFrame) -> Markup:
    """A bar a model with its interval, of several runs with the deviation over them; chance.

    Args:
        scores: rows of one set.
    """
    with drawing(f"bars {scores['set'].iloc[0]}"):
        figure = Figure(figsize=(4.6, 0.55 + 0.44 * len(scores)), layout="constrained")
        axes = figure.subplots()
        percent = 100 * scores["accuracy"].to_numpy()
        ci = 100 * scores["ci95"].where(scores["n_runs"] == 1, scores["sd_runs"]).to_numpy()
        bar = range(len(scores))
        colours = [PALE if baseline else ACCENT for baseline in scores["baseline"]]
        axes.barh(bar, percent, height=0.62, color=colours)
        axes.errorbar(percent, bar, xerr=ci, fmt="none", ecolor=INK, elinewidth=1.2, capsize=2.5)
        chance = 100 / scores["n_way"].iloc[0]
        axes.axvline(chance, color=MUTED, linewidth=1, linestyle=(0, (3, 2)))
        axes.annotate(
            "chance",
            (chance, 1),
            xycoords=("data", "axes fraction"),
            color=MUTED,
            xytext=(3, 1),
            textcoords="offset points",
            fontsize=8,
        )
        for y, value, half_width in zip(bar, percent, ci, strict=True):
            axes.annotate(
                f"{value:.1f}",
                (value + half_width, y),
                xytext=(5, 0),
                va="center",
                textcoords="offset points",
                color=INK,
            )
        axes.set_yticks(bar, scores["model"], color=INK)
        axes.locator_params(axis="x", nbins=6)
        # from 0, as lengths have to be, to the longest bar and its number
        axes.set_xlim(0, 1.18 * max(chance, float(np.max(percent + ci))))
        axes.invert_yaxis()
        axes.tick_params(axis="x", labelcolor=MUTED)
        axes.grid(axis="x", color=LINE, linewidth=0.8)
        axes.set_axisbelow(True)
        return svg(figure, axes, "bars")


def critical_difference(ranks: Ranks) -> Markup:
    """Average ranks on a line, the best to the left; bars join models that are not told apart.

    The diagram of Demšar, JMLR 2006, fig. 1.
    """
    means = ranks.means.sort_values(kind="stable")
    k, bars = len(means), not_told_apart(ranks)
    half = (k + 1) // 2
    with drawing(f"ranks {list(means.index)}"):
        line_inches, name_inches = 2.6, 0.6 + 0.075 * max(map(len, means.index))
        size = (line_inches + 2 * name_inches, 0.9 + 0.26 * half + 0.14 * len(bars))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        beside = name_inches / line_inches * (k - 1)
        axes.set_xlim(1 - beside, k + beside)
        axes.set_ylim(-0.5 * len(bars) - half - 0.2, 2.4)
        axes.axis("off")
        axes.plot([1, k], [0, 0], color=INK, linewidth=1.2)
        for rank in range(1, k + 1):
            axes.plot([rank, rank], [0, 0.2], color=INK, linewidth=1.2)
            axes.text(rank, 0.35, str(rank), ha="center", va="bottom", color=MUTED)
        axes.plot([1, min(1 + ranks.critical, k)], [1.6, 1.6], color=MUTED, linewidth=1.2)
        axes.text(1, 1.75, f"critical difference {ranks.critical:.2f}", va="bottom", color=MUTED)
        for i, (low, high) in enumerate(bars):
            y = -0.35 - 0.5 * i
            axes.plot([low - 0.03, high + 0.03], [y, y], color=ACCENT, linewidth=4)
        for i, (name, mean) in enumerate(means.items()):
            left = i < half
            y = -0.5 * len(bars) - 0.5 - (i if left else k - 1 - i)
            end, side = (0.93, "right") if left else (k + 0.07, "left")
            axes.plot([mean, mean, end], [0, y, y], color=LINE, linewidth=1.2, zorder=0)
            axes.text(end, y, f" {name} {mean:.2f} ", ha=side, va="center", color=INK)
        return svg(figure, axes, "ranks")


def heatmap(
    values: NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    level: tuple[str, float] | None = None,
) -> Markup:
    """A matrix of numbers in colour, each written into its cell.

    Args:
        values: (rows, columns).
        rows: their names.
        columns: their names.
        level: name and value of a number to compare with, drawn into the colour scale.
    """
    with drawing(f"heatmap {rows} {columns}"):
        names_inches = 0.08 * max(map(len, rows))
        size = (names_inches + 0.75 * len(columns) + 1.6, 1.3 + 0.34 * len(rows))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        shown = [*values.ravel(), *([level[1]] if level else [])]
        lowest, highest = float(np.nanmin(shown)), float(np.nanmax(shown))
        colours, norm = "viridis", Normalize(lowest, highest)
        if level:  # white there, blue below and red above, as deep as the distance is great
            reach = max(highest - level[1], level[1] - lowest)
            colours, norm = "RdBu_r", Normalize(level[1] - reach, level[1] + reach)
        picture = axes.imshow(values, colours, norm, aspect="auto")
        for (i, j), value in np.ndenumerate(values):
            red, green, blue, _ = picture.to_rgba(np.asarray(value))
            colour = "black" if 0.3 * red + 0.6 * green + 0.1 * blue > 0.5 else "white"
            axes.text(j, i, f"{value:.3g}", ha="center", va="center", color=colour, fontsize=8)
        axes.set_yticks(range(len(rows)), rows, color=INK)
        axes.set_xticks(range(len(columns)), columns, color=INK, rotation=30, ha="right")
        scale = figure.colorbar(picture, ax=axes, aspect=12, fraction=0.05)
        scale.ax.tick_params(labelcolor=MUTED, length=0)
        scale.outline.set_visible(False)
        if level:
            name, mark = level
            scale.ax.set_ylim(lowest, highest)
            scale.ax.axhline(mark, color=INK, linewidth=2)
            scale.ax.annotate(
                f"{name} = {mark:g}",
                (1, mark),
                xycoords=("axes fraction", "data"),
                xytext=(36, 0),
                textcoords="offset points",
                va="center",
                color=INK,
            )
        return svg(figure, axes, "heatmap")
