"""What is particular to DALI; that it keeps to the loaders' contract: test_pipeline_loader.py."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import write_directory
from slvr.pipeline.loaders.batching import Batching
from slvr.pipeline.loaders.dali import DaliLoader
from slvr.shards.read import ShardDirectory

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("nvidia") or not importlib.util.find_spec("nvidia.dali"),
    reason="needs the extra slvr[dali]",
)
MakeDirectory = Callable[..., ShardDirectory]


@pytest.mark.parametrize("codec", ["flac", "wav"])
def test_an_epoch_is_every_clip_decoded_as_by_our_reader(
    make_directory: MakeDirectory, codec: str
) -> None:
    directory = make_directory(n_clips=37, n_shards=3, codec=codec, lengths_s=(0.25,))
    clips = directory.dataset("train")
    expected = sorted(bytes(clips[i]) for i in range(37))
    batches = DaliLoader(directory, "train", Batching(37, 4000, seed=0), threads=2).batches()
    orders = []
    for _ in range(3):
        rows = [bytes(row) for row in next(batches).pcm.numpy()]
        assert sorted(rows) == expected
        orders.append(rows)
    assert orders[0] != orders[1] != orders[2]


def test_where_there_is_cuda_batches_are_made_in_pinned_memory(
    make_directory: MakeDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From other memory a device copies only once the host waits for it."""
    pinned, empty = [], torch.empty

    def allocate(shape: tuple[int, ...], pin_memory: bool, **options: Any) -> torch.Tensor:
        pinned.append(pin_memory)
        return empty(shape, **options)

    loader = DaliLoader(make_directory(), "train", Batching(4, 100, seed=0))
    monkeypatch.setattr(torch, "empty", allocate)
    for there in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        next(loader.batches())
    assert pinned == [False, True]


def damaged(tmp_path: Path) -> ShardDirectory:
    """A directory where the audio of clip 5 is overwritten, with the same length."""
    directory = write_directory(tmp_path / "data", n_shards=2)
    row = directory.rows().set_index("key").loc["clip_0005"]
    tar = directory.path / row["shard"]
    content = bytearray(tar.read_bytes())
    start, length = int(row["audio_offset_bytes"]), int(row["audio_length_bytes"])
    content[start : start + length] = b"x" * length
    tar.write_bytes(content)
    return directory


def test_a_clip_that_does_not_decode_is_named(tmp_path: Path) -> None:
    batches = DaliLoader(damaged(tmp_path), "train", Batching(12, 100, seed=0)).batches()
    with pytest.raises(ValueError, match=r"train-000001\.tar: clip clip_0005: .*ingest verify"):
        next(batches)


def test_a_missing_index_is_named(make_directory: MakeDirectory) -> None:
    directory = make_directory()
    (directory.path / "train-000000.idx").unlink()
    with pytest.raises(ValueError, match=r"train-000000\.idx.*ingest verify"):
        next(DaliLoader(directory, "train", Batching(4, 100, seed=0)).batches())
