"""Charts as inline SVG, in the colours of the page that shows them."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

# Drawn in these colours, which the page replaces by its own for light and dark.
_COLOURS = {
    "#010101": "var(--ink)",
    "#020202": "var(--muted)",
    "#030303": "var(--line)",
    "#040404": "var(--trained)",
    "#050505": "var(--baseline)",
}
_INK, _MUTED, _LINE, _TRAINED, _BASELINE = _COLOURS


def bars(scores: pd.DataFrame) -> Markup:
    """A bar a model with its interval, and the chance line.

    Args:
        scores: rows of one set.
    """
    with _settings(f"bars {scores['set'].iloc[0]}"):
        figure = Figure(figsize=(4.6, 0.55 + 0.44 * len(scores)), layout="constrained")
        axes = figure.subplots()
        percent, ci = 100 * scores["accuracy"].to_numpy(), 100 * scores["ci95"].to_numpy()
        bar = range(len(scores))
        colours = [_BASELINE if baseline else _TRAINED for baseline in scores["baseline"]]
        axes.barh(bar, percent, height=0.62, color=colours)
        axes.errorbar(percent, bar, xerr=ci, fmt="none", ecolor=_INK, elinewidth=1.2, capsize=2.5)
        chance = 100 / scores["n_way"].iloc[0]
        axes.axvline(chance, color=_MUTED, linewidth=1, linestyle=(0, (3, 2)))
        axes.annotate(
            "chance",
            (chance, 1),
            xycoords=("data", "axes fraction"),
            color=_MUTED,
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
                color=_INK,
            )
        axes.set_yticks(bar, scores["model"], color=_INK)
        axes.set_xticks(range(0, 101, 20))
        axes.set_xlim(0, 108)
        axes.invert_yaxis()
        axes.tick_params(axis="x", labelcolor=_MUTED)
        axes.grid(axis="x", color=_LINE, linewidth=0.8)
        axes.set_axisbelow(True)
        return _svg(figure, axes, "bars")


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
    with _settings(f"heatmap {rows} {columns}"):
        names_inches = 0.08 * max(map(len, rows))
        size = (names_inches + 0.75 * len(columns) + 1.6, 1.3 + 0.34 * len(rows))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        shown = [*values.ravel(), *([level[1]] if level else [])]
        lowest, highest = min(shown), max(shown)
        picture = axes.imshow(values, "viridis", aspect="auto", vmin=lowest, vmax=highest)
        for (i, j), value in np.ndenumerate(values):
            dark = value < (lowest + highest) / 2
            colour = "white" if dark else "black"
            axes.text(j, i, f"{value:.3g}", ha="center", va="center", color=colour, fontsize=8)
        axes.set_yticks(range(len(rows)), rows, color=_INK)
        axes.set_xticks(range(len(columns)), columns, color=_INK, rotation=30, ha="right")
        scale = figure.colorbar(picture, ax=axes, aspect=12, fraction=0.05)
        scale.ax.tick_params(labelcolor=_MUTED, length=0)
        scale.outline.set_visible(False)
        if level:
            name, mark = level
            scale.ax.axhline(mark, color="#ff6a3d", linewidth=2)
            scale.ax.annotate(
                f"{name} {mark:g}",
                (1, mark),
                xycoords=("axes fraction", "data"),
                xytext=(24, 0),
                textcoords="offset points",
                va="center",
                color=_INK,
            )
        return _svg(figure, axes, "heatmap")


@contextmanager
def _settings(salt: str) -> Iterator[None]:
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",  # text stays text, in the page's own font
        "svg.hashsalt": salt,  # ids differ between the charts of a page
        "font.size": 9,
    }
    with mpl.rc_context(settings):
        yield


def _svg(figure: Figure, axes: Axes, kind: str) -> Markup:
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = f'<svg class="{kind}"' + svg[svg.index("<svg") + len("<svg") :]
    for drawn, shown in _COLOURS.items():
        svg = svg.replace(drawn, shown)
    return Markup(svg)
