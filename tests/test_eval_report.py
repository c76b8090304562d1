import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from eval.report import html, markdown, protocol

RECORD = {
    "config": {"n_way": 5, "checkpoint": ["runs/a"], "out": None},
    "code": "0.1.0",
    "python": "3.11.7",
    "packages": {"torch": "2.13.0"},
}


def score(model: str, name: str, accuracy: float, baseline: bool = True) -> dict:
    return {
        "model": model,
        "set": name,
        "split": "eval",
        "baseline": baseline,
        "accuracy": accuracy,
        "ci95": 0.0041,
        "n_way": 5,
        "k_shot": 1,
        "n_query": 1,
        "n_tasks": 10_000,
        "classifier": "centroid" if model == "mean log-mel" else "sgd",
        "normalise_features": "l2",
        "piece_s": 5.0,
        "n_classes": 10,
        "classes_left_out": "",
        "n_clips": 400,
        "n_pieces": 700,
        "dim": 1000,
        "model_sha256": "ab" * 32,
        "shards_sha256": "cd" * 32,
    }


@pytest.fixture
def scores() -> pd.DataFrame:
    return pd.DataFrame(
        [
            score("parallel <1>", "esc50", 0.6953, baseline=False),
            score("untrained", "esc50", 0.31),
            score("mean log-mel", "esc50", 0.402),
            score("parallel <1>", "nsynth", 0.7181, baseline=False),
            score("untrained", "nsynth", 0.4),
            score("mean log-mel", "nsynth", 0.75),
        ]
    )


class Page(HTMLParser):
    """Text of a page, its elements, the references it makes, and elements left open."""

    VOID = frozenset({"meta", "br", "hr", "img", "input", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.best: list[str] = []
        self.text = ""
        self._is_best = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.references += [values[name] or "" for name in ("href", "src") if name in values]
        self._is_best = tag == "td" and values.get("class") == "best"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._is_best:
            self.best.append(data.strip())
            self._is_best = False


def test_the_protocol_names_all_that_moves_the_numbers(scores: pd.DataFrame) -> None:
    line = protocol(scores)
    for part in (
        "5-way 1-shot",
        "1 query a class",
        "10,000 tasks",
        "sgd classifier for parallel <1>, untrained",
        "centroid classifier for mean log-mel",
        "L2-normalised",
        "5 s pieces",
    ):
        assert part in line


def test_markdown_has_a_row_a_set_and_a_column_a_model(scores: pd.DataFrame) -> None:
    lines = markdown(scores).splitlines()
    assert "| set | parallel <1> | untrained | mean log-mel | chance |" in lines
    assert "| esc50 | 69.53 ± 0.41 | 31.00 ± 0.41 | 40.20 ± 0.41 | 20.0 |" in lines
    assert "| nsynth | 71.81 ± 0.41 | 40.00 ± 0.41 | 75.00 ± 0.41 | 20.0 |" in lines


def test_the_page_is_well_formed_and_needs_no_other_file(scores: pd.DataFrame) -> None:
    text = html(scores, RECORD, {"parallel <1>": {"recipe": "mtslvr", "lr": 5e-5}})
    page = Page(text)
    assert page.open == []
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert all(reference.startswith("#") for reference in page.references)
    assert not re.search(r"url\((?!#)|@import", text)


def test_the_page_shows_scores_charts_and_what_was_run(scores: pd.DataFrame) -> None:
    page = Page(html(scores, RECORD, {"parallel <1>": {"recipe": "mtslvr", "lr": 5e-5}}))
    for part in ("69.53", "± 0.41", "chance", "mtslvr", "5e-05", "cd" * 32, "ab" * 32, "2.13.0"):
        assert part in page.text, part
    assert page.best == ["69.53", "75.00"]
    assert page.tags.count("svg") == 2
    # The charts' own numbers, to one decimal.
    for part in ("69.5", "31.0", "71.8"):
        assert re.search(rf"\b{re.escape(part)}\b(?!\d)", page.text), part


def test_the_ids_of_a_page_are_its_own(scores: pd.DataFrame) -> None:
    text = html(scores, RECORD, {})
    clips = re.findall(r'<clipPath id="([^"]+)"', text)
    assert len(clips) == len(set(clips))


def test_colours_follow_the_page(scores: pd.DataFrame) -> None:
    text = html(scores, RECORD, {})
    for name in ("ink", "muted", "line", "trained", "baseline"):
        assert f"--{name}:" in text and f"var(--{name})" in text
    assert not re.search(r"#0[1-5]0[1-5]0[1-5]", text)
