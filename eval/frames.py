"""Features of a set over time, computed once: one row a frame, each with its stamp.

By default every frame is the embedding of a window of the clip, and windows move by the hop that
was asked for; or the frames are the network's own, of the whole clip in one pass.

Letters: T samples, L frames, D embedding.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from slvr.command.progress import track
from slvr.eval.embed import (
    DONE,
    PIECES,
    VALUES,
    Embedder,
    Features,
    FrameEmbedder,
    features_key,
    held,
    load_features,
)
from slvr.eval.pieces import LEAST_SAMPLES, pieces_a_batch
from slvr.eval.sets import EvaluatedSet
from slvr.shards.clip import SAMPLE_RATE_HZ

Stamps = Literal["centred", "ends"]
"""Where frames of the network are stamped: in their middle; or evenly from the clip's first to its
last moment, both included, as the public code of ICASSP 2022 does."""

_MS = SAMPLE_RATE_HZ / 1000


@dataclass(frozen=True)
class Framing:
    """How a clip becomes frames.

    Attributes:
        hop_ms: from one window to the next; None: the network's own frames.
        window_ms: length of a window, with silence beyond the ends of the clip.
        stamps: of the network's own frames; a window is always stamped in its middle.
    """

    hop_ms: float | None = 50.0
    window_ms: float = 960.0
    stamps: Stamps = "centred"

    def __str__(self) -> str:
        if self.hop_ms is None:
            return f"the network's own frames, stamps {self.stamps}"
        return f"windows of {self.window_ms:g} ms each {self.hop_ms:g} ms, stamped in the middle"


@runtime_checkable
class StampedEmbedder(Embedder, Protocol):
    """A model that says itself when its frames are, such as one of the HEAR interface."""

    def embed_stamped(self, wave: Tensor) -> tuple[Tensor, NDArray[np.float64]]:
        """Features (L, D) of the frames of a waveform (T,), and their stamps (L,) in ms."""
        ...


def embed_frames(
    model: Embedder,
    data: EvaluatedSet,
    how: Framing,
    cache: Path,
    batch: int,
    device: torch.device,
) -> Features:
    """The features of all frames of a set, from the cache where they are there.

    Interrupted work goes on at the clip after the last one that was kept.

    Args:
        model: what embeds.
        data: the split and its clips, which stay whole.
        how: where frames are.
        cache: as of `slvr.eval.embed.embed`.
        batch: pieces of 5 s that are embedded at once; of windows as many as have these samples.
        device: where the model is.

    Raises:
        ValueError: no clips, a model without frames of its own, features that are not finite.
    """
    check_framing(model, how)
    key = features_key(model, data, "frames", repr(how))
    folder = cache / f"{data.name}-{data.split}-frames-{key}"
    partial = cache / f".partial-{folder.name}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with held(partial):
            if not folder.is_dir():  # else another process made it while this one waited
                _embed(model, data, how, partial, batch, device)
                partial.rename(folder)
    return load_features(folder)


def check_framing(model: Embedder, how: Framing) -> None:
    """Nothing, where the model can do that.

    Raises:
        ValueError: it has no frames of its own.
    """
    if how.hop_ms is None and not isinstance(model, FrameEmbedder | StampedEmbedder):
        raise ValueError(
            f"{model.name}: has no frames of its own for --hop network; give a number of "
            "milliseconds, such as --hop 50, or an encoder with frames, such as efficientnet-b0"
        )


def frames_of(
    model: Embedder, wave: Tensor, how: Framing, batch: int
) -> tuple[Tensor, NDArray[np.float64]]:
    """Features (L, D) of one clip (T,) and the stamps (L,) of its frames in ms."""
    if isinstance(model, StampedEmbedder):
        return model.embed_stamped(wave)
    if how.hop_ms is None:
        assert isinstance(model, FrameEmbedder)
        short = max(0, LEAST_SAMPLES - len(wave))
        frames = model.embed_frames(F.pad(wave, (0, short))[None])[0]
        stamps = 1000 * model.frame_s * (np.arange(len(frames)) + 0.5)
        if how.stamps == "ends":
            stamps = np.linspace(0.0, len(wave) / _MS, len(frames))
        return frames, np.asarray(stamps, dtype=np.float64)
    hop, window = round(how.hop_ms * _MS), round(how.window_ms * _MS)
    n = len(wave) // hop + 1
    padded = F.pad(wave, (window // 2, window - window // 2))
    windows = padded.unfold(0, window, hop)[:n]
    size = pieces_a_batch(batch, window)
    values = torch.cat([model.embed(part.contiguous()) for part in torch.split(windows, size)])
    return values, np.asarray(hop * np.arange(n) / _MS, dtype=np.float64)


def _embed(
    model: Embedder,
    data: EvaluatedSet,
    how: Framing,
    partial: Path,
    batch: int,
    device: torch.device,
) -> None:
    """Fills a folder with features, clip by clip, from where an earlier call left it."""
    dataset, keys = data.dataset(), list(data.clips()["key"])
    stamps, done_bytes = _resumed(partial)
    with (
        (partial / VALUES).open("r+b" if stamps else "w+b") as file,
        track(
            f"frames of {data.name} {data.split}, {model.name}", len(keys), "clips", len(stamps)
        ) as shown,
    ):
        file.truncate(done_bytes)
        for i in range(len(stamps), len(keys)):
            wave = torch.from_numpy(np.asarray(dataset[i])).to(device).float() / 32768
            with torch.inference_mode():
                values, times_ms = frames_of(model, wave, how, batch)
            rows = values.float().cpu().numpy()
            if not np.isfinite(rows).all():
                raise ValueError(
                    f"{model.name}: the features of clip {keys[i]} are not finite; choose another "
                    "checkpoint, its training may have diverged"
                )
            stamps.append(times_ms.tolist())
            _append(file, rows, sum(map(len, stamps)))
            _note(partial / DONE, file.tell(), stamps[-1])
            shown.advance(1)
    pd.DataFrame(_rows(keys, stamps), columns=["key", "piece", "time_ms"]).to_parquet(
        partial / PIECES
    )
    (partial / DONE).unlink()


def _rows(keys: list[str], stamps: list[list[float]]) -> Iterator[tuple[str, int, float]]:
    for key, of_clip in zip(keys, stamps, strict=True):
        for piece, time_ms in enumerate(of_clip):
            yield key, piece, time_ms


def _append(file: IO[bytes], rows: NDArray[np.float32], n: int) -> None:
    """Writes rows at the end of an array that then has n of them.

    Its header keeps its length while the array grows: numpy leaves room in it for that.
    """
    about: dict[str, Any] = {"descr": "<f4", "fortran_order": False, "shape": (n, rows.shape[1])}
    file.seek(0)
    np.lib.format.write_array_header_1_0(file, about)
    file.seek(0, 2)
    file.write(np.ascontiguousarray(rows, dtype="<f4").tobytes())
    file.flush()


def _note(path: Path, n_bytes: int, times_ms: list[float]) -> None:
    """Notes a clip that is in the array, after its rows are."""
    with path.open("a") as file:
        file.write(f"{n_bytes} {' '.join(map(repr, times_ms))}\n")


def _resumed(partial: Path) -> tuple[list[list[float]], int]:
    """Stamps of the clips that an interrupted call has done, and the bytes they take."""
    try:
        whole = (partial / DONE).read_text().rpartition("\n")[0]  # without a line cut short
        lines = [line.split() for line in whole.splitlines()]
        n_bytes = int(lines[-1][0])
        if (partial / VALUES).stat().st_size < n_bytes:
            return [], 0
        return [[float(time) for time in times] for _, *times in lines], n_bytes
    except (OSError, ValueError, IndexError):
        return [], 0
