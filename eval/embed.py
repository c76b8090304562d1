"""Features of a set, computed once: every piece of every clip through a frozen model.

Letters: B pieces of a batch, P pieces of the set, T samples of a piece, D embedding.
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from slvr.command.progress import track
from slvr.shards.clip import SAMPLE_RATE_HZ
from slvr.shards.files import write_text
from slvr.shards.read import ClipDataset, ShardDirectory

_Int = TypeVar("_Int", bound=np.integer[Any])
_Values = np.memmap[Any, np.dtype[np.float32]]

_VALUES = "features.npy"
_PIECES = "pieces.parquet"
_DONE = "rows-done.txt"
_VERSION = 2
"""Part of the key: raise it when the same model and shards come to give other features."""
_SAVE_EVERY_S = 5.0
_FULL_PIECE_SAMPLES = 5 * SAMPLE_RATE_HZ
"""A batch holds no more samples than its number of such pieces: memory does not grow with the
clips."""
LEAST_SAMPLES = 1024
"""Shorter clips are repeated up to here where clips stay whole: one frame of the front end."""


class Embedder(Protocol):
    """A frozen model that is evaluated."""

    name: str
    """Name in the tables."""
    fingerprint: str
    """Equal for models that give equal features, and for them alone."""
    heads: Mapping[str, slice]
    """Parts of the feature vector by task; a model of one part calls it "all"."""

    def embed(self, waves: Tensor) -> Tensor:
        """Features (B, D) of waveforms (B, T) float32 in [-1, 1] at 16 kHz."""
        ...


@dataclass(frozen=True)
class Features:
    """Features of the P pieces of a set."""

    values: Tensor
    """(P, D) float32 on a memory-mapped file; the pieces of a clip follow one another."""
    pieces: pd.DataFrame
    """One row a piece: key of the clip, number of the piece, labels of the clip."""

    @property
    def first_piece(self) -> NDArray[np.int64]:
        """Row of the first piece of each clip."""
        return np.flatnonzero(self.pieces["piece"].to_numpy() == 0)

    @property
    def n_pieces(self) -> NDArray[np.int64]:
        """Number of pieces of each clip."""
        return np.diff(self.first_piece, append=len(self.pieces))

    @property
    def clip_means(self) -> Tensor:
        """(clips, D) float32: the mean over the pieces of each clip."""
        n_pieces = torch.from_numpy(self.n_pieces)
        return torch.segment_reduce(self.values, "mean", lengths=n_pieces, axis=0)


def embed(
    model: Embedder,
    directory: ShardDirectory,
    split: str,
    piece_s: float | None,
    cache: Path,
    batch: int,
    device: torch.device,
) -> Features:
    """The features of all pieces of a split, from the cache where they are there.

    Progress is shown. Interrupted work is kept: the next call for the same features goes on at the
    batch after it.

    Args:
        model: what embeds; both of an encoder's heads, where it has two.
        directory: the shards.
        split: one of its splits.
        piece_s: length of a piece in seconds; None takes whole clips.
        cache: folder of computed features; a finished folder appears there whole or not at all.
        batch: pieces of 5 s that are embedded at once, of as many clips as it takes (B).
        device: where the model is.

    Raises:
        ValueError: no clips, unreadable cache, features that are not finite.
    """
    key = [_VERSION, model.fingerprint, directory.fingerprint, split, piece_s]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    folder = cache / f"{directory.name}-{split}-{digest}"
    partial = cache / f".partial-{folder.name}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with _held(partial):
            if not folder.is_dir():  # else another process made it while this one waited
                _embed(model, directory, split, piece_s, partial, batch, device)
                (partial / _DONE).unlink()
                partial.rename(folder)
            else:
                shutil.rmtree(partial, ignore_errors=True)
    return _load(folder)


def pieces_a_batch(batch: int, samples: int) -> int:
    """Pieces of a length that are embedded at once, where there are `batch` of 5 s."""
    return max(1, min(batch, batch * _FULL_PIECE_SAMPLES // samples))


def cut(wave: NDArray[_Int], samples: int) -> NDArray[_Int]:
    """All pieces (P, samples) of a waveform (T,); the last one repeats what is left."""
    n_whole = len(wave) // samples
    whole, rest = wave[: n_whole * samples], wave[n_whole * samples :]
    filled = np.resize(rest, samples) if len(rest) else rest
    return np.concatenate([whole, filled]).reshape(-1, samples)


@contextmanager
def _held(partial: Path) -> Iterator[None]:
    """Within it no other process works in this folder; the lock ends with the process."""
    partial.mkdir(exist_ok=True)
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _embed(
    model: Embedder,
    directory: ShardDirectory,
    split: str,
    piece_s: float | None,
    partial: Path,
    batch: int,
    device: torch.device,
) -> None:
    """Fills a folder with features, from where an earlier call left it."""
    clips = directory.clips(split)
    samples = None if piece_s is None else round(piece_s * SAMPLE_RATE_HZ)
    n_samples = clips["n_samples"].to_numpy()
    n_pieces = np.ones_like(n_samples) if samples is None else -(-n_samples // samples)
    pieces = _pieces_of(clips, n_pieces)
    pieces.to_parquet(partial / _PIECES)
    # Whole clips go by length, so that clips of one length share a batch.
    by_length = n_samples.argsort(kind="stable")
    order = by_length if samples is None else np.arange(len(clips))
    rows = by_length if samples is None else np.arange(len(pieces))

    values, done = _resumed(partial, len(pieces))
    starts = pieces["piece"].to_numpy()[rows] == 0
    first_clip = int(n_pieces[order].cumsum().searchsorted(done, side="right"))
    skip = done - int(n_pieces[order][:first_clip].sum())
    source = _CutClips(ClipDataset(directory.path, clips), order, samples)
    label = f"embed {directory.name} {split}, {model.name}"
    saved_s = time.monotonic()
    with track(label, len(clips), "clips", int(starts[:done].sum())) as shown:
        try:
            for block in _blocks(source, first_clip, skip, batch, device):
                with torch.inference_mode():
                    out = model.embed(block.to(device).float() / 32768).float().cpu().numpy()
                into = rows[done : done + len(out)]
                finite = np.isfinite(out).all(axis=1)
                if not finite.all():
                    shutil.rmtree(partial)
                    raise ValueError(
                        f"{model.name}: the features of clip "
                        f"{pieces['key'].iloc[into[int(finite.argmin())]]} are not finite; choose "
                        "another checkpoint, its training may have diverged"
                    )
                if values is None:
                    values = _new_values(partial, (len(pieces), out.shape[1]))
                values[into] = out
                shown.advance(int(starts[done : done + len(out)].sum()))
                done += len(out)
                if time.monotonic() - saved_s > _SAVE_EVERY_S:
                    _save(partial, values, done)
                    saved_s = time.monotonic()
        finally:
            if values is not None and partial.is_dir():
                _save(partial, values, done)
    assert done == len(pieces)


def _pieces_of(clips: pd.DataFrame, n_pieces: NDArray[np.int64]) -> pd.DataFrame:
    """A row a piece: key of its clip, number within the clip, labels of the clip."""
    return pd.DataFrame(
        {
            "key": clips["key"].to_numpy().repeat(n_pieces),
            "piece": np.arange(n_pieces.sum()) - (n_pieces.cumsum() - n_pieces).repeat(n_pieces),
            "labels": clips["labels"].to_numpy().repeat(n_pieces),
        }
    )


def _new_values(partial: Path, shape: tuple[int, int]) -> _Values:
    """The file of all features, mapped, in space of its own.

    Without the space a full disk would end the process with a signal at some later row.
    """
    path = partial / _VALUES
    try:
        values = np.lib.format.open_memmap(path, "w+", np.float32, shape)
        if hasattr(os, "posix_fallocate"):  # macOS lacks it
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:  # which does not name the file
        path.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    return values


def _save(partial: Path, values: _Values, done: int) -> None:
    values.flush()
    write_text(partial / _DONE, str(done))


def _resumed(partial: Path, n_rows: int) -> tuple[_Values | None, int]:
    """The features of an interrupted call and the number of rows done, or None and 0."""
    try:
        done = int((partial / _DONE).read_text())
        values = np.lib.format.open_memmap(partial / _VALUES, "r+")
    except (OSError, ValueError):
        return None, 0
    return (values, done) if len(values) == n_rows >= done else (None, 0)


class _CutClips(Dataset[Tensor]):
    """The pieces (P, T) int16 of each clip of a split, in the order they are embedded."""

    def __init__(self, clips: ClipDataset, order: NDArray[np.int64], samples: int | None) -> None:
        self._clips, self._order, self._samples = clips, order, samples

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, i: int) -> Tensor:
        wave = self._clips[int(self._order[i])]
        return torch.from_numpy(cut(wave, self._samples or max(len(wave), LEAST_SAMPLES)))


def _blocks(
    clips: _CutClips, first_clip: int, skip: int, batch: int, device: torch.device
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


def _load(folder: Path) -> Features:
    try:
        # Copy-on-write: torch takes no read-only array, and the file stays as it is.
        values = torch.from_numpy(np.load(folder / _VALUES, mmap_mode="c"))
        pieces = pd.read_parquet(folder / _PIECES)
        if len(values) != len(pieces):
            raise ValueError(f"{len(values)} features for {len(pieces)} pieces")
    except (ValueError, OSError) as error:
        raise ValueError(f"{folder}: damaged features ({error}); delete the folder") from error
    return Features(values, pieces)
