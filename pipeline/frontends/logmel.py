"""Waveforms to log-mel spectra, the commonest input of audio networks."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from slvr.pipeline.frontends.mel import MelFrontEnd, decibel, hann_power


class LogMel(MelFrontEnd):
    """(B, T) waveforms at 16 kHz -> (B, 1, M, L) float32, L = T // hop + 1.

    The channel is `10 log10(mel |X_hann|^2 + eps)`, in dB; nothing is normalised. With the same
    bands and frames it is channel 0 of `MTSLVR`.
    """

    NAME: ClassVar[str] = "logmel"
    has_kernels = True
    channels = 1

    @dataclass(frozen=True)
    class Config:
        """Power of mel bands in dB: one channel."""

        n_mels: int = 64
        """Mel bands from 0 Hz to 8 kHz, 1 or more."""
        frame_samples: int = 400
        """Samples of a frame at 16 kHz, even."""
        hop_samples: int = 160
        """Samples from one frame to the next, 1 or more."""

    def __init__(self, n_mels: int = 64, frame_samples: int = 400, hop_samples: int = 160) -> None:
        super().__init__(n_mels, frame_samples, hop_samples)

    def images(self, spectra: Tensor) -> Tensor:
        """(B, L, F, 2) spectra through a rectangular window, by parts -> (B, 1, M, L)."""
        return decibel(self.project(hann_power(spectra))).mT[:, None].contiguous()
