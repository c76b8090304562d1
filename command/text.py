r"""Names and labels of strangers, as each format shows them and none obeys them.

A class may be called `=HYPERLINK("http://x")`, a folder `<img src=x>` or `a\x1b[2J`.
"""

import re
import sys
from collections.abc import Sequence
from typing import TextIO

_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Control characters but tab and new line, and those that turn the direction of writing."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_MARKDOWN = {
    "<": "&lt;",
    ">": "&gt;",
    "[": r"\[",
    "]": r"\]",
    "|": r"\|",
    "\\": r"\\",
}
_LATEX = {
    **{plain: "\\" + plain for plain in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}"},
    **{"±": r"$\pm$", "·": r"$\cdot$"},
}


def plain(text: object) -> str:
    r"""The text for a terminal, which would follow escape sequences: `\x1b` instead of ESC."""
    return _OBEYED.sub(lambda found: ascii(found[0])[1:-1], str(text))


def say(text: object, file: TextIO | None = None) -> None:
    """Prints a text, on stdout if nothing else is given."""
    print(plain(text), file=file or sys.stdout, flush=file is not None)


def csv_cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula: with ' before it; numbers as they are."""
    if not isinstance(value, str):
        return value
    if not value.startswith(_FORMULA):
        return plain(value)  # a lone carriage return begins a row
    try:
        float(value)
    except ValueError:
        return f"'{plain(value)}"
    return value


def csv_cells(values: Sequence[object]) -> list[object]:
    """The cells of a row."""
    return [csv_cell(value) for value in values]


def in_markdown(text: str) -> str:
    """The text in a line or a cell of markdown: no html, no links, no further cells."""
    text = re.sub(r"&(?=#?\w)", "&amp;", _one_line(text))  # one that stands alone is no entity
    return "".join(_MARKDOWN.get(each, each) for each in text)


def in_latex(text: str) -> str:
    """The text in LaTeX, without commands."""
    return "".join(_LATEX.get(each, each) for each in _one_line(text))


def _one_line(text: str) -> str:
    return plain(re.sub(r"[\t\n]", " ", text))
