"""Shards in an object store or on a web server, streamed: nothing is copied to this disk."""

from collections.abc import Iterator
from itertools import islice

from torch.utils.data import IterableDataset, get_worker_info

from slvr.pipeline.loaders.batching import Batch, Batching, Pcm, stream_batches
from slvr.pipeline.loaders.by_clip import by_workers
from slvr.shards.audio import decode
from slvr.shards.manifest import ShardInfo
from slvr.shards.read import ShardDirectory

SHUFFLE_BUFFER = 1000
"""Clips, still encoded, that wait to be drawn in each worker: about 200 MB at 10 s."""


class StreamedLoader:
    """Batches streamed shard by shard; a `Loader`.

    Each epoch the shards are permuted by (seed, epoch) and dealt out to all workers of all
    processes; the clips of a worker go through a buffer. Each clip comes once an epoch, with the
    same cut as from `ClipLoader`. The order depends on the number of workers too. A resume
    reads the part of its epoch that is over once more, without decoding it.
    """

    def __init__(
        self, directory: ShardDirectory, split: str, batching: Batching, workers: int = 1
    ) -> None:
        """Finds out how many workers have something to do.

        Args:
            directory: remote shards; those on this machine can be streamed too.
            split: one of its splits.
            batching: what a step takes.
            workers: processes that read and decode; at most as many as there are shards.

        Raises:
            ValueError: fewer shards than processes.
        """
        n_shards = sum(shard.n > 0 for shard in directory.shards(split))
        if n_shards < batching.world:
            raise ValueError(
                f"{directory.location}, split {split!r}: {n_shards} shards cannot be dealt out to "
                f"{batching.world} processes; use fewer --devices, or copy the directory here"
            )
        self._workers = min(workers, n_shards // batching.world)
        self._directory, self._split, self._batching = directory, split, batching
        self._positions = {key: i for i, key in enumerate(directory.clips(split)["key"])}

    def batches(self, first_step: int = 0) -> Iterator[Batch]:
        """Endless batches, pinned where there is CUDA."""
        stream = _Stream(self._directory, self._split, self._positions, self._batching, first_step)
        return by_workers(stream, self._workers)


class _Stream(IterableDataset[Batch]):
    """The batches of one worker: every W-th of this process, where there are W."""

    def __init__(
        self,
        directory: ShardDirectory,
        split: str,
        positions: dict[str, int],
        batching: Batching,
        first_step: int,
    ) -> None:
        self._directory, self._split, self._positions = directory, split, positions
        self._batching, self._first_step = batching, first_step

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        n_workers, worker = (info.num_workers, info.id) if info else (1, 0)
        # A DataLoader asks its workers in turn, from worker 0: after a resume, that is the one
        # whose turn the first step is.
        turn = (worker + self._first_step) % n_workers
        done = (self._first_step + worker) // n_workers
        self._part = self._batching.rank * n_workers + turn
        self._n_parts = self._batching.world * n_workers
        return stream_batches(self._batching, self._epoch_size, self._epoch_clips, done)

    def _shards(self, epoch: int) -> list[ShardInfo]:
        shards = [s for s in self._directory.shards(self._split, self._batching.seed, epoch) if s.n]
        return shards[self._part :: self._n_parts]

    def _epoch_size(self, epoch: int) -> int:
        return sum(shard.n for shard in self._shards(epoch))

    def _epoch_clips(self, epoch: int, skip: int) -> Iterator[tuple[str, int, Pcm]]:
        members = self._directory.members(
            self._shards(epoch), self._batching.seed, epoch, SHUFFLE_BUFFER
        )
        for key, audio, _ in islice(members, skip, None):
            try:
                yield key, self._positions[key], decode(audio)
            except (KeyError, ValueError) as error:
                raise ValueError(f"{self._directory.location}: clip {key}: {error}") from error
