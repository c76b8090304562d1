"""A task of somebody else's, in a file outside the packages."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from slvr.command.named import config_of, named
from slvr.eval.cli import main
from slvr.eval.config import Models
from slvr.eval.report import REPORT
from slvr.eval.tasks.contract import Task
from slvr.eval.tasks.registry import TASKS
from slvr.shards.read import ShardDirectory

MakeDirectory = Callable[..., ShardDirectory]
SPREADS = '''
from dataclasses import dataclass

from slvr.eval.config import Models
from slvr.eval.tables import Table
from slvr.eval.tasks.contract import Presented, Task


@dataclass(frozen=True)
class Spread:
    class_: str
    spread: float


class Spreads(Task):
    NAME = "spread"

    @dataclass(frozen=True, kw_only=True)
    class Config(Models):
        """How far the features of a class spread."""

        times: float = 1.0
        """Factor of every spread."""

    def score(self, model, data, features, device):
        means, labels = features[data.split].clip_means, data.labels()
        for name in sorted({name for (name,) in labels}):
            of_class = means[[label == [name] for label in labels]]
            yield Spread(name, self.config.times * float(of_class.std(0).mean()))

    def headline(self, rows):
        return f"{len(rows)} classes"

    def present(self, results):
        rows = [[row.model, f"{row.spread:.6f}"] for row in results.itertuples()]
        return Presented("Spreads", "of clips", [Table("Spread", ["model", "spread"], rows)])
'''
MINE = """
import torch

def embed(waves):
    return torch.stack([waves.mean(1), waves.std(1)], 1)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_directory: MakeDirectory) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "spreads.py").write_text(SPREADS)
    (tmp_path / "elsewhere" / "encoders.py").write_text(MINE)
    make_directory("data", n_clips=8, n_classes=2, split="eval")
    return tmp_path


@pytest.mark.parametrize("text", ["./elsewhere/spreads.py:Spreads", "elsewhere.spreads:Spreads"])
def test_a_task_in_a_file_runs_and_reports(here: Path, capsys, text: str) -> None:
    encoder = ["--encoder", "./elsewhere/encoders.py:embed", "--shards", "data", "--piece", "0.2"]
    assert main([text, *encoder, "--times", "2"]) == 0
    printed, shown = capsys.readouterr()
    assert "data, ./elsewhere/encoders.py:embed: 2 classes" in shown
    out = here / "results" / "encoders-spread"
    results = pd.read_csv(out / "results.csv")
    assert list(results)[:6] == ["model", "set", "class", "spread", "waveforms", "piece"]
    assert list(results)[-2:] == ["n_clips_equal", "n_clips_seen"]
    assert results["class"].tolist() == ["class_0", "class_1"] and (results["spread"] > 0).all()
    for spread in results["spread"]:
        assert f"{spread:.6f}" in printed and f"{spread:.6f}" in (out / REPORT).read_text()
    record = json.loads((out / "run.json").read_text())
    assert record["command"] == "evaluate spread" and record["config"]["times"] == 2
    assert main([text, *encoder, "--out", "half"]) == 0
    half = pd.read_csv(here / "half" / "results.csv")["spread"]
    assert results["spread"].tolist() == pytest.approx([2 * value for value in half])


def test_its_options_are_described(here: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["./elsewhere/spreads.py:Spreads", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "How far the features of a class spread." in printed
    assert "--times TIMES Factor of every spread." in printed


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "./elsewhere/spreads.py:Spread",
            "not a task; expected a subclass of slvr.eval.tasks.contract",
        ),
        ("./elsewhere/spreads.py:Spreads.score", "not a task"),
        ("./elsewhere/spreads.py:Nothing", "has no attribute 'Nothing'"),
        ("./nowhere.py:Task", "No such file"),
        (
            "spreads",
            "one of few-shot, invariance, weights, probe, retrieve, hear, events, pitch, or a",
        ),
    ],
)
def test_what_is_no_task_is_refused_in_a_sentence(
    here: Path, capsys, text: str, sentence: str
) -> None:
    assert main([text, "--encoder", "./elsewhere/encoders.py:embed", "--shards", "data"]) == 2
    stderr = capsys.readouterr().err
    assert sentence in stderr and stderr.startswith(f"evaluate: error: evaluate {text}: ")
    assert stderr.count("\n") == 1


@pytest.mark.parametrize("name", TASKS)
def test_every_task_keeps_the_contract(name: str) -> None:
    task = named(name, TASKS, "evaluate")
    assert issubclass(task, Task) and name == task.NAME
    assert issubclass(task.Config, Models)
    config = config_of(name, TASKS, "evaluate")(shards=("x",), encoder=("y:z",))
    made = task(config)
    assert made.config is config
    assert config == config_of(name, TASKS, "evaluate")(shards=("x",), encoder=("y:z",))
    assert list(task.Config.__dataclass_fields__) == list(type(config).__dataclass_fields__)
