"""Features of a set, computed once: every piece of every clip through a frozen model.

Letters: B pieces of a batch, P pieces of the set, T samples of a piece, L' frames of embeddings,
D embedding.
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
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from slvr.command.progress import track
from slvr.eval.pieces import CutClips, blocks
from slvr.eval.sets import EvaluatedSet
from slvr.shards.files import write_text
from slvr.shards.read import ClipDataset

_Values = np.memmap[Any, np.dtype[np.float32]]

VALUES = "features.npy"
PIECES = "pieces.parquet"
DONE = "rows-done.txt"
_VERSION = 2
"""Part of the key: raise it when the same model and shards come to give other features."""
SAVE_EVERY_S = 5.0


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


@runtime_checkable
class FrameEmbedder(Embedder, Protocol):
    """A frozen model that also says what is heard when."""

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next; the first begins where the waveform does."""
        ...

    def embed_frames(self, waves: Tensor) -> Tensor:
        """Features (B, L', D) of the frames of waveforms (B, T) float32 at 16 kHz."""
        ...


@dataclass(frozen=True)
class Features:
    """Features of the P pieces of a set."""

    values: Tensor
    """(P, D) float32 on a memory-mapped file; the pieces of a clip follow one another."""
    pieces: pd.DataFrame
    """One row a piece: key of the clip, number of the piece, labels of the clip; of frames, which
    are pieces too, also the stamp, `time_ms`."""

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
    model: Embedder, data: EvaluatedSet, cache: Path, batch: int, device: torch.device
) -> Features:
    """The features of all pieces of a set, from the cache where they are there.

    Progress is shown. Interrupted work is kept: the next call for the same features goes on at the
    batch after it.

    Args:
        model: what embeds; both of an encoder's heads, where it has two.
        data: the split, its clips and the length of the pieces.
        cache: folder of computed features; a finished folder appears there whole or not at all.
        batch: pieces of 5 s that are embedded at once, of as many clips as it takes (B).
        device: where the model is.

    Raises:
        ValueError: no clips, unreadable cache, features that are not finite.
    """
    folder = cache / f"{data.name}-{data.split}-{features_key(model, data)}"
    partial = cache / f".partial-{folder.name}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with held(partial):
            if not folder.is_dir():  # else another process made it while this one waited
                _embed(model, data, partial, batch, device)
                (partial / DONE).unlink()
                partial.rename(folder)
            else:
                shutil.rmtree(partial, ignore_errors=True)
    return load_features(folder)


def features_key(model: Embedder, data: EvaluatedSet, *more: str | float) -> str:
    """16 hex digits of all that the features depend on; `more` than what all features do."""
    of_clips: list[Any] = [data.directory.fingerprint, data.split]
    of_clips += [data.piece_s, data.cutting, data.short]
    if data.is_part:
        of_clips.append(sorted(data.clips()["key"]))
    key = [_VERSION, model.fingerprint, *of_clips, *more]
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]


@contextmanager
def held(partial: Path) -> Iterator[None]:
    """Within it no other process works in this folder; the lock ends with the process."""
    partial.mkdir(exist_ok=True)
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _embed(
    model: Embedder, data: EvaluatedSet, partial: Path, batch: int, device: torch.device
) -> None:
    """Fills a folder with features, from where an earlier call left it."""
    clips = data.clips()
    samples, n_pieces = data.samples, data.n_pieces()
    pieces = _pieces_of(clips, n_pieces)
    pieces.to_parquet(partial / PIECES)
    # Whole clips go by length, so that clips of one length share a batch.
    by_length = clips["n_samples"].to_numpy().argsort(kind="stable")
    order = by_length if samples is None else np.arange(len(clips))
    rows = by_length if samples is None else np.arange(len(pieces))

    values, done = _resumed(partial, len(pieces))
    starts = pieces["piece"].to_numpy()[rows] == 0
    first_clip = int(n_pieces[order].cumsum().searchsorted(done, side="right"))
    skip = done - int(n_pieces[order][:first_clip].sum())
    dataset = ClipDataset(data.directory.path, clips)
    source = CutClips(dataset, order, samples, data.cutting, data.short)
    label = f"embed {data.name} {data.split}, {model.name}"
    saved_s = time.monotonic()
    with track(label, len(clips), "clips", int(starts[:done].sum())) as shown:
        try:
            for block in blocks(source, first_clip, skip, batch, device):
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
                if time.monotonic() - saved_s > SAVE_EVERY_S:
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
    path = partial / VALUES
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
    write_text(partial / DONE, str(done))


def _resumed(partial: Path, n_rows: int) -> tuple[_Values | None, int]:
    """The features of an interrupted call and the number of rows done, or None and 0."""
    try:
        done = int((partial / DONE).read_text())
        values = np.lib.format.open_memmap(partial / VALUES, "r+")
    except (OSError, ValueError):
        return None, 0
    return (values, done) if len(values) == n_rows >= done else (None, 0)


def load_features(folder: Path) -> Features:
    """The features of a finished folder.

    Raises:
        ValueError: it is damaged.
    """
    try:
        # Copy-on-write: torch takes no read-only array, and the file stays as it is.
        values = torch.from_numpy(np.load(folder / VALUES, mmap_mode="c"))
        pieces = pd.read_parquet(folder / PIECES)
        if len(values) != len(pieces):
            raise ValueError(f"{len(values)} features for {len(pieces)} pieces")
    except (ValueError, OSError) as error:
        raise ValueError(f"{folder}: damaged features ({error}); delete the folder") from error
    return Features(values, pieces)
