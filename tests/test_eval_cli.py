import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from eval.cli import main
from eval.config import EvaluateConfig
from eval.report import REPORT
from model.checkpoint import checkpoint_name, write_checkpoint
from model.encoder import Encoder
from shards.read import ShardDirectory

MakeDirectory = Callable[..., ShardDirectory]
SHAPE = {"variant": "parallel", "dim": 16, "width": 4}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_directory: MakeDirectory) -> Path:
    """A working folder with a checkpoint in runs/x and a labelled set in data."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "x"
    run.mkdir(parents=True)
    torch.manual_seed(1)
    tensors = {f"model.encoder.{k}": v for k, v in Encoder(**SHAPE).state_dict().items()}
    config = {"normalise": "published", "recipe": "demo"}
    state = {"encoder": SHAPE, "config": config, "step": 7}
    write_checkpoint(run / checkpoint_name(7), tensors, state)
    make_directory("data", n_clips=20, n_classes=5, split="eval")
    return tmp_path


def evaluate(*args: str) -> int:
    return main(["--checkpoint", "runs/x", "--n-tasks", "200", "--piece-s", "0.2", *args])


def test_results_are_written_and_repeat_themselves(here: Path, capsys) -> None:
    assert evaluate("--shards", "data") == 0
    printed = capsys.readouterr().out
    out = here / "results" / "x"
    assert f"report: {Path('results/x') / REPORT}" in printed
    scores = pd.read_csv(out / "results.csv")
    assert scores["model"].tolist() == ["x", "untrained", "mean log-mel"]
    assert scores["baseline"].tolist() == [False, True, True]
    assert scores["classifier"].tolist() == ["sgd", "sgd", "centroid"]
    assert scores["accuracy"].between(0, 1).all() and (scores["ci95"] > 0).all()
    for accuracy in scores["accuracy"]:
        assert f"{100 * accuracy:.2f} ±" in printed
        assert f"{100 * accuracy:.2f} ±" in (out / "results.md").read_text()
    assert json.loads((out / "results.json").read_text())[1]["model"] == "untrained"
    record = json.loads((out / "run.json").read_text())
    assert record["command"] == "evaluate" and record["config"]["n_tasks"] == 200
    assert record["datasets"] == {"data": ShardDirectory.open("data").fingerprint}
    assert "demo" in (out / REPORT).read_text()

    before = (out / "results.csv").read_bytes()
    assert evaluate("--shards", "data") == 0
    assert (out / "results.csv").read_bytes() == before
    assert len(list((here / "results" / "features").iterdir())) == 3


def test_several_checkpoints_and_sets_make_one_table(
    here: Path, make_directory: MakeDirectory
) -> None:
    make_directory("more", n_clips=12, n_classes=6, split="test")
    checkpoint = here / "runs" / "x" / checkpoint_name(7)
    args = ["--checkpoint", "runs/x", "--checkpoint", str(checkpoint), "--shards", "data", "more"]
    args += ["--n-tasks", "50", "--piece-s", "0.2", "--out", "both", "--n-way", "4"]
    assert main(args) == 0
    scores = pd.read_csv(here / "both" / "results.csv")
    models = ["x", "step-00000007", "untrained x", "mean log-mel"]
    assert scores["model"].tolist() == 2 * models
    assert scores["set"].tolist() == 4 * ["data"] + 4 * ["more"]
    assert scores["split"].tolist() == 4 * ["eval"] + 4 * ["test"]


def test_baselines_can_be_left_out_and_a_file_gives_the_settings(here: Path) -> None:
    Path("settings.yaml").write_text("n_tasks: 30\nclassifier: centroid\nbaselines: false\n")
    args = ["--config", "settings.yaml", "--checkpoint", "runs/x", "--shards", "data"]
    assert main([*args, "--piece-s", "0.2"]) == 0
    scores = pd.read_csv(here / "results" / "x" / "results.csv")
    assert scores[["model", "classifier", "n_tasks"]].values.tolist() == [["x", "centroid", 30]]


def test_classes_left_out_are_named(here: Path, make_directory: MakeDirectory, capsys) -> None:
    make_directory("uneven", n_clips=11, n_classes=6, split="eval")  # class_5 has one clip
    assert evaluate("--shards", "uneven", "--no-baselines") == 0
    assert "left out: class_5" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--shards", "nowhere"], "nowhere: no such shard directory"),
        (["--shards", "runs"], "dataset.json is missing"),
        (["--shards", "data", "data"], "both hold the set 'data'"),
        (["--shards", "data", "--n-way", "6"], "--n-way 5"),
        (["--shards", "data", "--split", "dev"], "no split 'dev'"),
        (["--shards", "data", "--n-way", "1"], "--n-way 1: out of range"),
        (["--shards", "data", "--piece-s", "0"], "--piece-s 0.0: out of range"),
        (["--shards", "data", "--device", "tpu9"], "--device tpu9"),
        (["--shards", "data", "--out", "runs"], "runs: exists and holds no results"),
        (["--shards", "data", "--out", "data/dataset.json"], "is a file"),
        (["--shards", "data", "--checkpoint", "data"], "data: no checkpoint"),
    ],
)
def test_wrong_arguments_get_one_sentence(
    here: Path, capsys, args: list[str], sentence: str
) -> None:
    assert evaluate(*args) == 2
    stderr = capsys.readouterr().err
    assert sentence in stderr
    assert stderr.startswith("evaluate: error: ") and stderr.count("\n") == 1
    assert not (here / "results").exists()


def test_unlabelled_shards_are_refused(here: Path, make_directory: MakeDirectory, capsys) -> None:
    make_directory("bare", n_classes=0)
    assert evaluate("--shards", "bare") == 2
    assert "no label" in capsys.readouterr().err


def test_help_knows_every_setting_and_loads_no_torch() -> None:
    code = (
        "import sys; from eval.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.endswith("False\n")
    for name in EvaluateConfig.__dataclass_fields__:
        assert "--" + name.replace("_", "-") in run.stdout
