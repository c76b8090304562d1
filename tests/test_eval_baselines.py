"""What models are compared with: untrained networks whose batch norms have seen the same clips."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from conftest import configured, write_run
from slvr.command.record import write_record
from slvr.eval import calibrate as calibration
from slvr.eval.calibrate import batch_norms, calibrate, training_clips
from slvr.eval.cli import main
from slvr.eval.embedders import MEL_STATISTICS
from slvr.eval.loaded import TrainedModel, open_trained
from slvr.eval.report import REPORT
from slvr.model.encoders.resnet18 import ResNet18
from slvr.model.norms import ViewNorm
from slvr.pipeline.frontends.mtslvr import MTSLVR
from slvr.pipeline.normalise import normalise, to_float
from slvr.shards.read import ShardDirectory

MakeDirectory = Callable[..., ShardDirectory]
CPU = torch.device("cpu")
SHAPE = {"variant": "parallel", "dim": 16, "width": 4}
SETTINGS = {"split": "train", "clip_s": 0.2, "short": "silence", "recipe": "demo"}


def write_trained(run: Path, shards: Path | str, fingerprint: str, seed: int = 1) -> None:
    """A run as `train` leaves it."""
    torch.manual_seed(seed)
    write_run(run, ResNet18(**SHAPE), shards=str(shards), **SETTINGS)
    write_record(run, "train", {"shards": str(shards), **SETTINGS}, {str(shards): fingerprint})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_directory: MakeDirectory) -> Path:
    """A run in runs/x, what it was trained on in `sounds`, and a labelled set in `data`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(calibration, "N_CLIPS", 24)
    sounds = make_directory("sounds", n_clips=24, lengths_s=(0.1, 0.2))
    write_trained(tmp_path / "runs" / "x", "sounds", sounds.fingerprint)
    make_directory("data", n_clips=20, n_classes=5, split="eval")
    return tmp_path


def evaluate(*args: str) -> int:
    few = [] if args and not args[0].startswith("-") else ["--n-tasks", "50"]
    return main([*args, *few, "--checkpoint", "runs/x", "--shards", "data", "--piece", "0.2"])


def models(here: Path, out: str = "x") -> list[str]:
    return list(dict.fromkeys(pd.read_csv(here / "results" / out / "results.csv")["model"]))


def test_statistics_are_those_of_the_training_clips(here: Path) -> None:
    trained = open_trained("runs/x")
    clips = training_clips("runs/x", trained)
    network = calibrate(trained.encoder.untrained(0), trained.front_end, clips, 8, 0, CPU)
    reference = trained.encoder.untrained(0)
    dataset = clips.directory.dataset("train")
    sums = torch.zeros(2, SHAPE["width"]).double()
    places = 0
    for i in range(len(dataset)):  # 0.1 s of sound, silence behind it; or 0.2 s
        wave = torch.zeros(3200, dtype=torch.int16)
        wave[: len(dataset[i])] = torch.from_numpy(dataset[i])
        heard = reference.conv1(MTSLVR()(normalise(to_float(wave[None]), "published")))
        heard = heard.detach().double()[0].flatten(1)
        sums += torch.stack([heard.sum(1), heard.square().sum(1)])
        places += heard.shape[1]
    mean, square = sums / places
    (first, *_) = batch_norms(network)
    torch.testing.assert_close(first.running_mean.double(), mean, rtol=1e-4, atol=1e-4)
    # of each batch of 8, with its own mean: a little less than over all clips
    variance = square - mean.square()
    torch.testing.assert_close(first.running_var.double(), variance, rtol=0.1, atol=0)
    assert all(norm.momentum == 0.1 and not norm.training for norm in batch_norms(network))
    weights = dict(reference.named_parameters())
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, weights[name])


def test_a_norm_used_by_several_tasks_averages_all_batches_alike() -> None:
    norms = ViewNorm(3), nn.BatchNorm2d(3, momentum=None)
    hook = norms[0].register_forward_pre_hook(calibration._average)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        x = torch.randn(4, 3, 6, 5, generator=generator) * 3 + 1
        for norm in norms:
            norm(x)
    hook.remove()
    torch.testing.assert_close(norms[0].running_mean, norms[1].running_mean)
    torch.testing.assert_close(norms[0].running_var, norms[1].running_var)


def test_the_untrained_network_is_calibrated_and_said_to_be(here: Path, capsys) -> None:
    assert evaluate() == 0
    assert models(here) == ["x", "untrained", *MEL_STATISTICS]
    assert capsys.readouterr().err.count("uncalibrated") == 0
    for file in ("results.md", REPORT):
        text = (here / "results" / "x" / file).read_text()
        assert "untrained: fresh weights, batch norms calibrated on" in text
        assert "calibrated on 24 clips of sounds, split train" in text
    before = (here / "results" / "x" / "results.csv").read_bytes()
    assert evaluate() == 0
    assert (here / "results" / "x" / "results.csv").read_bytes() == before


def test_the_uncalibrated_one_comes_on_request(here: Path) -> None:
    assert evaluate("--uncalibrated") == 0
    assert models(here)[1:3] == ["untrained", "untrained, uncalibrated"]
    results = pd.read_csv(here / "results" / "x" / "results.csv")
    assert results["model_sha256"].nunique() == len(results)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda here: (here / "sounds").rename(here / "gone"), "shards sounds are not here"),
        (lambda here: (here / "runs/x/run.json").unlink(), "no run.json beside it says what"),
        (
            lambda here: (here / "sounds/dataset.json").write_bytes(
                (here / "sounds/dataset.json").read_bytes() + b"\n"
            ),
            "sounds is not what it was trained on any more",
        ),
    ],
)
def test_where_the_clips_are_not_here_that_is_said_with_what_to_type(
    here: Path, capsys, damage: Callable[[Path], object], sentence: str
) -> None:
    damage(here)
    assert evaluate() == 0
    said = capsys.readouterr().err
    assert models(here)[1] == "untrained, uncalibrated"
    for text in (said, (here / "results" / "x" / "results.md").read_text()):
        assert sentence in text and "give --calibrate-on SHARDS" in text


def test_other_shards_can_be_given(here: Path, make_directory: MakeDirectory) -> None:
    (here / "sounds").rename(here / "moved")
    assert evaluate("--calibrate-on", "moved") == 0
    assert models(here)[1] == "untrained"


def test_runs_of_one_shape_on_the_same_clips_share_one(here: Path) -> None:
    sounds = ShardDirectory.open("sounds")
    write_trained(here / "runs" / "y", "sounds", sounds.fingerprint, seed=2)
    args = ["--checkpoint", "runs/x", "runs/y", "--shards", "data", "--piece", "0.2"]
    assert main([*args, "--n-tasks", "50"]) == 0
    assert models(here)[:4] == ["x", "y", "untrained x", MEL_STATISTICS[0]]


@pytest.mark.parametrize(
    ("task", "args", "expected"),
    [
        ("retrieve", [], ["x", "untrained", *MEL_STATISTICS]),
        # so few pieces have no covariance of 40 or more dimensions
        ("invariance", ["--n-draws", "1", "--n-clips", "4"], ["x", "untrained"]),
        ("weights", ["--n-tasks", "20"], ["x", "untrained"]),
    ],
)
def test_other_tasks_have_them_too(
    here: Path, capsys, task: str, args: list[str], expected: list[str]
) -> None:
    assert evaluate(task, *args) == 0
    assert models(here, f"x-{task}") == expected
    said = "mean log-mel is left out, 40 pieces are too few for a covariance of its 128 dimensions"
    assert (said in capsys.readouterr().err) == (task == "invariance")


def test_a_network_without_batch_norms_needs_no_clips(here: Path) -> None:
    encoder = ResNet18(**SHAPE)
    assert batch_norms(encoder)
    assert batch_norms(nn.Linear(3, 3)) == []
    trained = TrainedModel(encoder, MTSLVR(), "published", {})
    with pytest.raises(ValueError, match=r"no run\.json beside it"):
        training_clips("nowhere/x", trained)
    clips = training_clips("nowhere/x", trained, "sounds")
    assert (clips.split, clips.clip_s, clips.short) == ("train", 10.0, "loop")
    other = dataclasses.replace(clips, clip_s=1.0)
    assert other.name != clips.name


def test_what_train_writes_says_where_the_clips_are(here: Path) -> None:
    assert configured("sounds", short="centre").flat()["short"] == "centre"
