import re

import pandas as pd
import pytest

from slvr.eval.published import ACCURACY, COUNTERPART, SETS
from slvr.eval.tables import Table, comparison_table, latex, markdown, protocol, score_table
from slvr.train.recipes import RECIPES


def score(model: str, name: str, accuracy: float, recipe: str = "", **changes) -> dict:
    return {
        "model": model,
        "set": name,
        "set_recipe": name,
        "split": "eval",
        "baseline": not recipe,
        "accuracy": accuracy,
        "ci95": 0.0041,
        "n_way": 5,
        "k_shot": 1,
        "n_query": 1,
        "n_tasks": 10_000,
        **{"n_seeds": 1, "n_runs": 1, "best": False},
        "classifier": "centroid" if model == "mean log-mel" else "sgd",
        "protocol": "later",
        "normalise_features": "l2",
        "support": "piece",
        "query": "votes",
        "n_classes": 10,
        "classes_left_out": "",
        "benchmark_difference": "",
        "training_recipe": recipe,
    } | changes


@pytest.fixture
def scores() -> pd.DataFrame:
    ours = "mtslvr-simclr-bn"
    return pd.DataFrame(
        [
            score(
                "mine",
                "esc50",
                0.6953,
                ours,
                best=True,
                benchmark_difference="1,998 clips instead of 2,000",
            ),
            score("untrained", "esc50", 0.31, benchmark_difference="1,998 clips instead of 2,000"),
            score(
                "mean log-mel", "esc50", 0.402, benchmark_difference="1,998 clips instead of 2,000"
            ),
            score("mine", "nsynth", 0.7481, ours, best=True, classes_left_out="gong, harp"),
            score("untrained", "nsynth", 0.4, classes_left_out="gong, harp"),
            score("mean log-mel", "nsynth", 0.75, best=True, classes_left_out="gong, harp"),
        ]
    )


def test_the_protocol_names_all_that_moves_the_numbers(scores: pd.DataFrame) -> None:
    line = protocol(scores)
    for part in (
        "5-way 1-shot",
        "1 query a class",
        "10,000 tasks",
        "protocol later: features L2-normalised, a support is one piece, a query decides by its",
        "sgd classifier for mine, untrained",
        "centroid classifier for mean log-mel",
    ):
        assert part in line
    assert protocol(scores[scores["classifier"] == "sgd"]).endswith("sgd classifier")


def test_scores_have_a_row_a_set_and_a_column_a_model(scores: pd.DataFrame) -> None:
    table = score_table(scores)
    assert list(table.head) == ["set", "mine", "untrained", "mean log-mel", "chance"]
    assert list(table.rows[0]) == [
        "esc50*",
        *("69.53 ± 0.41", "31.00 ± 0.41", "40.20 ± 0.41", "20.0"),
    ]
    assert list(table.rows[2]) == ["average rank", "1.5", "3.0", "1.5", ""]
    assert table.best == {(0, 1), (1, 1), (1, 3)}
    assert "esc50 is not the benchmark's: 1,998 clips instead of 2,000" in " ".join(table.notes)
    assert "classes of fewer than 2 clips left out: gong, harp" in " ".join(table.notes)


def test_published_rows_stand_beside_ours_with_the_difference(scores: pd.DataFrame) -> None:
    table = comparison_table(scores)
    assert list(table.head) == ["model", "ESC-50*", "NSynth", "avg rank"]
    rows = {row[0]: list(row[1:]) for row in table.rows}
    # SimCLR MT-Bn: 69.17 and 72.44
    assert rows["mine"][:2] == ["69.53", "74.81"]
    assert rows["minus SimCLR MT-Bn"] == ["+0.36", "+2.37", ""]
    assert rows["SimCLR MT-Bn (published)"][:2] == ["69.17", "72.44"]
    assert rows["MetaAudio, trained on the set (published)"][2] == "1.0"
    assert len(rows) == 3 + 1 + len(ACCURACY)
    assert "protocol later" not in " ".join(table.notes)  # the page says it once


def test_other_shots_and_other_sets_have_no_published_rows(scores: pd.DataFrame) -> None:
    assert comparison_table(scores.assign(k_shot=5)) is None
    assert comparison_table(scores.assign(set_recipe="folder")) is None


def test_sets_that_a_row_lacks_are_empty_there() -> None:
    scores = pd.DataFrame([score("mine", "cremad", 0.3, "own")])
    rows = {row[0]: list(row[1:]) for row in comparison_table(scores).rows}
    assert rows["MetaAudio, trained on the set (published)"] == ["", ""]
    assert rows["minus SimCLR MT-Parallel"] == ["+0.39", ""]


@pytest.mark.parametrize(
    ("method", "published"),
    [
        ("SimCLR", [3.9, 7.0, 4.4, 5.8, 2.1, 2.9, 1.9]),
        ("SimSiam", [5.0, 7.0, 4.4, 4.8, 3.0, 2.7, 1.1]),
    ],
)
def test_the_published_numbers_give_the_published_ranks(
    method: str, published: list[float]
) -> None:
    rows = {name: row for name, row in ACCURACY.items() if name.startswith(method)}
    table = pd.DataFrame(rows).T
    assert list(table.columns) == list(SETS) and table.notna().all(axis=None)
    ranks = table.rank(ascending=False).mean(axis=1)
    # Cells that are copies of one another in the paper move the mean of their rows a little.
    assert (ranks - published).abs().max() < 0.75
    assert list(ranks.sort_values().index[:1]) == [f"{method} MT-Parallel"]


def test_every_published_method_is_a_recipe_of_train() -> None:
    assert set(COUNTERPART) <= set(RECIPES)
    assert set(COUNTERPART.values()) <= set(ACCURACY)


def test_markdown_and_latex_hold_every_cell() -> None:
    table = Table(
        "Share in %",
        ["a|b", "x_1", "x"],
        [["r & s", "1.0 ± 0.1", "2"], ["t", "3", "4"]],
        ["A note."],
        frozenset({(0, 2)}),
    )
    lines = markdown(table).splitlines()
    assert lines[0] == "Share in %." and lines[-1] == "A note."
    assert lines[2:5] == [r"| a\|b | x_1 | x |", "|---|---:|---:|", "| r & s | 1.0 ± 0.1 | **2** |"]
    tex = latex(table)
    assert r"r \& s & 1.0 $\pm$ 0.1 & \textbf{2} \\" in tex
    assert r"a\textbar{}b & x\_1 & x \\" in tex and r"\caption{Share in \%. A note.}" in tex
    assert tex.count(r"\begin") == tex.count(r"\end") == 2
    assert not re.search(r"(?<!\\)[%#_]", tex)
