"""Batches of clips from shards, in an order that depends on seed and position alone.

Letters: B clips of a batch, T samples.
"""

import signal
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from shards.clip import SAMPLE_RATE_HZ
from shards.read import ClipDataset


def batches(
    clips: ClipDataset,
    batch: int,
    clip_s: float,
    seed: int,
    *,
    first_step: int = 0,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
) -> Iterator[Tensor]:
    """Endless batches (B, T) int16 of equal length, from step `first_step` on.

    Epochs follow each other without a gap: clip number p of the run is place p mod n of a
    permutation drawn from (seed, epoch p // n), so that nothing is lost or repeated, whatever the
    batch size and the number of processes, and a position is one number.

    Args:
        clips: the clips of a split.
        batch: B, clips a step of this process.
        clip_s: length in seconds; longer clips are cut at random, shorter ones repeated.
        seed: of the order and the cuts.
        first_step: steps done before.
        rank: number of this process.
        world: number of processes.
        workers: processes that read and decode; 0 reads in this one.

    Raises:
        ValueError: no clips, or a length that is no sample long.
    """
    n_samples = round(clip_s * SAMPLE_RATE_HZ)
    if len(clips) == 0 or n_samples < 1:
        raise ValueError(
            f"expected clips and a length above 0, got {len(clips)} clips of {clip_s} s; ingest "
            "some first"
        )
    loader = DataLoader(
        Crops(clips, n_samples, seed),
        batch_sampler=EndlessSampler(len(clips), batch, seed, first_step, rank, world),
        num_workers=workers,
        worker_init_fn=_leave_interrupts_to_the_parent,
        pin_memory=torch.cuda.is_available(),
        # forked workers would inherit locks that other threads of this process hold
        multiprocessing_context="forkserver" if workers else None,
    )
    return iter(loader)


def _leave_interrupts_to_the_parent(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class EndlessSampler(Sampler[list[tuple[int, int]]]):
    """For each step the (epoch, clip) pairs of this process's share of the global batch."""

    def __init__(
        self, n: int, batch: int, seed: int, first_step: int, rank: int, world: int
    ) -> None:
        self.n, self.batch, self.seed = n, batch, seed
        self.first_step, self.rank, self.world = first_step, rank, world

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        step = self.first_step
        order, order_epoch = np.empty(0, np.int64), -1
        while True:
            first = (step * self.world + self.rank) * self.batch
            places = []
            for position in range(first, first + self.batch):
                epoch, place = divmod(position, self.n)
                if epoch != order_epoch:
                    order = np.random.default_rng([self.seed, epoch]).permutation(self.n)
                    order_epoch = epoch
                places.append((epoch, int(order[place])))
            yield places
            step += 1


class Crops(Dataset[Tensor]):
    """`crops[epoch, i]`: clip i as (T,) int16 of one length, cut at a place drawn anew an epoch."""

    def __init__(self, clips: ClipDataset, n_samples: int, seed: int) -> None:
        self.clips, self.n_samples, self.seed = clips, n_samples, seed

    def __getitem__(self, place: tuple[int, int]) -> Tensor:
        epoch, i = place
        pcm = self.clips[i]
        spare = len(pcm) - self.n_samples
        if spare > 0:
            start = int(np.random.default_rng([self.seed, epoch, i]).integers(spare + 1))
            pcm = pcm[start : start + self.n_samples]
        elif spare < 0:
            pcm = np.resize(pcm, self.n_samples)  # repeats it
        return torch.from_numpy(np.ascontiguousarray(pcm))


def to_float(pcm: Tensor) -> Tensor:
    """(B, T) float32 in [-1, 1) of int16 samples."""
    return pcm.to(torch.float32) / 32768
