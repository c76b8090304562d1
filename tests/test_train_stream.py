import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from conftest import configured, write_directory
from slvr.shards.read import ShardDirectory
from slvr.train.build import build_stage
from slvr.train.config import TrainConfig
from slvr.train.configure import from_command_line
from slvr.train.loop import train
from slvr.train.stream import Stream

FABRIC = {"device": torch.device("cpu"), "is_global_zero": False}
MakeDirectory = Callable[..., ShardDirectory]


def small(directory: ShardDirectory, **options: object) -> TrainConfig:
    settings = {"encoder__width": 4, "encoder__dim": 20, "clip_s": 0.2, "batch": 8, "steps": 6}
    fixed = {"accelerator": "cpu", "devices": "1", "lr": 1e-3, "log_every": 1}
    return configured(directory.path, **(settings | fixed | options))


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


def test_short_clips_are_filled_as_the_run_says(make_directory: MakeDirectory) -> None:
    directory = make_directory(lengths_s=(0.1,))
    for short in ("loop", "silence", "centre"):
        data = small(directory, short=short).data
        fabric = SimpleNamespace(global_rank=0, world_size=1, **FABRIC)
        pcm = next(Stream(data, directory, fabric).batches(0)).pcm
        silent = (pcm == 0).all(0)
        expected = {"loop": [], "silence": range(1600, 3200)}
        centred = [*range(800), *range(2400, 3200)]
        assert silent.nonzero()[:, 0].tolist() == list(expected.get(short, centred))


def test_a_run_goes_on_resident_or_not(make_directory: MakeDirectory, tmp_path: Path) -> None:
    directory = make_directory(lengths_s=(0.3, 0.1))
    train(small(directory, schedule="constant"), tmp_path / "whole")
    broken = tmp_path / "broken"
    train(small(directory, schedule="constant", checkpoint_every=3), broken)
    (broken / "step-00000006.safetensors").unlink()
    train(small(directory, schedule="constant", resident=False, workers=0, resume=True), broken)
    assert losses(tmp_path / "whole") == losses(broken)


def test_processes_share_out_the_clips_and_views_of_one(make_directory: MakeDirectory) -> None:
    directory = make_directory(n_clips=20, lengths_s=(0.3, 0.1))
    config = small(directory)

    def five_steps(world: int) -> tuple[list[str], torch.Tensor, torch.Tensor]:
        fabrics = [
            SimpleNamespace(global_rank=rank, world_size=world, **FABRIC) for rank in range(world)
        ]
        streams = [Stream(config.data, directory, fabric).batches(0) for fabric in fabrics]
        stages = [
            build_stage(config.parts, 0.2, "published", FABRIC["device"], rank, world)
            for rank in range(world)
        ]
        keys, images, labels = [], [], []
        for step in range(5):
            for stream, stage in zip(streams, stages, strict=True):
                batch = next(stream)
                views, known = stage(batch.pcm, (0, step))
                keys += batch.keys
                images.append(views[0][:, 0])
                labels.append(known["labels"])
        return keys, torch.cat(images), torch.cat(labels)

    keys, images, labels = five_steps(1)
    for epoch in (keys[:20], keys[20:]):
        assert Counter(epoch) == dict.fromkeys(directory.clips("train")["key"], 1)
    shared = five_steps(2)
    assert shared[0] == keys
    assert torch.equal(shared[2], labels)
    torch.testing.assert_close(shared[1], images, rtol=0, atol=0.1)  # dB, of quiet bins


@pytest.mark.parametrize(("word", "value"), [("auto", "auto"), ("on", True), ("off", False)])
def test_on_off_and_auto_as_flag_and_in_yaml(tmp_path: Path, word: str, value: bool | str) -> None:
    (tmp_path / "c.yaml").write_text(f"shards: x\nresident: {word}\n")
    for args in (["--shards", "x", "--resident", word], ["--config", str(tmp_path / "c.yaml")]):
        assert from_command_line(args).data.resident == value


@pytest.mark.parametrize(
    ("copies", "batch", "said"),
    [
        (0, 4, None),
        (3, 4, "no batch holds two of them"),
        (7, 4, "an epoch has only 5 whole batches, and a recording with more copies is twice"),
    ],
)
def test_equal_clips_are_said_and_kept_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], copies: int, batch: int, said: str | None
) -> None:
    seeds = [0] * copies + list(range(1, 24 - copies))
    directory = write_directory(tmp_path / "data", n_clips=23, lengths_s=(0.2,), seeds=seeds)
    data = small(directory, batch=batch).data
    fabric = SimpleNamespace(global_rank=0, world_size=1, **FABRIC | {"is_global_zero": True})
    stream = Stream(data, directory, fabric)
    told = [line for line in capsys.readouterr().err.splitlines() if "samples" in line]
    batches = [next(steps).pcm for steps in [stream.batches(0)] for _ in range(23)]
    n_meeting = sum(len(pcm) - len(pcm.unique(dim=0)) for pcm in batches)
    if said is None:
        assert not told
    else:
        assert f"{copies} of 23 clips have the samples of another one: 1 recording is" in told[0]
        assert said in told[0]
    assert (n_meeting > 0) == (copies > 5)
    # the same from any step on
    later = stream.batches(9)
    assert all(torch.equal(next(later).pcm, pcm) for pcm in batches[9:])
