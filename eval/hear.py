"""The HEAR 2021 interface, so that other benchmark kits can run our models.

The three functions and the model's attributes are those of https://hearbenchmark.com/hear-api.html;
a kit is given the module `slvr.eval.hear` and, as the model's file, a run folder of `train` or a
checkpoint.

Letters: B clips, T samples, P pieces of a clip, W timestamps, D embedding.
"""

import numpy as np
import torch
from torch import Tensor, nn

from slvr.eval.embedders import EncoderEmbedder
from slvr.eval.loaded import open_trained
from slvr.eval.pieces import LEAST_SAMPLES, cut
from slvr.shards.clip import SAMPLE_RATE_HZ

_HOP_MS = 50
"""The greatest spacing of timestamps that HEAR advises."""
_WINDOW_SAMPLES = SAMPLE_RATE_HZ
_LONGEST_SAMPLES = 10 * SAMPLE_RATE_HZ
_BATCH = 64


class HearModel(nn.Module):
    """(B, T) waveforms in [-1, 1] at 16 kHz -> (B, D) float32, all tasks side by side.

    Attributes:
        sample_rate: in Hz, as HEAR calls it.
        scene_embedding_size: D.
        timestamp_embedding_size: D.
    """

    def __init__(self, embedder: EncoderEmbedder) -> None:
        super().__init__()
        self.sample_rate = SAMPLE_RATE_HZ
        self.scene_embedding_size = self.timestamp_embedding_size = embedder.dim
        self._embedder = embedder

    def forward(self, waves: Tensor) -> Tensor:
        """The features, in batches of bounded size."""
        return torch.cat(
            [self._embedder.embed(part) for part in torch.split(waves.float(), _BATCH)]
        )


def load_model(model_file_path: str) -> HearModel:
    """The model of a run folder of `train` or a checkpoint file, in eval mode.

    Raises:
        ValueError: no checkpoint there.
    """
    trained = open_trained(model_file_path)
    parts = (trained.encoder, trained.front_end, trained.normalisation)
    return HearModel(EncoderEmbedder(model_file_path, *parts, torch.device("cpu"))).eval()


@torch.no_grad()
def get_scene_embeddings(audio: Tensor, model: HearModel) -> Tensor:
    """One embedding a clip, (B, D) float32: the mean over pieces of at most 10 s, spread evenly.

    Args:
        audio: (B, T) in [-1, 1] at the model's sample rate, on the model's device.
        model: of `load_model`.
    """
    n_clips, n_samples = audio.shape
    samples = min(max(n_samples, LEAST_SAMPLES), _LONGEST_SAMPLES)
    positions = torch.from_numpy(cut(np.arange(n_samples), samples)).to(audio.device)
    pieces = audio[:, positions].flatten(0, 1)
    embedding: Tensor = model(pieces).unflatten(0, (n_clips, -1)).mean(1)
    return embedding


@torch.no_grad()
def get_timestamp_embeddings(audio: Tensor, model: HearModel) -> tuple[Tensor, Tensor]:
    """Embeddings (B, W, D) float32 and their timestamps (B, W) in milliseconds.

    Each is of the second around its timestamp; timestamps are 0, 50, 100, ... up to the end of the
    audio, beyond which there is silence.

    Args:
        audio: (B, T) in [-1, 1] at the model's sample rate, on the model's device.
        model: of `load_model`.
    """
    n_clips, n_samples = audio.shape
    hop_samples = _HOP_MS * SAMPLE_RATE_HZ // 1000
    n_stamps = n_samples // hop_samples + 1
    half = _WINDOW_SAMPLES // 2
    windows = nn.functional.pad(audio, (half, half)).unfold(1, _WINDOW_SAMPLES, hop_samples)
    embeddings = model(windows.flatten(0, 1)).unflatten(0, (n_clips, n_stamps))
    stamps_ms = _HOP_MS * torch.arange(n_stamps, device=audio.device, dtype=torch.float32)
    return embeddings, stamps_ms.expand(n_clips, -1)
