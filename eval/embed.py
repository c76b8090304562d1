"""Features of a set, computed once: every piece of every clip through a frozen model.

Letters: B pieces of a batch, P pieces of the set, T samples of a piece, D embedding.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from shards.clip import SAMPLE_RATE_HZ
from shards.read import ClipDataset, ShardDirectory

_VALUES = "features.npy"
_PIECES = "pieces.parquet"
_VERSION = 1
"""Part of the key: raise it when the same model and shards come to give other features."""


class Embedder(Protocol):
    """A frozen model that is evaluated."""

    name: str
    """Name in the tables."""
    fingerprint: str
    """Equal for models that give equal features, and for them alone."""

    def embed(self, waves: Tensor) -> Tensor:
        """Return features (B, D) of waveforms (B, T) float32 in [-1, 1] at 16 kHz."""
        ...


@dataclass(frozen=True)
class Features:
    """Features of the P pieces of a set."""

    values: Tensor
    """(P, D) float32 on a memory-mapped file; the pieces of a clip follow one another."""
    pieces: pd.DataFrame
    """One row a piece: key of the clip, number of the piece, label of the clip."""

    @property
    def first_piece(self) -> NDArray[np.int64]:
        """Row of the first piece of each clip."""
        return np.flatnonzero(self.pieces["piece"].to_numpy() == 0)

    @property
    def n_pieces(self) -> NDArray[np.int64]:
        """Number of pieces of each clip."""
        return np.diff(self.first_piece, append=len(self.pieces))


def clip_labels(directory: ShardDirectory, split: str) -> list[str]:
    """Return the one label of each clip of a split, in the order of its dataset.

    Raises:
        ValueError: no clips, or a clip with no label or with several.
    """
    clips = directory.clips(split)
    where = f"{directory.path}, split {split!r}"
    if clips.empty:
        raise ValueError(f"{where}: no clips; see `ingest status {directory.path}`")
    n_labels = clips["labels"].map(len)
    if (n_labels == 0).any():
        raise ValueError(
            f"{where}: {(n_labels == 0).sum()} of {len(clips)} clips have no label, and few-shot "
            f"tasks need one each; choose another of the splits {', '.join(directory.splits)} with "
            "--split, or ingest the set with labels"
        )
    if (n_labels > 1).any():
        raise ValueError(
            f"{where}: {(n_labels > 1).sum()} of {len(clips)} clips have several labels, and "
            "few-shot tasks need clips of one class; choose a single-label set"
        )
    return [labels[0] for labels in clips["labels"]]


def embed(
    model: Embedder,
    directory: ShardDirectory,
    split: str,
    piece_s: float,
    cache: Path,
    batch: int,
    device: torch.device,
    progress: Callable[[int], None] = lambda n_clips: None,
) -> Features:
    """Return the features of all pieces of a split, from the cache where they are there.

    Args:
        model: what embeds; both of an encoder's heads, where it has two.
        directory: the shards.
        split: one of its splits, of clips with one label each.
        piece_s: length of a piece in seconds.
        cache: folder of computed features; this call adds at most one folder, whole or not at all.
        batch: pieces that are embedded at once, of as many clips as it takes (B).
        device: where the model is.
        progress: told the number of clips finished, in steps that sum to all of them.

    Raises:
        ValueError: clips without exactly one label, unreadable cache, features that are not finite.
    """
    key = [_VERSION, model.fingerprint, directory.fingerprint, split, piece_s]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    folder = cache / f"{directory.name}-{split}-{digest}"
    if folder.is_dir():
        features = _load(folder)
        progress(len(features.first_piece))
        return features

    samples = round(piece_s * SAMPLE_RATE_HZ)
    clips = directory.clips(split)
    n_pieces = -(-clips["n_samples"].to_numpy() // samples)
    pieces = pd.DataFrame(
        {
            "key": clips["key"].to_numpy().repeat(n_pieces),
            "piece": np.concatenate([np.arange(n) for n in n_pieces]),
            "label": np.asarray(clip_labels(directory, split), dtype=object).repeat(n_pieces),
        }
    )
    cache.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=cache))
    try:
        pieces.to_parquet(partial / _PIECES)
        blocks = _batches(_CutClips(directory.dataset(split), samples), batch, device)
        _write_values(partial / _VALUES, model, blocks, pieces, device, progress)
        if not folder.is_dir():  # else another process was faster, with the same features
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return _load(folder)


def cut(wave: NDArray[np.int16], samples: int) -> NDArray[np.int16]:
    """Return all pieces (P, samples) of a waveform (T,); the last one repeats what is left."""
    n_whole = len(wave) // samples
    whole, rest = wave[: n_whole * samples], wave[n_whole * samples :]
    filled = np.resize(rest, samples) if len(rest) else rest
    return np.concatenate([whole, filled]).reshape(-1, samples)


class _CutClips(Dataset[Tensor]):
    """The pieces (P, T) int16 of each clip of a split."""

    def __init__(self, clips: ClipDataset, samples: int) -> None:
        self._clips, self._samples = clips, samples

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, i: int) -> Tensor:
        return torch.from_numpy(cut(self._clips[i], self._samples))


def _batches(clips: _CutClips, batch: int, device: torch.device) -> Iterator[Tensor]:
    """Yield the pieces of all clips in order, (B, T) int16; only the last batch may be smaller."""
    # A GPU outruns the decoding of one process; on a CPU, workers would take the network's cores.
    n_workers = 4 if device.type == "cuda" else 0
    context = "forkserver" if n_workers else None  # a fork would inherit the locks of threads
    loader = DataLoader(
        clips, batch_size=None, num_workers=n_workers, multiprocessing_context=context
    )
    waiting: list[Tensor] = []
    for pieces in loader:
        waiting.extend(pieces)
        while len(waiting) >= batch:
            yield torch.stack(waiting[:batch])
            del waiting[:batch]
    if waiting:
        yield torch.stack(waiting)


def _write_values(
    path: Path,
    model: Embedder,
    blocks: Iterator[Tensor],
    pieces: pd.DataFrame,
    device: torch.device,
    progress: Callable[[int], None],
) -> None:
    values: np.memmap[Any, np.dtype[np.float32]] | None = None
    row = 0
    for block in blocks:
        with torch.inference_mode():
            out = model.embed(block.to(device).float() / 32768).float().cpu().numpy()
        rows = pieces.iloc[row : row + len(out)]
        finite = np.isfinite(out).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"{model.name}: the features of clip {rows['key'].iloc[int(finite.argmin())]} are "
                "not finite; choose another checkpoint, its training may have diverged"
            )
        if values is None:
            shape = (len(pieces), out.shape[1])
            values = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        values[row : row + len(out)] = out
        row += len(out)
        progress(int((rows["piece"] == 0).sum()))
    assert values is not None and row == len(pieces)
    values.flush()


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
