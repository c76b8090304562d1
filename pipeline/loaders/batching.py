"""What every loader keeps to: batches of cut clips, their order and cuts functions of numbers.

Letters: B clips of a batch, T samples of a cut clip, N clips of a set.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slvr.pipeline.loaders.order import Ints, Order
from slvr.pipeline.short import Short, filled

Pcm = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Batching:
    """What one process takes at each step.

    Raises:
        ValueError: a batch of no clips, or clips of no sample.
    """

    batch: int
    """B, clips a step of this process."""
    n_samples: int
    """T; longer clips are cut at random, shorter ones filled."""
    seed: int
    """Of the order and the cuts."""
    rank: int = 0
    """Number of this process."""
    world: int = 1
    """Number of processes."""
    short: Short = "loop"
    """What fills clips shorter than T."""

    def __post_init__(self) -> None:
        if self.batch < 1 or self.n_samples < 1:
            raise ValueError(
                f"expected at least one clip of at least one sample a step, got {self.batch} of "
                f"{self.n_samples}; check --batch and --clip-s"
            )


class Cut(NamedTuple):
    """Which part of which clip each row of a batch is."""

    keys: tuple[str, ...]
    """(B,) of the clips."""
    starts: Tensor
    """(B,) int64 on the host: the first sample of each cut; 0 of a clip that was filled."""


class Batch(NamedTuple):
    """What a step takes."""

    keys: tuple[str, ...]
    """(B,) of the clips."""
    pcm: Tensor
    """(B, T) int16, a cut of each."""
    starts: Tensor | None = None
    """See `Cut`; None where nobody knows."""

    @property
    def cut(self) -> Cut | None:
        """Which part of which clip each row is."""
        return None if self.starts is None else Cut(self.keys, self.starts)

    def pin_memory(self) -> "Batch":
        """The same in page-locked memory; a DataLoader asks for it by this name."""
        return self._replace(pcm=self.pcm.pin_memory())


class Loader(Protocol):
    """A source of batches."""

    def batches(self, first_step: int = 0) -> Iterator[Batch]:
        """Endless batches from step `first_step` on.

        Epochs follow each other without a gap: each clip once an epoch, over all processes.
        Another call from a later step gives what the first would have come to.
        """
        ...


def drawn_clips(
    recordings: Ints, batching: Batching, first_step: int
) -> Iterator[tuple[Ints, Ints]]:
    """For each step the epochs (B,) and the clips (B,) of this process's share.

    Clip number p of the run is number p mod N of epoch p // N, see `Order`, so that nothing is
    lost or repeated, whatever the batch size; W processes draw the clips of one, each its share.

    Args:
        recordings: (N,) of each clip.
        batching: what a step takes.
        first_step: of the run.
    """
    n = len(recordings)
    orders = Order(recordings, batching.batch * batching.world, batching.seed)
    order, order_epoch = np.empty(0, np.int64), -1
    step = first_step
    while True:
        first = (step * batching.world + batching.rank) * batching.batch
        epochs, within = np.divmod(np.arange(first, first + batching.batch), n)
        clips = np.empty_like(within)
        for epoch in range(epochs[0], epochs[-1] + 1):
            if epoch != order_epoch:
                order = orders.epoch(epoch)
                order_epoch = epoch
            here = epochs == epoch
            clips[here] = order[within[here]]
        yield epochs, clips
        step += 1


def cut_starts(batching: Batching, epochs: Ints, clips: Ints, n_samples: Ints) -> Ints:
    """First sample (B,) of the cut of each clip: a uniform draw from (seed, epoch, clip)."""
    # A generator for each clip would cost more than the batch: the seeds are hashed instead.
    draws = _mix(np.full(len(clips), batching.seed).astype(np.uint64))
    for number in (epochs, clips):
        draws = _mix(draws ^ number.astype(np.uint64))
    spare = np.maximum(n_samples - batching.n_samples, 0)
    uniform = (draws >> np.uint64(11)) * 2.0**-53
    starts: Ints = (uniform * (spare + 1)).astype(np.int64)
    return starts


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """One output of SplitMix64 for each state (Steele, Lea and Flood, OOPSLA 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def cut_batch(
    batching: Batching, epochs: Ints, clips: Ints, pcms: list[Pcm], pinned: bool = False
) -> tuple[Tensor, Tensor]:
    """One batch (B, T) int16: each clip cut to one length, or filled up to it; and the starts (B,).

    Pinned memory is what a device copies from while the host goes on.
    """
    lengths = np.array([len(pcm) for pcm in pcms])
    starts = cut_starts(batching, epochs, clips, lengths)
    shape = (len(pcms), batching.n_samples)
    batch = torch.empty(shape, dtype=torch.int16, pin_memory=pinned)
    for row, pcm, start in zip(batch.numpy(), pcms, starts, strict=True):
        cut = pcm[start : start + len(row)]
        row[:] = filled(cut, len(row), batching.short)
    return batch, torch.from_numpy(starts)


def stream_batches(
    batching: Batching,
    epoch_size: Callable[[int], int],
    epoch_clips: Callable[[int, int], Iterator[tuple[str, int, Pcm]]],
    done: int,
    pinned: bool = False,
) -> Iterator[Batch]:
    """Endless batches of a source that is read from end to end.

    Args:
        batching: what a batch is.
        epoch_size: number of clips that this reader has in an epoch.
        epoch_clips: from (epoch, number of clips to skip) the other clips: key, position and
            samples.
        done: number of batches to skip.
        pinned: makes batches in pinned memory, which worker processes cannot.
    """

    def endless() -> Iterator[tuple[int, str, int, Pcm]]:
        epoch, skip = 0, done * batching.batch
        while skip >= epoch_size(epoch):
            skip -= epoch_size(epoch)
            epoch += 1
        while True:
            for key, i, pcm in epoch_clips(epoch, skip):
                yield epoch, key, i, pcm
            epoch, skip = epoch + 1, 0

    clips: Iterator[Any] = endless()
    while True:
        drawn = zip(*(next(clips) for _ in range(batching.batch)), strict=True)
        epochs, keys, positions, pcms = drawn
        drawn_from = np.array(epochs), np.array(positions)
        pcm, starts = cut_batch(batching, *drawn_from, list(pcms), pinned)
        yield Batch(keys, pcm, starts)
