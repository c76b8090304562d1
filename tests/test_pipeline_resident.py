from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch

from conftest import write_directory
from gpu_device import DEVICE, NEEDS_GPU
from slvr.pipeline.loaders.batching import Batching
from slvr.pipeline.loaders.by_clip import ClipLoader
from slvr.pipeline.loaders.resident import Resident, free_bytes, resident_bytes
from slvr.pipeline.short import Short
from slvr.shards.read import ShardDirectory

CPU = torch.device("cpu")
DEVICES = ["cpu", pytest.param(DEVICE.type, marks=NEEDS_GPU, id="gpu")]


@pytest.fixture
def directory(tmp_path: Path) -> ShardDirectory:
    """Clips longer and shorter than the cuts below, and exactly as long."""
    return write_directory(tmp_path / "data", n_clips=20, lengths_s=(0.05, 0.3, 0.4))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("rank", "world", "short"), [(0, 1, "loop"), (2, 3, "silence"), (0, 1, "centre")]
)
def test_the_batches_of_the_default_loader_bit_for_bit(
    directory: ShardDirectory, device: str, rank: int, world: int, short: Short
) -> None:
    clips = directory.dataset("train")
    batching = Batching(7, 4800, 3, rank, world, short)
    resident = Resident(clips, batching, torch.device(device))
    for first_step in (0, 5):
        expected = islice(ClipLoader(clips, batching).batches(first_step), 9)
        for batch, gathered in zip(expected, resident.batches(first_step), strict=False):
            assert gathered.keys == batch.keys
            assert gathered.pcm.dtype == torch.int16 and gathered.pcm.device.type == device
            assert torch.equal(gathered.pcm.cpu(), batch.pcm)


def test_the_shards_are_read_once(directory: ShardDirectory) -> None:
    seen: list[int] = []

    def watch(clips: Iterable[None], n: int) -> Iterator[None]:
        assert n == 20
        for clip in clips:
            seen.append(1)
            yield clip

    resident = Resident(directory.dataset("train"), Batching(7, 4800, 3), CPU, watch)
    assert len(seen) == 20
    for tar in directory.path.glob("*.tar"):
        tar.unlink()
    assert len(list(islice(resident.batches(), 10))) == 10


def test_an_interrupt_stops_the_decoding(directory: ShardDirectory) -> None:
    decoded: list[int] = []
    clips = directory.dataset("train")
    read = type(clips).__getitem__

    class Counted(type(clips)):
        def __getitem__(self, i: int):
            decoded.append(i)
            return read(self, i)

    def interrupted(clips: Iterable[None], n: int) -> Iterator[None]:
        yield next(iter(clips))
        raise KeyboardInterrupt

    many = write_directory(directory.path / "many", n_clips=400, lengths_s=(0.5,))
    counted = Counted(many.path, many.clips("train"))
    with pytest.raises(KeyboardInterrupt):
        Resident(counted, Batching(7, 4800, 3), CPU, interrupted)
    assert len(decoded) < 400


def test_a_damaged_clip_is_named(directory: ShardDirectory) -> None:
    tar = directory.path / "train-000001.tar"
    tar.write_bytes(tar.read_bytes()[:700])
    with pytest.raises(ValueError, match=r"train-000001\.tar: clip clip_\d+: .*ingest verify"):
        Resident(directory.dataset("train"), Batching(7, 4800, 3), CPU)


def test_the_memory_it_takes_is_told_before(directory: ShardDirectory) -> None:
    clips = directory.dataset("train")
    batching = Batching(7, 4800, 3)
    resident = Resident(clips, batching, CPU)
    stored = resident._cuts.untyped_storage().nbytes()
    assert resident_bytes(clips, batching) == stored == 2 * (14 * 4800 + 6 * 6400)


def test_free_memory_keeps_to_the_limit_of_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  9000 kB\nMemAvailable:   5000 kB\n")
    monkeypatch.setattr("slvr.pipeline.loaders.resident._MEMINFO", meminfo)
    monkeypatch.setattr("slvr.pipeline.loaders.resident._CGROUP", tmp_path)
    assert free_bytes(CPU) == 5000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(CPU) == 5000 * 1024
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert free_bytes(CPU) == 2_000_000
