"""A set that is decoded once and stays in the memory of the device.

Letters: B clips of a batch, T samples of a cut clip, S samples of the set.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from slvr.pipeline.loaders.batching import Batch, Batching, cut_starts, drawn_clips
from slvr.pipeline.loaders.order import Ints
from slvr.pipeline.short import filled
from slvr.pipeline.upload import upload
from slvr.shards.read import ClipDataset

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
Watch = Callable[[Iterable[None], int], Iterable[None]]
"""Passes items on, of which there will be a known number."""
SHARE = 0.5
"""Of the free memory of the device that a resident set may take."""


def no_watch(clips: Iterable[None], n: int) -> Iterable[None]:
    """The same items."""
    return clips


class Resident:
    """The batches of `ClipLoader`, bit for bit, gathered on the device; a `Loader`."""

    def __init__(
        self,
        clips: ClipDataset,
        batching: Batching,
        device: torch.device,
        watch: Watch = no_watch,
    ) -> None:
        """Decodes the set, on all cores.

        Args:
            clips: the set; each process holds all of it.
            batching: what a step takes.
            device: where the samples stay.
            watch: wraps the decoding, one item a clip, for example to show its progress.
        """
        self._batching = batching
        self._keys = np.array(clips.keys, object)
        self._recordings = clips.recordings
        self._n_samples = _n_samples(clips, batching)
        self._first = np.cumsum(self._n_samples) - self._n_samples
        n_samples = int(self._n_samples.sum())
        if device.type == "cpu":
            # numpy asks the system for huge pages: from there a batch takes 5 to 20% less time.
            samples = torch.from_numpy(np.empty(n_samples, np.int16))
        else:
            samples = torch.empty(n_samples, dtype=torch.int16, device=device)

        def keep(i: int) -> None:
            first, n = int(self._first[i]), int(self._n_samples[i])
            samples[first : first + n] = torch.from_numpy(filled(clips[i], n, batching.short))

        pool = ThreadPoolExecutor()
        try:
            for _ in watch(pool.map(keep, range(len(clips))), len(clips)):
                pass
        finally:
            pool.shutdown(cancel_futures=True)
        # (S - T + 1, T): the cut that starts at each sample, a view
        self._cuts = samples.unfold(0, batching.n_samples, 1)

    def batches(self, first_step: int = 0) -> Iterator[Batch]:
        """Endless batches on the device."""
        for epochs, clips in drawn_clips(self._recordings, self._batching, first_step):
            starts = cut_starts(self._batching, epochs, clips, self._n_samples[clips])
            rows = torch.from_numpy(self._first[clips] + starts)
            (rows,) = upload([rows], self._cuts.device)
            pcm = self._cuts.index_select(0, rows)
            yield Batch(tuple(self._keys[clips]), pcm, torch.from_numpy(starts))


def resident_bytes(clips: ClipDataset, batching: Batching) -> int:
    """Memory that the set takes."""
    return 2 * int(_n_samples(clips, batching).sum())


def _n_samples(clips: ClipDataset, batching: Batching) -> Ints:
    """Samples that each clip takes: clips shorter than a cut are kept filled."""
    kept: Ints = np.maximum(clips.n_samples, batching.n_samples)
    return kept


def free_bytes(device: torch.device) -> int:
    """Free memory of a device; of a CPU, within the limit of the container."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if not _MEMINFO.exists():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2  # no Linux: a guess
    fields = dict(line.split(":") for line in _MEMINFO.read_text().splitlines())
    free = int(fields["MemAvailable"].split()[0]) * 1024
    limit = _CGROUP / "memory.max"
    if limit.exists() and (text := limit.read_text().strip()) != "max":
        free = min(free, int(text) - int((_CGROUP / "memory.current").read_text()))
    return free
