"""Separated sound scenes from shards to scores: separators, views, encoder, losses together."""

import csv
import shutil
from pathlib import Path

import pytest
import torch

from slvr.eval import cli as evaluate
from slvr.ingest import cli as ingest
from slvr.model.checkpoint import checkpoints, read_checkpoint
from slvr.train import cli as train

SMALL = {
    "shards": "shards/demo",
    "encoder.width": "2",
    "batch": "4",
    "steps": "4",
    "checkpoint-every": "2",
    "log-every": "1",
    "holdout": "0.2",
    "validate-every": "4",
    "workers": "0",
    "accelerator": "cpu",
}


def line(recipe: str, **others: str) -> list[str]:
    options = {"recipe": recipe} | SMALL | {k.replace("__", "."): v for k, v in others.items()}
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def log(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open() as file:
        return list(csv.DictReader(file))


def weights(out: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(checkpoints(out)[-1])[0]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo's shards and a run of `scenes-N-demo`, a few steps long."""
    path = tmp_path_factory.mktemp("scenes")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        assert ingest.main(["demo", "--n-train", "24", "--n-per-class", "2"]) == 0
        assert train.main(line("scenes-N-demo", out="runs/n")) == 0
    return path


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    return place


def test_both_losses_are_logged_validated_and_reported(here: Path) -> None:
    rows = log(here / "runs/n")
    assert list(rows[0]) == ["step", "lr", "total", "scenes.similarity", "scenes.coincidence"]
    for row in rows:
        whole = float(row["scenes.similarity"]) + float(row["scenes.coincidence"])
        assert float(row["total"]) == pytest.approx(whole, rel=1e-5)
    page = (here / "runs/n/report.html").read_text()
    assert "scenes.coincidence" in page and "What scenes has learnt" in page
    assert "untrained:0:demo" in page


def test_a_run_that_was_stopped_goes_on_to_the_bit(here: Path) -> None:
    shutil.copytree(here / "runs/n", here / "runs/again")
    for path in (*checkpoints(here / "runs/again")[1:], here / "runs/again/best.safetensors"):
        path.unlink(missing_ok=True)
    assert train.main([*line("scenes-N-demo", out="runs/again"), "--resume"]) == 0
    first, again = weights(here / "runs/n"), weights(here / "runs/again")
    assert all(torch.equal(first[name], tensor) for name, tensor in again.items())


def test_it_is_evaluated_with_the_front_end_that_it_was_trained_with(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["retrieve", "--checkpoint", "runs/n", "--shards", "shards/demo", "--device", "cpu"]
    assert evaluate.main([*args, "--out", "found"]) == 0, capsys.readouterr().err
    assert (here / "found/report.html").is_file()


def test_similarity_alone_leaves_the_other_term_out(here: Path) -> None:
    alone = [*line("scenes-mix-mix-demo", out="runs/alone"), "--objective", "scenes:similarity=1"]
    assert train.main(alone) == 0
    for row in log(here / "runs/alone"):
        assert float(row["total"]) == pytest.approx(float(row["scenes.similarity"]))
        assert float(row["scenes.coincidence"]) > 0


def test_a_missing_separator_is_trained_first_and_found_the_next_time(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = "runs/separator-demo-4"
    names = [f"{run}/step-{step:08d}.safetensors" for step in (2, 4)]
    args = [*line("scenes-NvFvS1-demo", out="runs/f"), "--views.separators", *names]
    args = [part if part != "--views.separators" else "--views.separators" for part in args]
    assert train.main(args) == 0, capsys.readouterr().err
    said = capsys.readouterr().err
    assert "needs a separator of 2 steps, which is not there: `train separator " in said
    assert all(Path(name).is_file() for name in names)
    shutil.rmtree("runs/f")
    assert train.main(args) == 0
    assert "which is not there" not in capsys.readouterr().err


def test_several_processes_are_told_to_make_it_first(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main([*line("scenes-F-demo", out="runs/two"), "--devices", "2"]) == 2
    said = capsys.readouterr().err
    assert "first run `train separator --recipe separator-demo --shards shards/demo" in said
    assert not Path("runs/two").exists()
