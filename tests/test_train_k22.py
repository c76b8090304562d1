"""The recipes of multiple sampling strategies, from shards to scores, and what sets them apart."""

import csv
import math
import re
from pathlib import Path

import pytest
import torch

import slvr
from conftest import configured, write_directory
from slvr.eval import cli as evaluate
from slvr.model.checkpoint import checkpoints, read_checkpoint
from slvr.train import cli as train
from slvr.train.configure import parser_of
from slvr.train.recipes import RECIPES, SAMPLED, SAMPLED_DEMO

TINY = {
    "encoder.width": "0.1",
    "encoder.dim": "8",
    "clip-s": "0.6",
    "views.crop-s": "0.35",
    "batch": "4",
    "steps": "2",
    "checkpoint-every": "1",
    "log-every": "1",
    "workers": "0",
    "accelerator": "cpu",
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("k22") / "data"
    write_directory(path, n_clips=12, lengths_s=(0.6, 0.8))
    return path


@pytest.mark.parametrize("name", SAMPLED)
def test_a_recipe_trains_resumes_to_the_bit_and_is_evaluated(
    name: str, shards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    line = ["--recipe", f"{name}-demo", "--shards", str(shards), "--out", str(out)]
    line += [part for flag, value in TINY.items() for part in (f"--{flag}", value)]
    assert train.main(line) == 0
    log = list(csv.DictReader((out / "log.csv").open()))
    terms = {column for column in log[0] if "." in column}
    of_objective = {
        "cola": {"cola.clip"},
        "k22-clip-frame": {"cola_frame.clip", "cola_frame.frame"},
    }
    assert terms == of_objective.get(name, {"k22.clip", "k22.frame", "k22.pitch"})
    assert all(math.isfinite(float(row["total"])) for row in log)

    last = checkpoints(out)[-1]
    whole = read_checkpoint(last)[0]
    last.unlink()
    assert train.main([*line, "--resume"]) == 0
    again = read_checkpoint(checkpoints(out)[-1])[0]
    assert again.keys() == whole.keys() and any("similarity" in key for key in again) != (
        "cosine" in name
    )
    for key, tensor in whole.items():
        assert torch.equal(again[key], tensor), key

    model = slvr.load_model(out, "cpu")
    clips, frames = model.embed(torch.randn(2, 16_000), 16_000)
    assert clips.shape == (2, 8) and frames.shape == (2, 3, 8)
    assert model.frame_s == pytest.approx(0.32)
    if name != "k22":
        return
    found = tmp_path / "found"
    line = ["retrieve", "--checkpoint", str(out), "--shards", str(shards), "--device", "cpu"]
    assert evaluate.main([*line, "--piece", "whole", "--out", str(found)]) == 0
    rows = [row for row in csv.DictReader((found / "results.csv").open()) if row["model"] == "run"]
    assert len(rows) == 3 and {row["waveforms"] for row in rows} == {"none"}
    assert all(0 <= float(row["average_precision"]) <= 1 for row in rows)


def test_the_paper_s_recipe_and_the_code_s_differ_where_they_do() -> None:
    paper, code = (configured(recipe=name).flat() for name in ("k22", "k22-code"))
    differ = {name: (paper[name], code[name]) for name in paper if paper[name] != code[name]}
    differ.pop("recipe")
    assert differ == {
        "batch": (1024, 512),
        "encoder.head_norm": (True, False),
        "encoder.pool_mel": ("mean", "max"),
        "encoder.pool_time": ("mean", "max"),
        "front_end.log": ("decibel", "none"),
        "front_end.floor": (1e-10, 2.220446049250313e-16),
        "front_end.floor_is": ("least", "added"),
        "front_end.statistics": ("all", "none"),
        "objectives.k22.weights": ({}, {"clip": 1, "frame": 0.01, "pitch": 0.01}),
        "views.ratio": ("paper", "code"),
    }
    assert (paper["lr"], paper["steps"], paper["weight_decay"]) == (1e-4, 4000, 0)
    assert (paper["schedule"], paper["normalise"], paper["bn_views"]) == (
        *("constant", "none"),
        "separate",
    )


def test_ablations_leave_out_what_their_names_say() -> None:
    whole = configured(recipe="k22").flat()
    for name, left_out in {
        "cola": {"views.pitch": False},
        "k22-clip-frame": {"views.pitch": False},
        "k22-clip-pitch": {"objectives.k22.weights": {"clip": 1, "frame": 0, "pitch": 1}},
        "k22-cosine": {"objectives.k22.similarity": "cosine"},
    }.items():
        part = configured(recipe=name).flat()
        common = (whole.keys() & part.keys()) - {"recipe"}
        assert {k: part[k] for k in common if part[k] != whole[k]} == left_out
    code, cosine = (configured(recipe=name).flat() for name in ("k22-code", "k22-code-cosine"))
    assert {k for k in code if code[k] != cosine[k]} == {"recipe", "objectives.k22.similarity"}
    assert cosine["objectives.k22.similarity"] == "cosine-code"


def test_the_demo_s_are_the_same_in_small() -> None:
    for name in SAMPLED:
        whole, small = (configured(recipe=each).flat() for each in (name, f"{name}-demo"))
        assert {k for k in whole if whole[k] != small[k]} == {"recipe", *SAMPLED_DEMO}
    assert RECIPES.keys() >= {f"{name}-demo" for name in SAMPLED}


def test_the_page_names_recipes_and_flags_that_there_are() -> None:
    page = (Path(__file__).parents[1] / "docs" / "sampling.md").read_text()
    for name in SAMPLED:
        assert f"| `{name}` |" in page
    assert set(re.findall(r"--recipe ([a-z0-9-]+)", page)) <= set(RECIPES)
    known = parser_of(RECIPES["k22"], {}).format_help()
    parts = r"--(?:no-)?(?:encoder|views|objectives)\.[a-z0-9.-]+"
    for flag in set(re.findall(parts, page)):
        assert flag in known, flag
