import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from command.line import add_options, new_parser
from shards.read import ShardDirectory
from train.cli import resolve
from train.config import TrainConfig
from train.loop import train

MakeDirectory = Callable[..., ShardDirectory]


def small(directory: ShardDirectory, **options: object) -> TrainConfig:
    settings = {"width": 4, "dim": 20, "clip_s": 0.2, "batch": 8, "steps": 6, "log_every": 1}
    fixed = {"accelerator": "cpu", "devices": "1", "lr": 1e-3}
    return TrainConfig(str(directory.path), **(settings | fixed | options))


def losses(out: Path) -> list[list[str]]:
    with (out / "log.csv").open() as file:
        return list(csv.reader(file))


def test_resident_or_not_the_run_is_the_same_and_says_where_clips_come_from(
    make_directory: MakeDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = make_directory(lengths_s=(0.3, 0.1))
    train(small(directory), tmp_path / "auto")
    said = capsys.readouterr().err
    assert "train: the clips are resident (0.00 GB decoded, limit" in said
    train(small(directory, resident=False, workers=2), tmp_path / "off")
    said = capsys.readouterr().err
    assert "train: clips are read from the shards by 2 workers (--resident off)" in said
    assert len(losses(tmp_path / "off")) == 7
    assert losses(tmp_path / "auto") == losses(tmp_path / "off")


def test_a_run_goes_on_resident_or_not(make_directory: MakeDirectory, tmp_path: Path) -> None:
    directory = make_directory(lengths_s=(0.3, 0.1))
    train(small(directory, schedule="constant"), tmp_path / "whole")
    broken = tmp_path / "broken"
    train(small(directory, schedule="constant", checkpoint_every=3), broken)
    (broken / "step-00000006.safetensors").unlink()
    train(small(directory, schedule="constant", resident=False, workers=0, resume=True), broken)
    assert losses(tmp_path / "whole") == losses(broken)


@pytest.mark.parametrize(("word", "value"), [("auto", "auto"), ("on", True), ("off", False)])
def test_on_off_and_auto_as_flag_and_in_yaml(tmp_path: Path, word: str, value: bool | str) -> None:
    (tmp_path / "c.yaml").write_text(f"shards: x\nresident: {word}\n")
    for args in (["--shards", "x", "--resident", word], ["--config", str(tmp_path / "c.yaml")]):
        parser = new_parser("train", "")
        add_options(parser, TrainConfig)
        assert resolve(parser, args).resident == value
