"""Runs of two processes on one machine: they give what one process gives, and stop as one.

In float64: Adam's first steps blow the rounding of sums up to 1e-4 of the loss in float32.
"""

import csv
import dataclasses
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from conftest import command, configured, run, write_directory
from slvr.model.checkpoint import checkpoints, read_checkpoint
from slvr.pipeline.stage import Stage
from slvr.shards.read import ShardDirectory
from slvr.train.build import build_stage
from slvr.train.loop import train

pytestmark = pytest.mark.slow
STEPS = 20
OPTIONS = {
    "encoder__width": 4,
    "encoder__dim": 20,
    "clip_s": 0.5,
    "batch": 8,
    "steps": STEPS,
    "lr": 1e-3,
    "log_every": 1,
    "checkpoint_every": 5,
    "workers": 0,
    "accelerator": "cpu",
    "precision": "64-true",
}
TIMEOUT_S = 300


def flags(directory: ShardDirectory, **options: object) -> list[str]:
    named = {"shards": directory.path, **OPTIONS, **options}
    line: list[str] = []
    for name, value in named.items():
        line.append("--" + name.replace("__", ".").replace("_", "-"))
        line += map(str, value) if isinstance(value, list) else [str(value)]
    return line


def losses(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> ShardDirectory:
    return write_directory(
        tmp_path_factory.mktemp("shards") / "data", n_clips=20, lengths_s=(0.5, 0.7)
    )


@pytest.fixture(scope="module")
def by_two(directory: ShardDirectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by `--devices 2` of the default recipe, with synchronised batch norms."""
    out = tmp_path_factory.mktemp("runs") / "two"
    line = (*flags(directory, devices=2, out=out), "--sync-bn")
    done = run("train", *line, cwd=out.parent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("next: evaluate") == 1
    return out


def train_alone(directory: ShardDirectory, out: Path, **options: object) -> None:
    """One process; views are made by halves as the two make them.

    The views of a clip are the same to rounding, whatever else is in the batch, and rounding at
    the branch cut of the phase is 2 pi.
    """

    class ByHalves(Stage):
        def __call__(self, pcm, seed, cut=None):  # type: ignore[no-untyped-def]
            ranks = (dataclasses.replace(self, rank=i, world=2) for i in range(2))
            halves = [
                Stage.__call__(rank, half, seed)
                for rank, half in zip(ranks, pcm.chunk(2), strict=True)
            ]
            images, knowns = zip(*halves, strict=True)
            known = {name: torch.cat([half[name] for half in knowns]) for name in knowns[0]}
            return torch.cat(images, dim=1), known

    def build_by_halves(*args):  # type: ignore[no-untyped-def]
        return ByHalves(**vars(build_stage(*args)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("slvr.train.learning.build_stage", build_by_halves)
        train(configured(directory.path, **(OPTIONS | options)), out)


def assert_same(one: Path, two: Path) -> None:
    first, second = losses(one), losses(two)
    assert [row["step"] for row in first] == [row["step"] for row in second]
    for a, b in zip(first, second, strict=True):
        for name in a:
            if a[name]:
                assert float(b[name]) == pytest.approx(float(a[name]), abs=1e-6), (a["step"], name)
    weights, others = (read_checkpoint(checkpoints(run)[-1])[0] for run in (one, two))
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(others[name], tensor, rtol=1e-6, atol=1e-7, msg=name)


def test_two_processes_train_as_one(
    directory: ShardDirectory, by_two: Path, tmp_path: Path
) -> None:
    train_alone(directory, tmp_path / "one")
    assert len(losses(by_two)) == STEPS
    assert_same(tmp_path / "one", by_two)


def test_simsiam_under_torchrun_trains_as_one_process(
    directory: ShardDirectory, tmp_path: Path
) -> None:
    heads = ["simsiam@contrastive", "mlap@predictive"]
    options = {"objectives__heads": heads, "steps": 6, "checkpoint_every": 6}
    line = flags(directory, **options, out=tmp_path / "two")
    launched = ("--standalone", "--no-python", "--nproc-per-node", "2")
    done = run("torchrun", *launched, *command("train", *line, "--sync-bn"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    train_alone(directory, tmp_path / "one", **options)
    assert_same(tmp_path / "one", tmp_path / "two")


def test_sigterm_of_one_stops_both_and_both_resume(
    directory: ShardDirectory, by_two: Path, tmp_path: Path
) -> None:
    line = (*flags(directory, devices=2, out="broken"), "--sync-bn", "--resume")
    process = subprocess.Popen(
        command("train", *line), cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    end_s = time.monotonic() + TIMEOUT_S
    while not checkpoints(tmp_path / "broken"):
        assert time.monotonic() < end_s and process.poll() is None
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGTERM)
    _, stderr = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 143, stderr
    newest = checkpoints(tmp_path / "broken")[-1].name
    assert newest < f"step-{STEPS:08d}.safetensors"
    assert stderr.count(f"is saved in broken/{newest}; add --resume") == 1
    assert "Traceback" not in stderr

    done = run("train", *line, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "broken") == losses(by_two)
    weights, others = (
        read_checkpoint(checkpoints(p)[-1])[0] for p in (by_two, tmp_path / "broken")
    )
    for name, tensor in weights.items():
        assert torch.equal(tensor, others[name]), name


def test_statistics_by_process_and_weights_without_a_task(
    directory: ShardDirectory, tmp_path: Path
) -> None:
    """No --sync-bn; the other task's adapters get no gradient."""
    options = {"steps": 3, "log_every": 3, "precision": "32-true"}
    options["objectives__heads"] = ["mlap@predictive"]
    line = flags(directory, **options, devices=2, out="run")
    done = run("train", *line, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [row["step"] for row in losses(tmp_path / "run")] == ["3"]
    # it is refused by one voice
    again = run("train", *line, cwd=tmp_path)
    assert again.returncode == 2
    assert again.stderr.count("holds a run already") == 1
    assert "Traceback" not in again.stderr
