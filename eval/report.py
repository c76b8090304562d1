"""The results as tables, and as one page that needs no other file."""

import io
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from shards.files import write_text

REPORT = "report.html"

# Drawn in these colours, which the page replaces by its own for light and dark.
_COLOURS = {
    "#010101": "var(--ink)",
    "#020202": "var(--muted)",
    "#030303": "var(--line)",
    "#040404": "var(--trained)",
    "#050505": "var(--baseline)",
}
_INK, _MUTED, _LINE, _TRAINED, _BASELINE = _COLOURS


def write_results(
    out: Path, scores: pd.DataFrame, record: Mapping[str, Any], training: Mapping[str, Any]
) -> None:
    """Write `results.csv`, `results.json`, `results.md` and `report.html` into a folder.

    Args:
        out: an existing folder.
        scores: one row a model and set, as `eval.evaluate.evaluate` gives them.
        record: the content of run.json.
        training: name of each trained model -> the configuration it was trained with.
    """
    write_text(out / "results.csv", scores.to_csv(index=False))
    write_text(out / "results.json", scores.to_json(orient="records", indent=2) + "\n")
    write_text(out / "results.md", markdown(scores))
    write_text(out / REPORT, html(scores, record, training))


def score_text(row: Any) -> str:
    """Return accuracy and confidence interval in percent: `61.25 ± 0.41`."""
    return f"{100 * row.accuracy:.2f} ± {100 * row.ci95:.2f}"


def protocol(scores: pd.DataFrame) -> str:
    """Return the protocol in one line: what moves the numbers and belongs under every table."""
    first = scores.iloc[0]
    judges = " · ".join(
        f"{classifier} classifier for {', '.join(rows['model'].unique())}"
        for classifier, rows in scores.groupby("classifier", sort=False)
    )
    features = "L2-normalised" if first.normalise_features == "l2" else "as they are"
    return (
        f"{first.n_way}-way {first.k_shot}-shot · {first.n_query} "
        f"{'query' if first.n_query == 1 else 'queries'} a class · {first.n_tasks:,} tasks a set · "
        f"{judges} · features {features} · {first.piece_s:g} s pieces"
    )


def markdown(scores: pd.DataFrame) -> str:
    """Return the scores as a markdown table, one row a set and one column a model."""
    models = list(scores["model"].unique())
    lines = [
        f"Accuracy in %, mean ± 95% confidence interval. {protocol(scores)}.",
        "",
        f"| set | {' | '.join(models)} | chance |",
        f"|---|{'---:|' * (len(models) + 1)}",
    ]
    for name, rows in scores.groupby("set", sort=False):
        cells = " | ".join(score_text(row) for row in rows.itertuples())
        lines.append(f"| {name} | {cells} | {100 / rows.n_way.iloc[0]:.1f} |")
    return "\n".join(lines) + "\n"


def html(scores: pd.DataFrame, record: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    """Return the report as one self-contained page; arguments as for `write_results`."""
    environment = Environment(
        loader=PackageLoader("eval", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        sets=[
            {"name": name, "rows": rows.to_dict("records"), "chart": _chart(rows)}
            for name, rows in scores.groupby("set", sort=False)
        ],
        models=scores.drop_duplicates("model").to_dict("records"),
        protocol=protocol(scores),
        record=record,
        training=training,
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )


def _chart(rows: pd.DataFrame) -> Markup:
    """Return a bar chart of one set as inline SVG: a bar a model, its interval, the chance line."""
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",  # text stays text, in the page's own font
        "svg.hashsalt": str(rows["set"].iloc[0]),  # ids differ between the charts of a page
        "font.size": 9,
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=(3.7, 0.55 + 0.44 * len(rows)), layout="constrained")
        axes = figure.subplots()
        percent, ci = 100 * rows["accuracy"].to_numpy(), 100 * rows["ci95"].to_numpy()
        bar = range(len(rows))
        colours = [_BASELINE if baseline else _TRAINED for baseline in rows["baseline"]]
        axes.barh(bar, percent, height=0.62, color=colours)
        axes.errorbar(percent, bar, xerr=ci, fmt="none", ecolor=_INK, elinewidth=1.2, capsize=2.5)
        chance = 100 / rows["n_way"].iloc[0]
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
        axes.set_yticks(bar, rows["model"], color=_INK)
        axes.set_xticks(range(0, 101, 20))
        axes.set_xlim(0, 108)
        axes.invert_yaxis()
        axes.tick_params(length=0, labelcolor=_INK)
        axes.tick_params(axis="x", labelcolor=_MUTED)
        axes.grid(axis="x", color=_LINE, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[:].set_visible(False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    for drawn, shown in _COLOURS.items():
        svg = svg.replace(drawn, shown)
    return Markup(svg)
