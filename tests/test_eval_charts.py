"""The charts as they are drawn, read from matplotlib's own objects."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slvr.eval import charts


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Figure]]:
    """The figures that are drawn, in order."""
    figures: list[Figure] = []
    svg = charts.svg

    def seen(figure: Figure, axes: Axes, kind: str) -> Markup:
        figures.append(figure)
        return svg(figure, axes, kind)

    monkeypatch.setattr(charts, "svg", seen)
    return figures


def test_bars_and_their_intervals_are_as_long_as_the_scores_say(drawn: list[Figure]) -> None:
    scores = pd.DataFrame(
        {
            "model": ["ours", "untrained", "mean log-mel"],
            "set": "esc50",
            "accuracy": [0.6953, 0.31, 0.402],
            "ci95": [0.0041, 0.03, 0.5],
            "n_runs": [1, 1, 2],
            "sd_runs": [np.nan, np.nan, 0.1],  # what the table shows of several runs
            "n_way": 4,
            "baseline": [False, True, True],
        }
    )
    charts.bars(scores)
    (axes,) = drawn[0].axes
    bars, intervals = axes.containers
    np.testing.assert_allclose([bar.get_width() for bar in bars], [69.53, 31, 40.2])
    assert [bar.get_x() for bar in bars] == [0, 0, 0]
    left, right = axes.get_xlim()
    assert left == 0 and 69.94 < right < 1.25 * 69.94  # no room for what nothing reaches
    extents = np.array(intervals.lines[2][0].get_segments())  # (models, ends, x and y)
    expected = [[69.12, 69.94], [28, 34], [30.2, 50.2]]
    np.testing.assert_allclose(extents[..., 0], expected)
    np.testing.assert_allclose(extents[..., 1], [[i, i] for i in range(3)])
    assert [label.get_text() for label in axes.get_yticklabels()] == scores["model"].tolist()
    (chance,) = (line for line in axes.lines if line.get_linestyle() == "--")
    assert list(chance.get_xdata()) == [25, 25]
    trained, *baselines = (bar.get_facecolor() for bar in bars)
    assert trained not in baselines and len(set(baselines)) == 1


@pytest.mark.parametrize("level", [1.0, 5.0])
def test_a_heatmap_is_white_at_the_level_and_marks_it(drawn: list[Figure], level: float) -> None:
    values = np.array([[np.nan, 4.0], [1.5, 0.25]])
    charts.heatmap(values, ["a", "b"], ["one", "two"], ("sqrt(2d)", level))
    axes, scale = drawn[0].axes
    (picture,) = axes.images
    np.testing.assert_array_equal(picture.get_array().filled(np.nan), values)
    assert picture.to_rgba(level)[:3] == pytest.approx([1, 1, 1], abs=0.05)
    (mark,) = scale.lines
    assert list(mark.get_ydata()) == [level, level]
    assert scale.get_ylim() == (0.25, max(4.0, level))
    assert {text.get_text() for text in axes.texts} == {"nan", "4", "1.5", "0.25"}
