"""The page of a run, and what it and the start of a run say of the model."""

import csv
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from conftest import configured, write_directory
from slvr.model.learner import Learner
from slvr.shards.read import ShardDirectory
from slvr.train.build import build_model, build_stage, build_views
from slvr.train.config import TrainConfig
from slvr.train.log import RATES, progress_note
from slvr.train.loop import train
from slvr.train.recipes import RECIPES
from slvr.train.report import base_rates, count_parameters

MakeDirectory = Callable[..., ShardDirectory]
PARAMETERS = {  # of the encoder, as published
    "none": 11_689_512,
    "split": 11_689_512,
    "bn": 11_524_904,
    "series": 14_308_648,
    "parallel": 13_949_736,
}


def small(directory: ShardDirectory, **options: object) -> TrainConfig:
    settings = {"encoder__width": 4, "encoder__dim": 20, "clip_s": 0.2, "batch": 4, "steps": 6}
    fixed = {"log_every": 1, "accelerator": "cpu", "devices": "1", "lr": 1e-3, "workers": 0}
    return configured(directory.path, **(settings | fixed | options))


def model_of(config: TrainConfig) -> Learner:
    stage = build_stage(
        config.parts, config.data.clip_s, config.data.normalise, torch.device("cpu")
    )
    return build_model(config.parts, stage)


class Page(HTMLParser):
    """Tags, references and text of a page; asserts that it is well formed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self.feed(path.read_text())
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.references += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainConfig]:
    """A run that stops early: after its first validation nothing is progress."""
    path = tmp_path_factory.mktemp("report")
    directory = write_directory(path / "data", n_clips=20)
    config = small(directory, holdout=0.4, validate_every=2, patience=2, min_delta=1e9, steps=40)
    train(config, path / "run")
    return path / "run", config


def test_the_page_of_a_run_that_stopped_early_needs_no_other_file(
    stopped: tuple[Path, TrainConfig],
) -> None:
    run, _ = stopped
    page = Page(run / "report.html")
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert all(reference.startswith("#") for reference in page.references)
    assert not re.search(r"url\((?!#)|@import", (run / "report.html").read_text())


def test_the_page_shows_every_measure_with_its_last_value(
    stopped: tuple[Path, TrainConfig],
) -> None:
    run, config = stopped
    page = Page(run / "report.html")
    captions = [line.strip() for line in page.text.splitlines() if line.strip()]
    for table in ("log.csv", "validation.csv", "throughput.csv"):
        last = rows(run / table)[-1]
        for name, value in last.items():
            if name != "step" and value:
                said = captions[captions.index(name) + 1]
                share = name == "data_wait" or ".ap_" in name
                assert f"{float(value) * (100 if share else 1):.4g}{' %' * share}" in said, name
                assert ("base rate" in said) == (".ap_" in name)
    # losses, learning rate, rates, and what validation shows of simclr and mlap
    assert page.tags.count("svg") == 3 + 1 + 2 + 3 + 7
    for name in ("simclr", "mlap"):
        assert f"What {name} has learnt" in captions
    assert "6 of 40 steps" in page.text
    best = rows(run / "validation.csv")[0]
    assert f"best.safetensors, step 2, validation loss {float(best['total']):.4f}" in page.text
    assert config.recipe in page.text and "clips/s (median)" in page.text


def test_a_base_rate_is_the_share_of_views_with_the_augmentation() -> None:
    config = configured("x", views__max_ops=2)
    found = base_rates(config)
    views = build_views(config.parts.views, config.data.clip_s)
    labels = views.known(views.sample(500, 1))["labels"]
    assert list(found) == list(views.columns)
    for rate, drawn in zip(found.values(), labels.mean(0).tolist(), strict=True):
        assert 0 < rate < 1 and rate == pytest.approx(drawn, abs=0.06)


def test_a_run_without_validation_has_a_page_too(
    make_directory: MakeDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small(make_directory(), steps=1, log_every=10)
    train(config, tmp_path / "run")
    page = Page(tmp_path / "run" / "report.html")
    assert page.tags.count("svg") == 3 + 1 + 2 and "best.safetensors" not in page.text
    model = model_of(config)
    encoder, whole = count_parameters(model)
    assert encoder == sum(p.numel() for p in model.encoder.parameters()) < whole
    said = f"parameters: {encoder:,} in the encoder, {whole:,} with the heads"
    assert f"train: {said}" in capsys.readouterr().err
    assert f"{encoder:,} in the encoder, {whole:,} with the heads" in page.text


@pytest.mark.parametrize(
    "recipe", [name for name, each in RECIPES.items() if each.views == "chains" and name != "demo"]
)
def test_parameters_are_counted_as_published(recipe: str) -> None:
    config = configured(recipe=recipe)
    parts = config.parts
    stage = build_stage(parts, 0.2, "published", torch.device("cpu"))
    with torch.device("meta"):
        encoder, whole = count_parameters(build_model(parts, stage))
    variant, quantities = parts.encoder.config.variant, stage.views.quantities
    assert encoder == PARAMETERS[variant]
    heads = {  # their layers by hand, of the width of one task's embedding
        "simclr": lambda d: d * d + d + d * 256 + 256,
        "simsiam": lambda d: (
            (d * 2048 + 3 * 2048)
            + 2 * (2048 * 2048 + 3 * 2048)
            + (2048 * 512 + 3 * 512)
            + (512 * 2048 + 2048)
        ),
        "mlap": lambda d: (
            (d * 256 + 3 * 256) + (256 * 64 + 3 * 64) + (64 * 16 + 3 * 16) + (16 * 7 + 7)
        ),
        "augself": lambda d: (
            (2 * d * 512 + 3 * 512)
            + (512 * 512 + 3 * 512)
            + (512 * len(quantities) + len(quantities))
        ),
    }
    dim = 1000 if variant == "none" else 500
    assert whole == encoder + sum(heads[name](dim) for name in parts.objectives)


def test_rates_are_kept_apart_from_what_repeats(
    make_directory: MakeDirectory, tmp_path: Path
) -> None:
    train(small(make_directory(), steps=3), tmp_path / "run")
    found = rows(tmp_path / "run" / "throughput.csv")
    assert list(found[0]) == ["step", *RATES] and len(found) == 3
    for row in found:
        assert float(row["clips_per_s"]) > 0 and 0 <= float(row["data_wait"]) <= 1
        assert row["gpu_memory_bytes"] == ""  # there is no GPU
    assert not set(RATES) & rows(tmp_path / "run" / "log.csv")[0].keys()


def test_the_progress_line_says_memory_where_there_is_a_gpu() -> None:
    rates = {"clips_per_s": 4200.4, "data_wait": 0.031}
    assert progress_note({"total": 1.25}, rates) == "total 1.250  4200 clips/s  data wait 3%"
    assert progress_note({}, rates | {"gpu_memory_bytes": 12.34e9}).endswith("GPU 12.3 GB")


def assert_same_losses(a: Path, b: Path, tolerance: float) -> None:
    first, second = rows(a / "log.csv"), rows(b / "log.csv")
    assert len(first) == len(second) == 6
    for one, other in zip(first, second, strict=True):
        for name in ("total", "simclr.nt_xent", "mlap.bce"):
            if one[name]:
                assert float(one[name]) == pytest.approx(float(other[name]), abs=tolerance), name


def test_without_the_exact_speedups_the_run_is_the_same_up_to_rounding(
    make_directory: MakeDirectory, tmp_path: Path
) -> None:
    directory = make_directory()
    for name, exact_speedups in {"with": True, "without": False}.items():
        config = small(
            directory, encoder__exact_speedups=exact_speedups, lr=1e-5, schedule="constant"
        )
        train(config, tmp_path / name)
    assert_same_losses(tmp_path / "with", tmp_path / "without", 1e-4)
    assert rows(tmp_path / "with" / "log.csv") != rows(tmp_path / "without" / "log.csv")
