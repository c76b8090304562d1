"""Clips cut into pieces, and pieces put together to batches.

Letters: B pieces of a batch, P pieces of a clip, T samples of a piece.
"""

from collections.abc import Iterator
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from slvr.pipeline.short import Short, filled
from slvr.shards.clip import SAMPLE_RATE_HZ
from slvr.shards.read import ClipDataset

Cutting = Literal["spread", "filled"]
"""Where pieces lie: "spread", all full and evenly from the clip's beginning to its end; "filled",
end to end, the last one filled up (the original code's)."""

_Int = TypeVar("_Int", bound=np.integer[Any])

_FULL_PIECE_SAMPLES = 5 * SAMPLE_RATE_HZ
"""A batch holds no more samples than its number of such pieces: memory does not grow with the
clips."""
LEAST_SAMPLES = 1024
"""Shorter clips are filled up to here where clips stay whole: one frame of the front end."""


def pieces_a_batch(batch: int, samples: int) -> int:
    """Pieces of a length that are embedded at once, where there are `batch` of 5 s."""
    return max(1, min(batch, batch * _FULL_PIECE_SAMPLES // samples))


def n_pieces(n_samples: NDArray[np.int64], samples: int, cutting: Cutting) -> NDArray[np.int64]:
    """Pieces of clips of so many samples.

    Spread: `max(1, floor(T / P + 1/2))`, T samples of a clip and P of a piece, so that what is left
    over beside full pieces makes a further one only from half a piece on. Filled: `ceil(T / P)`.
    """
    if cutting == "spread":
        rounded: NDArray[np.int64] = np.maximum(1, (2 * n_samples + samples) // (2 * samples))
        return rounded
    return -(-n_samples // samples)


def cut(
    wave: NDArray[_Int], samples: int, cutting: Cutting = "spread", short: Short = "loop"
) -> NDArray[_Int]:
    """All pieces (P, samples) of a waveform (T,).

    Spread pieces begin at `round(i (T - samples) / (P - 1))`: a tail of any length is in the last
    one, and is never a piece of its own.

    Args:
        wave: of a clip.
        samples: of a piece.
        cutting: where pieces lie.
        short: fills a clip that is shorter, and the last one of "filled" pieces.
    """
    n = int(n_pieces(np.array(len(wave)), samples, cutting))
    if cutting == "filled":
        last = filled(wave[(n - 1) * samples :], samples, short)
        return np.concatenate([wave[: (n - 1) * samples], last]).reshape(-1, samples)
    if n == 1:
        return filled(wave[:samples], samples, short)[None]
    starts = (2 * np.arange(n) * (len(wave) - samples) + n - 1) // (2 * (n - 1))
    return np.lib.stride_tricks.sliding_window_view(wave, samples)[starts]


class CutClips(Dataset[Tensor]):
    """The pieces (P, T) int16 of each clip of a split, in the order they are embedded."""

    def __init__(
        self,
        clips: ClipDataset,
        order: NDArray[np.int64],
        samples: int | None,
        cutting: Cutting,
        short: Short,
    ) -> None:
        self._clips, self._order, self._samples = clips, order, samples
        self._cutting, self._short = cutting, short

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, i: int) -> Tensor:
        wave = self._clips[int(self._order[i])]
        samples = self._samples or max(len(wave), LEAST_SAMPLES)
        return torch.from_numpy(cut(wave, samples, self._cutting, self._short))


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
