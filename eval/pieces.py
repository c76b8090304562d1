"""Clips cut into pieces, and pieces put together to batches.

Letters: B pieces of a batch, P pieces of a clip, T samples of a piece.
"""

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from slvr.shards.clip import SAMPLE_RATE_HZ
from slvr.shards.read import ClipDataset

_Int = TypeVar("_Int", bound=np.integer[Any])

_FULL_PIECE_SAMPLES = 5 * SAMPLE_RATE_HZ
"""A batch holds no more samples than its number of such pieces: memory does not grow with the
clips."""
LEAST_SAMPLES = 1024
"""Shorter clips are repeated up to here where clips stay whole: one frame of the front end."""


def pieces_a_batch(batch: int, samples: int) -> int:
    """Pieces of a length that are embedded at once, where there are `batch` of 5 s."""
    return max(1, min(batch, batch * _FULL_PIECE_SAMPLES // samples))


def cut(wave: NDArray[_Int], samples: int) -> NDArray[_Int]:
    """All pieces (P, samples) of a waveform (T,); the last one repeats what is left."""
    n_whole = len(wave) // samples
    whole, rest = wave[: n_whole * samples], wave[n_whole * samples :]
    filled = np.resize(rest, samples) if len(rest) else rest
    return np.concatenate([whole, filled]).reshape(-1, samples)


class CutClips(Dataset[Tensor]):
    """The pieces (P, T) int16 of each clip of a split, in the order they are embedded."""

    def __init__(self, clips: ClipDataset, order: NDArray[np.int64], samples: int | None) -> None:
        self._clips, self._order, self._samples = clips, order, samples

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, i: int) -> Tensor:
        wave = self._clips[int(self._order[i])]
        return torch.from_numpy(cut(wave, self._samples or max(len(wave), LEAST_SAMPLES)))


def blocks(
    clips: CutClips, first_clip: int, skip: int, batch: int, device: torch.device
) -> Iterator[Tensor]:
    """The pieces of all clips in order, (B, T) int16 of one length.

    It begins with piece `skip` of clip `first_clip`; where the blocks end does not depend on it.
    """
    # A GPU outruns the decoding of one process; on a CPU, workers would take the network's cores.
    n_workers = 4 if device.type == "cuda" else 0
    context = "forkserver" if n_workers else None  # a fork would inherit the locks of threads
    loader = DataLoader(
        clips,
        batch_size=None,
        sampler=range(first_clip, len(clips)),
        num_workers=n_workers,
        multiprocessing_context=context,
    )
    waiting: list[Tensor] = []
    for pieces in loader:
        for piece in pieces[skip:]:
            full = len(waiting) >= pieces_a_batch(batch, len(piece))
            if waiting and (full or len(piece) != len(waiting[0])):
                yield torch.stack(waiting)
                waiting = []
            waiting.append(piece)
        skip = 0
    if waiting:
        yield torch.stack(waiting)
