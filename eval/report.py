"""The results of a command as files: tables, and one page that needs no other file."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup
from rich.console import Console

from slvr.command.page import render
from slvr.command.record import read_record
from slvr.command.text import csv_cell, in_markdown, plain
from slvr.eval.tables import Table, latex, markdown, terminal
from slvr.shards.files import write_text

REPORT = "report.html"


@dataclass(frozen=True)
class Report:
    """What a command found.

    Attributes:
        title: of the page.
        protocol: what was done, in one line, which a page shows once.
        results: every number with what led to it, one row each.
        tables: as they are shown.
        charts: caption -> inline SVG.
        details: heading -> names and values, for the end of the page.
    """

    title: str
    protocol: str
    results: pd.DataFrame
    tables: Sequence[Table]
    charts: Mapping[str, Markup]
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def write_report(out: Path, report: Report) -> None:
    """Writes `results.csv`, `.json`, `.md`, `.tex`, `report.html` into a folder with run.json."""
    results = report.results
    cells = results.rename(columns=csv_cell).map(csv_cell)
    write_text(out / "results.csv", cells.to_csv(index=False))
    write_text(out / "results.json", results.to_json(orient="records", indent=2) + "\n")
    text = [f"{in_markdown(report.protocol)}.\n", *map(markdown, report.tables)]
    write_text(out / "results.md", "\n".join(text))
    write_text(out / "results.tex", "\n".join(map(latex, _with_protocol(report))))
    write_text(out / REPORT, html(report, read_record(out)))


def print_report(out: Path, report: Report) -> None:
    """Prints the tables and where the page is."""
    console = Console()
    if not console.is_terminal:
        console.width = 200  # a file or a pipe has no edge at which tables must wrap
    console.print(plain(f"{report.protocol}."), soft_wrap=True, highlight=False, markup=False)
    for table in report.tables:
        console.print(terminal(table))
        for note in table.notes:
            console.print(plain(note), soft_wrap=True, highlight=False, markup=False)
    console.print(plain(f"report: {out / REPORT}"), soft_wrap=True, highlight=False, markup=False)


def _with_protocol(report: Report) -> list[Table]:
    """The tables, the protocol in the caption of the first: that one goes into a paper."""
    first, *others = report.tables
    return [dataclasses.replace(first, notes=[*first.notes, f"{report.protocol}."]), *others]


def html(report: Report, record: Mapping[str, Any]) -> str:
    """The report as one self-contained page; `record` is the content of run.json."""
    software = {"slvr": record["code"], "python": record["python"], **record["packages"]}
    return render(
        "eval",
        "report.html.j2",
        report=report,
        details={**report.details, "Settings": record["config"], "Software": software},
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )
