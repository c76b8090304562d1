"""The default loader: clips by position, read and decoded by worker processes."""

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from multiprocessing import forkserver
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from slvr.pipeline.loaders.batching import Batch, Batching, cut_batch, drawn_clips
from slvr.pipeline.loaders.order import Ints
from slvr.shards.read import ClipDataset


class ClipLoader:
    """Exactly shuffled batches by one seek a clip; a `Loader`.

    Processes, not threads: a training loop that keeps the interpreter busy would starve threads,
    which need it between any two frames of a FLAC.
    """

    def __init__(self, clips: ClipDataset, batching: Batching, workers: int = 0) -> None:
        """Reads nothing yet.

        Args:
            clips: the set.
            batching: what a step takes.
            workers: processes that decode; 0 decodes in this one.
        """
        self._clips, self._batching, self._workers = clips, batching, workers

    def batches(self, first_step: int = 0) -> Iterator[Batch]:
        """Endless batches, pinned where there is CUDA."""
        steps = drawn_clips(self._clips.recordings, self._batching, first_step)
        return by_workers(_Cuts(self._clips, self._batching), self._workers, steps)


class _Cuts(Dataset[Batch]):
    """`cuts[epochs, clips]`: a batch."""

    def __init__(self, clips: ClipDataset, batching: Batching) -> None:
        self._clips, self._batching = clips, batching

    def __getitem__(self, drawn: tuple[Ints, Ints]) -> Batch:
        epochs, clips = drawn
        pcm, starts = cut_batch(self._batching, epochs, clips, [self._clips[i] for i in clips])
        return Batch(tuple(self._clips.keys[i] for i in clips), pcm, starts)


def by_workers(
    batches: Dataset[Batch], workers: int, steps: Iterator[tuple[Ints, Ints]] | None = None
) -> Iterator[Batch]:
    """Batches made by processes, which end with this one, also by Ctrl-C; 0: in this process."""
    # Forked workers would inherit locks that other threads of this process hold; those of a fork
    # server that has loaded torch start as fast.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    if workers and threading.current_thread() is threading.main_thread():
        # what it forks inherits this, from the first moment on: Ctrl-C is this process's affair
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        forkserver.ensure_running()
        signal.signal(signal.SIGINT, before)
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=steps,
        collate_fn=_as_they_are,
        num_workers=workers,
        worker_init_fn=_leave_interrupts_to_the_parent,
        pin_memory=torch.cuda.is_available(),
        multiprocessing_context=context if workers else None,
    )
    return iter(loader)


def _as_they_are(batch: Any) -> Any:
    """The batch: torch would look at each of its keys, and make a list of them."""
    return batch


def _leave_interrupts_to_the_parent(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def on_device(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """The same batches on a device; on CUDA each is copied while the one before is in use."""
    if device.type != "cuda":
        for batch in batches:
            yield batch._replace(pcm=batch.pcm.to(device))
        return
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def copy() -> Batch | None:
        batch = next(batches, None)
        if batch is None:
            return None
        with torch.cuda.stream(copying):
            return batch._replace(pcm=batch.pcm.to(device, non_blocking=True))

    ahead = copy()
    while ahead is not None:
        using = torch.cuda.current_stream(device)
        using.wait_stream(copying)
        ahead.pcm.record_stream(using)  # its memory may be given away only once `using` is past it
        batch, ahead = ahead, copy()
        yield batch
