"""A trained model from its file: encoder, front end and normalisation, made into what embeds.

Letters: B clips, T samples, L frames, D embedding.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import soxr
import torch
from torch import Tensor

from slvr.command.named import stored
from slvr.eval.embedders import EncoderEmbedder, FramesEmbedder, encoder_embedder
from slvr.model import checkpoint
from slvr.model.encoders.contract import Encoder
from slvr.model.encoders.registry import ENCODERS
from slvr.pipeline.frontends.contract import FrontEnd
from slvr.pipeline.frontends.registry import FRONT_ENDS
from slvr.pipeline.normalise import Normalisation
from slvr.shards.clip import SAMPLE_RATE_HZ


@dataclass(frozen=True)
class TrainedModel:
    """What a file says of a model, made; on the CPU.

    Attributes:
        encoder: in eval mode.
        front_end: that it was trained with.
        normalisation: of the waveforms.
        config: the settings that it was trained with.
    """

    encoder: Encoder
    front_end: FrontEnd
    normalisation: Normalisation
    config: dict[str, Any]


def open_trained(
    path: str | Path, variant: str | None = None, allow: Collection[str] = ()
) -> TrainedModel:
    """The model of a run, a checkpoint or a published file.

    Args:
        path: the output folder of `train`, a checkpoint, a published MT-SLVR model (.pt), or one
            of the PANNs (.pth).
        variant: of a published model whose file name does not say it.
        allow: classes of the user's own that a checkpoint may name, as the user typed them. A name
            that is neither in a registry nor here is not run.

    Raises:
        ValueError: no checkpoint there, a damaged one, or one that names what is not allowed.
    """

    def find(name: str, where: str) -> type[Encoder]:
        return cast(type[Encoder], stored(name, ENCODERS, allow, where))

    found = checkpoint.load_model(path, find, variant)
    name, shape = found.front_end
    made = stored(name, FRONT_ENDS, allow, str(found.path))
    try:
        front_end: FrontEnd = made(**shape)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{found.path}: its front end {name} cannot be made with {shape}: {error}; use an "
            "earlier checkpoint, or the class that it was trained with"
        ) from error
    normalisation = cast(Normalisation, found.normalisation)
    return TrainedModel(found.encoder, front_end, normalisation, found.config)


class Embeddings(NamedTuple):
    """What a model makes of waveforms."""

    clips: Tensor
    """(B, D), or (D,) of a single waveform."""
    frames: Tensor | None
    """(B, L, D), or (L, D); None of an encoder without frames."""


class Model:
    """A trained model to embed with.

    Attributes:
        dim: D, of all tasks side by side.
        heads: the part of each task in D.
        frame_s: seconds from one frame embedding to the next; None without frames.
    """

    def __init__(self, embedder: EncoderEmbedder, device: torch.device) -> None:
        self._embedder, self._device = embedder, device
        self.dim, self.heads = embedder.dim, embedder.heads
        self.frame_s = embedder.frame_s if isinstance(embedder, FramesEmbedder) else None

    @torch.inference_mode()
    def embed(self, waveform: Tensor | npt.ArrayLike, sample_rate: int) -> Embeddings:
        """Embeddings of waveforms as they are, each as one piece, on the CPU.

        Args:
            waveform: (T,) or (B, T) in [-1, 1].
            sample_rate: in Hz; resampled to 16 kHz.

        Raises:
            ValueError: integers, NaN, another number of dimensions, or too short for a frame of
                the front end.
        """
        given = np.asarray(waveform)
        if given.ndim not in (1, 2) or not np.issubdtype(given.dtype, np.floating):
            raise ValueError(
                f"waveform: expected (T,) or (B, T) of floats in [-1, 1], got {given.dtype} "
                f"{given.shape}; divide int16 samples by 32768"
            )
        waves = given.astype(np.float32)
        if not np.isfinite(waves).all():
            raise ValueError("waveform: holds NaN or infinity")
        batch = np.atleast_2d(waves)
        if sample_rate != SAMPLE_RATE_HZ:
            batch = soxr.resample(batch.T, sample_rate, SAMPLE_RATE_HZ, quality="HQ").T
        on_device = torch.from_numpy(np.ascontiguousarray(batch)).to(self._device)
        clips = self._embedder.embed(on_device).cpu()
        frames = None
        if isinstance(self._embedder, FramesEmbedder):
            frames = self._embedder.embed_frames(on_device).cpu()
        if waves.ndim == 1:
            return Embeddings(clips[0], None if frames is None else frames[0])
        return Embeddings(clips, frames)


def load_model(
    path: str | Path, device: str | torch.device = "cpu", *, allow: Collection[str] = ()
) -> Model:
    """The model of a run of `train`, a checkpoint, or a published MT-SLVR or PANNs file.

    Args:
        path: as `open_trained`.
        device: where it embeds.
        allow: as `open_trained`.

    Raises:
        ValueError: as `open_trained`.
    """
    trained = open_trained(path, allow=allow)
    device = torch.device(device)
    parts = (trained.encoder, trained.front_end, trained.normalisation)
    return Model(encoder_embedder(str(path), *parts, device), device)
