"""What the studies of tests/benchmarks say follows from numbers; each has a section of its own."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent / "benchmarks"))

from studies import HEADINGS, ci, counted, verdict, write_section


def test_sections_are_replaced_one_by_one_and_keep_their_order(tmp_path: Path) -> None:
    page = tmp_path / "STUDY.md"
    for heading in reversed(HEADINGS):
        write_section(heading, f"of {heading}\n\n## below\n\n| a |\n", page)
    write_section(HEADINGS[1], "new", page)
    page.write_text(page.read_text() + "\n# Of a stranger\n\nstays\n")
    write_section(HEADINGS[1], "newer\n", page)
    parts = page.read_text().split("\n# ")
    assert [part.removeprefix("# ").partition("\n")[0] for part in parts] == [
        *HEADINGS,
        "Of a stranger",
    ]
    assert parts[1].endswith("\n\nnewer\n") and "new\n" not in parts[1].replace("newer", "")
    assert parts[0].endswith("## below\n\n| a |\n") and parts[2].endswith("| a |\n")


def test_an_interval_is_that_of_the_mean_over_sets_of_means_over_tasks() -> None:
    values = np.random.default_rng(0).normal(size=(3, 2, 50))
    by_task = values.mean(0)
    variances = [np.var(row) / 50 for row in by_task]
    assert ci(values) == pytest.approx(1.96 * np.sqrt(sum(variances)) / 2)


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ((1.0, 2.0, 0.5), "holds"),
        ((-1.0, -2.0, -0.5), "does not hold"),
        ((1.0, 2.0, -0.5), "undecided"),
        ((1.0, 2.0, 0.001), "undecided"),
    ],
)
def test_a_verdict_needs_every_seed_beyond_its_interval(
    means: tuple[float, ...], expected: str
) -> None:
    around = np.random.default_rng(1).normal(size=(1, 3, 400))
    around -= around.mean()
    gaps = np.array(means)[:, None, None] + around
    assert verdict(gaps) == expected


def test_verdicts_are_counted() -> None:
    said = counted(["holds", "undecided", "holds"])
    assert said == "Of 3 orderings: holds 2, does not hold 0, undecided 1."
