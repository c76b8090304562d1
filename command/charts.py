"""Charts as inline SVG, in the colours of the page that shows them."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Drawn in these colours, which become the page's own for light and dark.
_COLOURS = {
    "#010101": "var(--ink)",
    "#020202": "var(--muted)",
    "#030303": "var(--line)",
    "#040404": "var(--accent)",
    "#050505": "var(--pale)",
}
INK, MUTED, LINE, ACCENT, PALE = _COLOURS
"""For matplotlib, each the page's colour of that name."""


@contextmanager
def drawing(salt: str) -> Iterator[None]:
    """Settings under which a chart becomes `svg`; `salt` differs between the charts of a page."""
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",  # text stays text, in the page's own font
        "svg.hashsalt": salt,
        "text.parse_math": False,  # a folder may be called $x$
        "font.size": 9,
    }
    with mpl.rc_context(settings):
        yield


def svg(figure: Figure, axes: Axes, kind: str) -> Markup:
    """The chart as an element of a page, of class `kind`, without frame and tick marks."""
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    drawn = buffer.getvalue()
    drawn = f'<svg class="{kind}"' + drawn[drawn.index("<svg") + len("<svg") :]
    for colour, shown in _COLOURS.items():
        drawn = drawn.replace(colour, shown)
    return Markup(drawn)
