"""Recipes train what their names say, on the real command."""

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conftest import configured, run
from slvr.model.objectives.augself import AugSelf
from slvr.model.objectives.mlap import MLAP
from slvr.pipeline.augmentations import ColouredNoise
from slvr.pipeline.views.chains import Chains
from slvr.shards.read import ShardDirectory
from slvr.train.build import build_model, build_stage

SMALL = ["--clip-s", "0.2", "--encoder.width", "4", "--encoder.dim", "20", "--batch", "8"]
SMALL += ["--lr", "1e-3", "--workers", "0", "--log-every", "1", "--accelerator", "cpu"]


def losses(out: Path, name: str = "log.csv") -> list[dict[str, float]]:
    with (out / name).open() as file:
        return [{k: float(v or "nan") for k, v in row.items()} for row in csv.DictReader(file)]


def test_objectives_fit_the_labels_and_parameters_of_the_views() -> None:
    views = Chains([*Chains().augmentations.values(), ColouredNoise("eighth", f_decay=(0, 1))])
    config = configured(
        recipe="mtslvr-augself-simclr-split", encoder__width=4, encoder__dim=20, clip_s=0.2
    )
    stage = build_stage(config.parts, 0.2, "published", torch.device("cpu"))
    model = build_model(config.parts, dataclasses.replace(stage, views=views))
    assert list(model.heads) == ["simclr", "mlap", "augself"]
    mlap, augself = model.heads["mlap"], model.heads["augself"]
    assert isinstance(mlap, MLAP) and mlap.head.layer4.out_features == 8
    assert isinstance(augself, AugSelf) and augself.columns.tolist()[-3:] == [6, 7, 7]
    alone = configured(recipe="simclr", encoder__width=4, encoder__dim=20)
    assert list(build_model(alone.parts, stage).heads) == ["simclr"]


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
    terms = [name for name in rows[0] if name not in ("step", "lr", "total")]
    predicts = ["mlap.bce", "augself.mse"] if recipe.startswith("mtslvr") else ["augself.mse"]
    contrastive = "simsiam.cosine" if "simsiam" in recipe else "simclr.nt_xent"
    assert terms == [contrastive, *predicts]
    assert all(row["total"] == pytest.approx(sum(row[name] for name in terms)) for row in rows)
    (measured,) = losses(tmp_path / "run", "validation.csv")
    assert list(measured)[: 2 + len(terms)] == ["step", "total", *terms]
    assert "augself.r2_time_shift.shift" in measured
    assert ("mlap.ap_time_shift" in measured) == recipe.startswith("mtslvr")


def test_what_augself_asks_for_can_be_learnt(
    make_directory: Callable[..., ShardDirectory], tmp_path: Path
) -> None:
    make_directory("data", n_clips=8)
    line = ["--shards", "data", "--objectives", "augself@predictive", *SMALL]
    done = run("train", *line, "--steps", "120", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    total = [row["augself.mse"] for row in losses(tmp_path / "run")]
    assert sum(total[-30:]) < 0.9 * sum(total[:30])
