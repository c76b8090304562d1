import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from slvr.eval.charts import bars, heatmap
from slvr.eval.report import REPORT, Report, html, write_report
from slvr.eval.tables import Table

RECORD = {
    "command": "evaluate",
    "datasets": {},
    "config": {"n_way": 5, "checkpoint": ["runs/a"], "out": None},
    "code": "0.1.0",
    "python": "3.11.7",
    "packages": {"torch": "2.13.0"},
}
SETS = ["esc50", "nsynth", "fsdkaggle18", "watkins", "birdclef", "voxceleb1"]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


def scores(name: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "model": ["parallel <1>", "untrained", "mean log-mel"],
            "set": name,
            "accuracy": [0.6953, 0.31, 0.402],
            "ci95": 0.0041,
            "n_runs": 1,
            "sd_runs": float("nan"),
            "n_way": 5,
            "baseline": [False, True, True],
        }
    )


@pytest.fixture
def report() -> Report:
    models = ["parallel <1>", "untrained", "mean log-mel"]
    cells = ["69.53 ± 0.41", "31.00 ± 0.41", "40.20 ± 0.41"]
    table = Table(
        "Accuracy in %",
        ["set", *models],
        [[name, *cells] for name in SETS],
        ["A note & more."],
        frozenset({(0, 1)}),
    )
    wide = Table("Wide", ["model", *map(str, range(30))], [["x", *["61.25 ± 0.41"] * 30]])
    shares = np.array([[0.4, 0.6], [0.3, 0.7]])
    charts = {name: bars(scores(name)) for name in SETS}
    charts["shares"] = heatmap(shares, ["a", "b"], ["first", "second"], ("equal", 0.5))
    return Report(
        "Few-shot accuracy",
        "5-way 1-shot · protocol later",
        scores("esc50"),
        [table, wide],
        charts,
        {"Training of parallel <1>": {"recipe": "mtslvr", "lr": 5e-5}},
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


def test_the_page_is_well_formed_and_needs_no_other_file(report: Report) -> None:
    text = html(report, RECORD)
    page = Page(text)
    assert page.open == []
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    # matplotlib draws the scale of a heatmap as pixels, inside the page
    assert all(reference.startswith(("#", "data:image/png")) for reference in page.references)
    assert not re.search(r"url\((?!#)|@import", text)


def test_the_page_shows_tables_charts_and_what_was_run(report: Report) -> None:
    page = Page(html(report, RECORD))
    for part in ("69.53", "± 0.41", "chance", "mtslvr", "5e-05", "2.13.0", "protocol later"):
        assert part in page.text, part
    assert page.best == ["69.53 ± 0.41"]
    assert page.tags.count("svg") == len(SETS) + 1
    # The charts' own numbers, to one decimal.
    for part in ("69.5", "31.0", "40.2"):
        assert re.search(rf"\b{re.escape(part)}\b(?!\d)", page.text), part


def test_the_ids_of_a_page_are_its_own(report: Report) -> None:
    clips = re.findall(r'<clipPath id="([^"]+)"', html(report, RECORD))
    assert len(clips) == len(set(clips)) > 1


def test_colours_follow_the_page(report: Report) -> None:
    text = html(report, RECORD)
    for name in ("ink", "muted", "line", "accent", "pale"):
        assert f"--{name}:" in text and f"var(--{name})" in text
    assert not re.search(r"#0[1-5]0[1-5]0[1-5]\b", text)


def test_a_heatmap_writes_its_numbers_and_the_level() -> None:
    svg = heatmap(np.array([[0.25, 4.0]]), ["row"], ["one", "two"], ("sqrt(2d)", 1.0))
    text = Page(svg).text
    for part in ("0.25", "row", "one", "two", "sqrt(2d) = 1"):
        assert part in text


def test_every_file_is_written(report: Report, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(RECORD))
    write_report(tmp_path, report)
    assert pd.read_csv(tmp_path / "results.csv")["accuracy"].tolist() == [0.6953, 0.31, 0.402]
    assert json.loads((tmp_path / "results.json").read_text())[0]["model"] == "parallel <1>"
    assert "| esc50 | **69.53 ± 0.41** |" in (tmp_path / "results.md").read_text()
    assert r"\textbf{69.53 $\pm$ 0.41}" in (tmp_path / "results.tex").read_text()
    assert "<svg" in (tmp_path / REPORT).read_text()


# Runs in the page: what a reader would see, as text in the title.
MEASURE = """<script>addEventListener('load', () => {
  const boxes = [...document.querySelectorAll('svg')].map(e => e.getBoundingClientRect());
  const page = document.documentElement;
  document.title = JSON.stringify({
    overflow: page.scrollWidth - page.clientWidth,
    charts: boxes.map(b => [b.width, b.height, b.right]),
    ink: getComputedStyle(document.body).color,
    rows: document.querySelectorAll('tbody tr').length,
    small: [...document.querySelectorAll('svg text')].filter(
      e => e.getBoundingClientRect().height < 6).length,
    outside: [...document.querySelectorAll('svg text')].filter(e => {
      const t = e.getBoundingClientRect(), s = e.closest('svg').getBoundingClientRect();
      return t.left < s.left - 2 || t.right > s.right + 2;
    }).map(e => e.textContent),
    width: innerWidth});
});</script>"""


def browse(page: Path, *options: str) -> str:
    """Output of a headless browser that opens a page."""
    assert CHROMIUM is not None
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    profile = f"--user-data-dir={page.parent / 'profile'}"
    done = subprocess.run(
        [CHROMIUM, *flags, profile, *options, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine's path")
@pytest.mark.parametrize("width", [1200, 500])
def test_a_browser_lays_it_out(report: Report, tmp_path: Path, width: int) -> None:
    page = tmp_path / "page.html"
    page.write_text(html(report, RECORD).replace("</body>", MEASURE + "</body>"))
    dom = browse(page, f"--window-size={width},900", "--dump-dom")
    seen = json.loads(re.search(r"<title>(.*?)</title>", dom).group(1))
    assert seen["width"] == width
    assert seen["overflow"] == 0, "the page scrolls sideways"
    assert seen["rows"] == len(SETS) + 1
    assert len(seen["charts"]) == len(SETS) + 1
    for chart_width, chart_height, right in seen["charts"]:
        assert chart_width > 200 and chart_height > 80 and right <= width
    assert seen["outside"] == [] and seen["small"] == 0


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine's path")
def test_a_browser_paints_the_bars(report: Report, tmp_path: Path) -> None:
    page, picture = tmp_path / "page.html", tmp_path / "page.png"
    page.write_text(html(report, RECORD))
    browse(page, "--window-size=1200,1600", f"--screenshot={picture}")
    pixels = (255 * imread(picture)[..., :3]).round().astype(int)

    def painted(colour: str) -> int:
        rgb = [int(colour[i : i + 2], 16) for i in (0, 2, 4)]
        return int((np.abs(pixels - rgb).max(-1) <= 3).sum())

    assert painted("2f6f8f") > 2000, "no bars of the trained model"
    assert painted("b9b4a8") > 2000, "no bars of the baselines"
    assert painted("fbfaf8") + painted("ffffff") > pixels[..., 0].size / 2
