"""Clips read and decoded by NVIDIA DALI: more clips a core, no worker processes.

DALI decodes audio on the CPU, with and without a GPU. Its threads do not need the interpreter.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from slvr.pipeline.loaders.batching import Batch, Batching, Pcm, stream_batches
from slvr.shards.read import ShardDirectory

_READER = "shards"
_SHUFFLE_BUFFER = 1024


class DaliLoader:
    """Batches by DALI's webdataset reader with the shards' index; a `Loader`.

    Each epoch holds the same clips and the same cuts as that of `ClipLoader`, in an order of its
    own: a permutation of the shards, then a buffer of 1,024 clips. A resume decodes the part of
    its epoch that is over once more.
    """

    def __init__(
        self, directory: ShardDirectory, split: str, batching: Batching, threads: int = 1
    ) -> None:
        """Checks that DALI is there.

        Args:
            directory: the shards.
            split: one of its splits.
            batching: what a step takes.
            threads: that decode, 1 or more.

        Raises:
            ValueError: DALI is not installed.
        """
        try:
            import nvidia.dali  # noqa: F401, PLC0415
        except ImportError as error:
            raise ValueError(
                "--loader dali needs NVIDIA DALI (Linux); install it with: pip install 'slvr[dali]'"
            ) from error
        self._clips = directory.dataset(split)
        self._positions = {key: i for i, key in enumerate(directory.clips(split)["key"])}
        self._shards = [s for s in directory.manifest.shards if s.split == split and s.n]
        self._directory, self._batching, self._threads = directory, batching, threads

    def batches(self, first_step: int = 0) -> Iterator[Batch]:
        """Endless batches, pinned where there is CUDA.

        Raises:
            ValueError: a clip cannot be decoded; the message names it.
        """
        pinned = torch.cuda.is_available()
        sizes, clips = self._epoch_size, self._epoch_clips
        return stream_batches(self._batching, sizes, clips, first_step, pinned)

    def _part(self, epoch: int) -> int:
        """The part of the set that this process reads: another one each epoch."""
        return (self._batching.rank + epoch) % self._batching.world

    def _epoch_size(self, epoch: int) -> int:
        n, world, part = len(self._positions), self._batching.world, self._part(epoch)
        return n * (part + 1) // world - n * part // world

    def _epoch_clips(self, epoch: int, skip: int) -> Iterator[tuple[str, int, Pcm]]:
        random = np.random.default_rng([self._batching.seed, epoch])
        pipeline: Any = None
        left = self._epoch_size(epoch)
        while left > 0:
            try:
                pipeline = pipeline or self._pipeline(epoch, random)
                pcms, sources = pipeline.run()
            except RuntimeError as error:
                raise self._damage(error) from error
            n = min(self._batching.batch, left)  # the last batch runs over into the next epoch
            left -= n
            names = [bytes(sources.at(j)).decode().rsplit(":", 1)[1] for j in range(n)]
            keys = [name.partition(".")[0] for name in names]
            for j in range(min(skip, n), n):
                pcm = pcms.at(j)[:, 0].copy()  # valid until the next run only
                yield keys[j], self._positions[keys[j]], pcm
            skip = max(skip - n, 0)

    def _damage(self, error: RuntimeError) -> ValueError:
        """The clip that cannot be decoded, by our own reader: DALI names none, and has stopped."""
        try:
            for i in range(len(self._clips)):
                self._clips[i]
        except ValueError as damage:
            return damage
        where = self._directory.path
        # between where it happened, in Python and in C++
        cause = str(error).rpartition("encountered:")[2].partition("C++ context")[0].strip()
        return ValueError(f"{where}: DALI: {cause}; run `ingest verify {where}`")

    def _pipeline(self, epoch: int, random: np.random.Generator) -> Any:
        from nvidia.dali import Pipeline, fn, types  # noqa: PLC0415

        paths = [
            self._directory.path / self._shards[i].name
            for i in random.permutation(len(self._shards))
        ]
        pipeline = Pipeline(
            self._batching.batch, self._threads, device_id=None, seed=int(random.integers(2**31))
        )
        with pipeline:
            audio = fn.readers.webdataset(
                name=_READER,
                paths=[str(path) for path in paths],
                index_paths=[str(path.with_suffix(".idx")) for path in paths],
                ext=[self._directory.manifest.codec],
                missing_component_behavior="error",
                random_shuffle=True,
                initial_fill=_SHUFFLE_BUFFER,
                shard_id=self._part(epoch),
                num_shards=self._batching.world,
            )
            pcm, _ = fn.decoders.audio(audio, dtype=types.INT16)
            pipeline.set_outputs(pcm, fn.get_property(audio, key="source_info"))
        pipeline.build()
        return pipeline
