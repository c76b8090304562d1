"""The default loader, and what every loader keeps to."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data._utils.pin_memory import pin_memory

from conftest import write_directory
from gpu_device import DEVICE, needs_gpu
from slvr.pipeline.loaders.batching import Batch, Batching, Loader, cut_batch, drawn_clips
from slvr.pipeline.loaders.by_clip import ClipLoader, on_device
from slvr.pipeline.loaders.dali import DaliLoader
from slvr.pipeline.loaders.resident import Resident
from slvr.pipeline.loaders.streamed import StreamedLoader
from slvr.shards.read import ShardDirectory

CPU = torch.device("cpu")
N_CLIPS, BATCH, N_SAMPLES, SEED = 24, 5, 4800, 1
LOADERS: dict[str, Callable[[ShardDirectory, Batching, int], Loader]] = {
    "default": lambda d, batching, workers: ClipLoader(d.dataset("train"), batching, workers),
    "resident": lambda d, batching, workers: Resident(d.dataset("train"), batching, CPU),
    "streamed": lambda d, batching, workers: StreamedLoader(d, "train", batching, workers),
    "dali": lambda d, batching, workers: DaliLoader(d, "train", batching),
}
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
WITH_WORKERS = ("default", "streamed")
needs_dali = pytest.mark.skipif(
    importlib.util.find_spec("nvidia.dali") is None if importlib.util.find_spec("nvidia") else True,
    reason="needs the extra slvr[dali]",
)
GRID = [
    pytest.param(name, world, workers, marks=[needs_dali] if name == "dali" else [])
    for name in LOADERS
    for world in (1, 2, 3, 4)
    for workers in ((0, 1, 2, 3) if name in WITH_WORKERS else (0,))
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> ShardDirectory:
    """24 clips longer than a cut, so that each (epoch, clip) has samples of its own."""
    path = tmp_path_factory.mktemp("shards") / "data"
    return write_directory(path, n_clips=N_CLIPS, n_shards=12, lengths_s=(0.5, 0.6))


@pytest.fixture(scope="module")
def drawn_of(directory: ShardDirectory) -> dict[bytes, tuple[int, str]]:
    """Samples of a cut -> its epoch and the key of its clip."""
    clips = directory.dataset("train")
    pcms = [clips[i] for i in range(N_CLIPS)]
    batching = Batching(N_CLIPS, N_SAMPLES, SEED)
    return {
        bytes(row): (epoch, clips.keys[i])
        for epoch in range(9)
        for i, row in enumerate(
            cut_batch(batching, np.full(N_CLIPS, epoch), np.arange(N_CLIPS), pcms)[0].numpy()
        )
    }


@pytest.mark.parametrize(("name", "world", "workers"), GRID)
def test_each_clip_once_an_epoch_with_its_key_and_the_same_cut_and_resumed_anywhere(
    directory: ShardDirectory,
    drawn_of: dict[bytes, tuple[int, str]],
    name: str,
    world: int,
    workers: int,
) -> None:
    n_readers = world * max(workers, 1)
    n_batches = -(-2 * N_CLIPS // (n_readers * BATCH))  # of each reader, for two epochs
    n_steps = max(n_batches * max(workers, 1), 6)
    drawn: Counter[tuple[int, str]] = Counter()
    for rank in range(world):
        batching = Batching(BATCH, N_SAMPLES, SEED, rank, world)
        loader = LOADERS[name](directory, batching, workers)
        batches = list(islice(loader.batches(), n_steps))
        for keys, pcm, _ in batches:
            assert pcm.dtype == torch.int16 and pcm.shape == (BATCH, N_SAMPLES)
            assert all(bytes(row) in drawn_of for row in pcm.numpy()), "no cut of an epoch"
            found = [drawn_of[bytes(row)] for row in pcm.numpy()]
            assert keys == tuple(key for _, key in found)
            drawn.update(found)
        first_step = 4  # in the middle of an epoch, and of a worker's turns
        resumed = LOADERS[name](directory, batching, workers).batches(first_step)
        for batch, again in zip(batches[first_step:], resumed, strict=False):
            assert isinstance(again, Batch) and again.keys == batch.keys
            assert torch.equal(batch.pcm, again.pcm)
    assert set(drawn.values()) == {1}
    every_key = directory.dataset("train").keys
    assert {(e, key) for e in range(2) for key in every_key} <= set(drawn)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[needs_dali] if n == "dali" else []) for n in LOADERS]
)
def test_another_seed_another_order(directory: ShardDirectory, name: str) -> None:
    first, second = (
        next(LOADERS[name](directory, Batching(BATCH, N_SAMPLES, seed), 0).batches())
        for seed in (1, 2)
    )
    assert not torch.equal(first.pcm, second.pcm)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_order_does_not_depend_on_workers(directory: ShardDirectory, workers: int) -> None:
    clips = directory.dataset("train")
    batching = Batching(BATCH, N_SAMPLES, SEED)
    stream = ClipLoader(clips, batching, workers).batches(2)
    for batch, (epochs, drawn) in zip(
        islice(stream, 4), drawn_clips(clips.recordings, batching, 2), strict=False
    ):
        expected, _ = cut_batch(batching, epochs, drawn, [clips[i] for i in drawn])
        assert torch.equal(batch.pcm, expected)


def test_a_damaged_clip_is_named_across_the_process_border(tmp_path: Path) -> None:
    directory = write_directory(tmp_path / "data")
    tar = directory.path / "train-000001.tar"
    tar.write_bytes(tar.read_bytes()[:700])
    stream = ClipLoader(directory.dataset("train"), Batching(12, 100, seed=0), 1).batches()
    with pytest.raises(ValueError, match=r"train-000001\.tar: clip clip_\d+: .*ingest verify"):
        next(stream)


SCRIPT = """
import signal, sys
from slvr.pipeline.loaders.batching import Batching
from slvr.pipeline.loaders.by_clip import ClipLoader
from slvr.shards.read import ShardDirectory

if __name__ == "__main__":
    received = []
    if sys.argv[2] == "save first":  # as the training loop does
        signal.signal(signal.SIGINT, lambda *_: received.append(1))
    clips = ShardDirectory.open(sys.argv[1]).dataset("train")
    stream = ClipLoader(clips, Batching(4, 100, seed=0), 2).batches()
    for batch in stream:
        print(*(worker.pid for worker in stream._workers), flush=True)
        if received:
            received.append(1)
        if len(received) == 30:
            break
"""


@pytest.mark.parametrize(
    ("manner", "code", "last_word"),
    [("at once", -signal.SIGINT, "KeyboardInterrupt"), ("save first", 0, "")],
)
def test_ctrl_c_stops_the_parent_and_leaves_no_process(
    directory: ShardDirectory, tmp_path: Path, manner: str, code: int, last_word: str
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(directory.path), manner],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group of its own, as a terminal makes one
    )
    assert process.stdout is not None
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert len(workers) == 2 and all(map(running, workers))
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    # an interrupt that meets the handover of a batch is told with what it interrupted
    assert stderr.count("Traceback") in ((1, 2) if last_word else (0,))
    assert stderr.rstrip().endswith(last_word)
    end_s = time.monotonic() + 20
    while any(map(running, workers)):
        assert time.monotonic() < end_s, "a worker outlives its parent"
        time.sleep(0.01)


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_cpu_gets_the_batches_as_they_are(directory: ShardDirectory) -> None:
    batches = [Batch(("a", "b"), torch.full((2, 3), i, dtype=torch.int16)) for i in range(3)]
    for batch, moved in zip(batches, on_device(iter(batches), CPU), strict=True):
        assert moved.keys is batch.keys and moved.pcm is batch.pcm


def test_pinning_leaves_the_keys_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = torch.ones(2, 3, dtype=torch.int16)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda pcm: pinned)
    batch = pin_memory(Batch(("a", "b"), torch.zeros(2, 3, dtype=torch.int16)))
    assert isinstance(batch, Batch) and batch.keys == ("a", "b") and batch.pcm is pinned


@needs_gpu
def test_batches_reach_the_device_unchanged_and_in_order(directory: ShardDirectory) -> None:
    loader = ClipLoader(directory.dataset("train"), Batching(BATCH, N_SAMPLES, SEED), 2)
    expected = list(islice(loader.batches(), 20))
    assert expected[0].pcm.is_pinned() == (DEVICE.type == "cuda")
    for batch, moved in zip(expected, on_device(loader.batches(), DEVICE), strict=False):
        assert moved.pcm.device.type == DEVICE.type and moved.keys == batch.keys
        assert torch.equal(moved.pcm.cpu(), batch.pcm)
