"""What an evaluation says, and leaves out, of clips that are there twice or were trained on."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from conftest import write_run
from slvr.command.record import write_record
from slvr.eval.cli import main
from slvr.eval.leaks import Leaks, trained_on
from slvr.model.encoders.resnet18 import ResNet18
from slvr.shards.read import ShardDirectory

MakeDirectory = Callable[..., ShardDirectory]


def record(run: str, shards: str = "train", **config: object) -> None:
    """The run.json of a training."""
    datasets = {shards: ShardDirectory.open(shards).fingerprint}
    settings = {"shards": shards, "split": "train", "only": None, "init": None}
    write_record(Path(run), "train", settings | config, datasets)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_directory: MakeDirectory) -> Path:
    """A model in runs/x of clips 0 to 9, and a set of clips 5 to 24 where two are there twice."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    write_run(tmp_path / "runs" / "x", ResNet18(variant="none", dim=16, width=4))
    make_directory("train", n_clips=10, lengths_s=(0.3,))
    seeds = [*range(5, 25), 5, 24]
    make_directory("data", n_clips=22, n_classes=2, split="eval", lengths_s=(0.3,), seeds=seeds)
    record("runs/x")
    return tmp_path


def evaluate(*args: str) -> pd.Series:
    line = ["--checkpoint", "runs/x", "--shards", "data", "--n-tasks", "20", "--piece", "0.2"]
    assert main([*line, "--n-way", "2", "--no-baselines", *args]) == 0
    return pd.read_csv("results/x/results.csv").iloc[0]


def test_both_are_said_before_the_numbers_and_stand_in_every_file(here: Path, capsys) -> None:
    row = evaluate()
    said = capsys.readouterr()
    told = "of 22 clips 4 have the samples of another one, 6 are in the training shards of x"
    assert f"evaluate: data: {told}\n" in said.err
    assert (row.set_clips, row.n_clips_equal, row.n_clips_seen) == (22, 4, 6)
    assert (
        "| set | clips | equal to another | seen by x | evaluated |"
        in Path("results/x/results.md").read_text()
    )
    for file in ("results.tex", "report.html"):
        assert "equal to another" in (here / "results" / "x" / file).read_text()


def test_both_can_be_left_out(here: Path, capsys) -> None:
    distinct = evaluate("--drop-duplicates")
    assert (distinct.set_clips, distinct.n_clips_equal) == (20, 4)
    assert distinct.n_clips_left_out == 2
    assert "; 2 left out" in capsys.readouterr().err
    unseen = evaluate("--drop-seen")
    assert (unseen.set_clips, unseen.n_clips_seen) == (16, 6)
    assert evaluate("--drop-seen", "--drop-duplicates").set_clips == 15
    assert len({*(here / "results" / "features").iterdir()}) == 3  # none takes another's features


def test_models_that_have_seen_as_many_are_said_together() -> None:
    leaks = Leaks(10, 0, {"a": 3, "b": 0, "c": None, "d": 3, "e": 1}, 10)
    said = "3 are in the training shards of a and of d, 1 are in the training shards of e"
    assert leaks.lines("data") == [f"data: of 10 clips {said}"]


def test_too_small_classes_are_said_to_be_what_was_left(here: Path, capsys) -> None:
    line = ["--checkpoint", "runs/x", "--shards", "data", "--drop-seen", "--n-way", "2"]
    assert main([*line, "--k-shot", "20"]) == 2
    stderr = capsys.readouterr().err
    assert (
        "split 'eval' (--drop-... leaves 16 of 22 clips): 2-way 20-shot tasks with 1 query"
        in stderr
    )


def test_features_of_all_clips_are_those_without_the_flags(here: Path) -> None:
    evaluate()
    before = {*Path("results/features").iterdir()}
    evaluate()
    assert {*Path("results/features").iterdir()} == before


@pytest.mark.parametrize("fault", ["no run.json", "no shards", "other shards", "remote", "init"])
def test_what_cannot_be_told_is_said(
    here: Path, make_directory: MakeDirectory, capsys, fault: str
) -> None:
    path = here / "runs" / "x" / "run.json"
    if fault == "no run.json":
        path.unlink()
        sentence = "run.json is not there"
    elif fault == "no shards":
        (here / "train").rename(here / "moved")
        sentence = "its training shards cannot be read: train: no such shard directory"
    elif fault == "other shards":
        (here / "train").rename(here / "moved")
        make_directory("train", n_clips=9)
        sentence = "its training shards train have changed since"
    elif fault == "remote":
        record("runs/x")
        text = path.read_text().replace('"shards": "train"', '"shards": "s3://x/train"')
        path.write_text(text)
        sentence = "its training shards s3://x/train are not on this machine"
    else:
        record("runs/x", init="theirs.pt")
        sentence = "of its first weights, theirs.pt: run.json is not there"
    row = evaluate()
    assert pd.isna(row.n_clips_seen) == (fault != "init")
    assert sentence in " ".join(capsys.readouterr().out.split())
    line = ["--checkpoint", "runs/x", "--shards", "data", "--drop-seen", "--n-way", "2"]
    assert main(line) == 2
    stderr = capsys.readouterr().err
    assert "--drop-seen: runs/x: " in stderr and sentence in stderr and stderr.count("\n") == 1


def test_training_shards_that_were_moved_are_found(
    here: Path, make_directory: MakeDirectory, capsys
) -> None:
    (here / "train").rename(here / "moved")
    row = evaluate("--drop-seen", "--calibrate-on", "moved")
    assert (row.set_clips, row.n_clips_seen) == (16, 6)
    make_directory("other", n_clips=9)  # never what was trained on
    line = ["--checkpoint", "runs/x", "--shards", "data", "--drop-seen", "--n-way", "2"]
    assert main([*line, "--calibrate-on", "other"]) == 2
    assert "train: no such shard directory" in capsys.readouterr().err
    assert main([*line, "--calibrate-on", "nowhere"]) == 2
    assert "error: nowhere: no such shard directory" in capsys.readouterr().err


def test_what_a_run_began_with_and_only_learnt_from_counts(
    here: Path, make_directory: MakeDirectory
) -> None:
    make_directory("more", n_clips=4, first=50)
    Path("runs/first").mkdir()
    record("runs/first", "more")
    record("runs/x", init="runs/first")
    assert len(trained_on("runs/x").hashes or ()) == 14
    record("runs/x", only="data/clips.parquet")
    assert len(trained_on("runs/x").hashes or ()) == 5
    checkpoint = next(Path("runs/x").glob("*.safetensors"))
    assert trained_on(str(checkpoint)) == trained_on("runs/x")


def test_a_set_that_was_trained_on_whole_leaves_nothing(here: Path, capsys) -> None:
    line = ["--checkpoint", "runs/x", "--shards", "train", "--drop-seen", "--n-way", "2"]
    assert main(line) == 2
    assert "all 10 clips have been trained on" in capsys.readouterr().err
