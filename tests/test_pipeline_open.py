import sys
from collections.abc import Callable

import pytest
import torch

from slvr.pipeline.loaders.batching import Batching
from slvr.pipeline.loaders.by_clip import ClipLoader
from slvr.pipeline.loaders.open import open_loader
from slvr.pipeline.loaders.resident import Resident
from slvr.shards.read import ShardDirectory

MakeDirectory = Callable[..., ShardDirectory]
CPU = torch.device("cpu")
NEEDED_BYTES = 2 * 12 * 8000


@pytest.fixture
def directory(make_directory: MakeDirectory) -> ShardDirectory:
    return make_directory(lengths_s=(0.5,))


@pytest.mark.parametrize(
    ("resident", "free_bytes", "world", "kind", "why"),
    [
        ("auto", 2 * NEEDED_BYTES, 1, Resident, "the clips are resident (0.00 GB decoded, limit"),
        ("auto", 2 * NEEDED_BYTES - 2, 1, ClipLoader, "read from the shards by 3 workers (0.00 GB"),
        ("auto", 3 * NEEDED_BYTES, 2, ClipLoader, "read from the shards by 3 workers (0.00 GB"),
        (True, NEEDED_BYTES, 1, Resident, "the clips are resident"),
        (False, 9 * NEEDED_BYTES, 1, ClipLoader, "by 3 workers (--resident off)"),
    ],
)
def test_what_fits_in_half_of_the_free_memory_is_resident(
    directory: ShardDirectory,
    monkeypatch: pytest.MonkeyPatch,
    resident: bool | str,
    free_bytes: int,
    world: int,
    kind: type,
    why: str,
) -> None:
    monkeypatch.setattr("slvr.pipeline.loaders.open.free_bytes", lambda device: free_bytes)
    batching = Batching(4, 100, seed=0, world=world)
    loader, said = open_loader(directory, "train", batching, CPU, resident=resident, workers=3)
    assert isinstance(loader, kind)
    assert why in said


def test_options_that_cannot_be_met_say_so(
    directory: ShardDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    batching = Batching(4, 100, seed=0)
    monkeypatch.setattr("slvr.pipeline.loaders.open.free_bytes", lambda device: NEEDED_BYTES - 1)
    with pytest.raises(ValueError, match=r"do not fit: .*use --resident off"):
        open_loader(directory, "train", batching, CPU, resident=True)
    with pytest.raises(ValueError, match="--resident on and --loader dali exclude each other"):
        open_loader(directory, "train", batching, CPU, resident=True, loader="dali")
    with pytest.raises(ValueError, match="no split 'dev'"):
        open_loader(directory, "dev", batching, CPU)


def test_a_split_of_failures_alone_is_said(make_directory: MakeDirectory) -> None:
    directory = make_directory(n_clips=0, n_shards=1)
    with pytest.raises(ValueError, match="no clips in split 'train'; ingest some first"):
        open_loader(directory, "train", Batching(4, 100, seed=0), CPU)


def test_without_dali_its_extra_is_named(
    directory: ShardDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    with pytest.raises(ValueError, match=r"pip install 'slvr\[dali\]'"):
        open_loader(directory, "train", Batching(4, 100, seed=0), CPU, loader="dali")
