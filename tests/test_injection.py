"""Names and labels of strangers in every format: shown, and never obeyed."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from conftest import run, write_run
from slvr.command.record import write_record
from slvr.command.text import csv_cell, in_latex, in_markdown, plain
from slvr.eval.cli import main
from slvr.eval.report import Report, print_report, write_report
from slvr.eval.tables import Table, latex, markdown
from slvr.model.encoders.resnet18 import ResNet18
from slvr.shards.read import ShardDirectory

NASTY = (
    '=HYPERLINK("http://x.org")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "a | b | c",
    r"\input{/etc/passwd}",
    r"\write18{id}",
    "$\\frac$",
    "50% & more #1 _x_ {y} ~ ^",
    "\x1b]0;title\x07\x1b[2J",
    "\x9b31m",
    "\u202egnp.exe",
    "[/bold] [red]x",
    "two\nlines",
)


@pytest.mark.parametrize("text", NASTY)
def test_no_format_obeys_a_name(text: str) -> None:
    assert not any(c in plain(text) for c in "\x1b\x9b\x07\r\u202e")
    cell = str(csv_cell(text))
    assert cell[0] not in "=+-@\t\r"
    shown = in_markdown(text)
    assert "<" not in shown and "\n" not in shown and "\x1b" not in shown
    assert "|" not in shown.replace(r"\|", "") and "](" not in shown.replace(r"\](", "")
    typeset = in_latex(text)
    for command in (r"\input", r"\write", r"\frac"):
        assert command not in typeset
    assert "\n" not in typeset and "\x1b" not in typeset


def test_latex_specials_come_out_as_themselves() -> None:
    assert in_latex(r"a\b_{c}~^<|>") == (
        r"a\textbackslash{}b\_\{c\}\textasciitilde{}\textasciicircum{}"
        r"\textless{}\textbar{}\textgreater{}"
    )
    assert in_latex("61.2 ± 0.4 · x") == r"61.2 $\pm$ 0.4 $\cdot$ x"


def test_numbers_stay_numbers_in_csv() -> None:
    assert [csv_cell(x) for x in (-1.5, "-1.5", "+2e-3", "-inf", None, "a-b")] == [
        *(-1.5, "-1.5", "+2e-3", "-inf", None, "a-b")
    ]


def test_a_table_keeps_its_cells_whatever_they_hold() -> None:
    table = Table("<b>x</b>", ["name", *NASTY], [[name, *NASTY] for name in NASTY], NASTY)
    lines = markdown(table).splitlines()
    assert "<" not in "".join(lines).replace("|---|", "")
    cells = {line.replace(r"\\", "").replace(r"\|", "").count("|") for line in lines[2:23]}
    assert cells == {len(NASTY) + 2}
    rows = [line for line in latex(table).splitlines() if line.endswith(r" \\")]
    assert {row.replace(r"\&", "").count("&") for row in rows} == {len(NASTY)}


def test_a_report_of_nasty_names_is_written_and_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = pd.DataFrame({"model": NASTY, "=score": [-0.5] * len(NASTY)})
    table = Table(NASTY[-2], NASTY[:3], [NASTY[i : i + 3] for i in range(0, 18, 3)], NASTY)
    report = Report("t", NASTY[6], results, [table], {})
    write_record(tmp_path, "evaluate", {})
    write_report(tmp_path, report)
    print_report(tmp_path, report)
    assert "\x1b" not in capsys.readouterr().out
    read = list(csv.reader(io.StringIO((tmp_path / "results.csv").read_text())))
    assert {row[0][0] for row in read}.isdisjoint("=+-@\t\r") and read[0][1] == "'=score"
    assert {row[1] for row in read[1:]} == {"-0.5"}
    assert "<script>" not in (tmp_path / "report.html").read_text()
    assert "<script>" not in (tmp_path / "results.md").read_text()


def test_evaluate_survives_a_folder_that_looks_like_mathematics(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_directory: Callable[..., ShardDirectory],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    name = "$\\frac$ [b]<i>x{y}\x1b[31m"
    write_run(Path(name), ResNet18("none", dim=16, width=4))
    made = make_directory("=1+$\\sqrt$[red]", n_clips=20, n_classes=5, split="eval")
    line = ("--n-tasks", "5", "--piece", "0.2", "--classifier", "centroid", "--out", "out")
    assert main(["--checkpoint", name, "--shards", made.path.name, *line]) == 0
    told = "".join(capsys.readouterr())
    assert "\x1b" not in told and "$\\frac$ [b]<i>x{y}" in told
    page = (tmp_path / "out" / "report.html").read_text()
    assert "\\frac" in page and "<i>x{y}" not in page
    assert "<i>" not in (tmp_path / "out" / "results.md").read_text()


def test_ingest_prints_no_escape_sequence(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "\x1b[31mclass"
    folder.mkdir(parents=True)
    (folder / "\x1b]0;x\x07.wav").write_bytes(b"RIFF no sound")
    done = run("ingest", "folder", "in", "--out", "\x1b[2Jout", "--max-fail", "1", cwd=tmp_path)
    assert done.returncode == 1 and r"\x1b" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    done = run("ingest", "verify", "\x1b[2Jno", cwd=tmp_path)
    assert done.returncode == 2 and "\x1b" not in done.stderr
