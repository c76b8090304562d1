"""What can be evaluated: a trained encoder, and the two baselines that need no training.

Letters: B pieces, T samples, F mel bins, L frames, D embedding.
"""

import hashlib

import torch
from torch import Tensor, nn

from model.encoder import Encoder
from pipeline.frontend import FrontEnd
from pipeline.normalise import Normalisation, normalise


class EncoderEmbedder:
    """Waveform normalisation, front end and encoder; features of both heads, contrastive first."""

    def __init__(
        self, name: str, encoder: Encoder, normalisation: Normalisation, device: torch.device
    ) -> None:
        self.name = name
        self.fingerprint = _fingerprint(encoder, normalisation)
        self._encoder = encoder.to(device).eval()
        self._front_end = FrontEnd().to(device).eval()
        self._normalisation = normalisation

    def embed(self, waves: Tensor) -> Tensor:
        """Return features (B, D) of waveforms (B, T) float32 in [-1, 1] at 16 kHz."""
        features: Tensor = self._encoder(
            self._front_end(normalise(waves, self._normalisation)), "all"
        )
        return features


def untrained(encoder: Encoder, seed: int) -> Encoder:
    """Return a freshly initialised encoder of the same shape; the same seed gives the same one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        width, in_channels = encoder.conv1.weight.shape[:2]
        return Encoder(encoder.variant, encoder.dim, width, in_channels)


class MeanLogMel:
    """The mean over time of the log-mel spectrum: (B, F) features that need no learning."""

    name = "mean log-mel"
    fingerprint = "mean log-mel"

    def __init__(self, device: torch.device) -> None:
        self._front_end = FrontEnd().to(device).eval()

    def embed(self, waves: Tensor) -> Tensor:
        """Return features (B, F) in dB of waveforms (B, T) float32 in [-1, 1] at 16 kHz."""
        image: Tensor = self._front_end(waves)  # (B, 3, F, L); channel 0 is log-mel power
        return image[:, 0].mean(dim=-1)


def _fingerprint(encoder: nn.Module, normalisation: str) -> str:
    """Return the SHA-256 of all that the features depend on: weights, shape, normalisation."""
    digest = hashlib.sha256(f"{encoder} {normalisation}".encode())
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
