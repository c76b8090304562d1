"""Recipes train what their names say, on the real command."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import run
from slvr.model.objectives.contract import AugmentationPrediction, AugSelf, Joint
from slvr.pipeline.augmentations import ColouredNoise
from slvr.pipeline.views.chains import Views
from slvr.shards.read import ShardDirectory
from slvr.train.config import TrainConfig
from slvr.train.objectives import build_objective

SMALL = ["--clip-s", "0.2", "--width", "4", "--dim", "20", "--batch", "8", "--lr", "1e-3"]
SMALL += ["--workers", "0", "--log-every", "1", "--accelerator", "cpu"]


def losses(out: Path, name: str = "log.csv") -> list[dict[str, float]]:
    with (out / name).open() as file:
        return [{k: float(v or "nan") for k, v in row.items()} for row in csv.DictReader(file)]


def test_objectives_fit_the_labels_and_parameters_of_the_views() -> None:
    views = Views([*Views().augmentations.values(), ColouredNoise("eighth", f_decay=(0, 1))])
    config = TrainConfig("x")
    assert build_objective("none", 10, config, views) is None
    mlap = build_objective("mlap", 10, config, views)
    assert isinstance(mlap, AugmentationPrediction) and mlap.head.layer4.out_features == 8
    both = build_objective("mlap+augself", 10, config, views)
    assert isinstance(both, Joint) and list(both.parts) == ["mlap", "augself"]
    augself = both.parts["augself"]
    assert isinstance(augself, AugSelf) and augself.columns.tolist()[-3:] == [6, 7, 7]


@pytest.mark.parametrize(
    "recipe", ["augself-simclr-parallel", "augself-simsiam-none", "mtslvr-augself-simclr-split"]
)
def test_a_recipe_with_augself_trains_and_validates(
    make_directory: Callable[..., ShardDirectory], tmp_path: Path, recipe: str
) -> None:
    make_directory("data", n_clips=8)
    line = ["--shards", "data", "--recipe", recipe, *SMALL, "--steps", "3", "--out", "run"]
    line += ["--validation-split", "train", "--validate-every", "3"]
    done = run("train", *line, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = losses(tmp_path / "run")
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert all(
        row["total"] == pytest.approx(row["contrastive"] + row["predictive"]) for row in rows
    )
    (measured,) = losses(tmp_path / "run", "validation.csv")
    assert "r2_time_shift.shift" in measured
    assert ("ap_time_shift" in measured) == ("mlap" in measured) == recipe.startswith("mtslvr")


def test_what_augself_asks_for_can_be_learnt(
    make_directory: Callable[..., ShardDirectory], tmp_path: Path
) -> None:
    make_directory("data", n_clips=8)
    line = ["--shards", "data", "--contrastive", "none", "--predictive", "augself", *SMALL]
    done = run("train", *line, "--steps", "120", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    total = [row["predictive"] for row in losses(tmp_path / "run")]
    assert sum(total[-30:]) < 0.9 * sum(total[:30])
