"""Waveforms to the three-channel time-frequency images of MT-SLVR (arXiv 2305.17191).

Letters: B clips, T samples, L frames, F bins, M mel bands.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from slvr.pipeline.frontends.mel import MelFrontEnd, decibel, hann_power


class MTSLVR(MelFrontEnd):
    """(B, T) waveforms at 16 kHz -> (B, 3, M, L) float32, L = T // hop + 1.

    Channels:
        0. log-mel power `10 log10(mel |X_hann|^2 + eps)`, in dB;
        1. log magnitude `10 log10(|Z| + eps)` of `Z = mel X_rect`, real and imaginary part
           projected apart: ten times, not twenty times, the logarithm;
        2. the phase of `Z` in radians, not unwrapped.

    `X_hann` and `X_rect` are short-time spectra of the same centred, reflected frames through a
    periodic Hann and a rectangular window. Nothing is normalised.
    """

    NAME: ClassVar[str] = "mtslvr"
    has_kernels = True
    channels = 3

    @dataclass(frozen=True)
    class Config:
        """Log-mel power, log magnitude and phase of mel bands: three channels."""

        n_mels: int = 128
        """Mel bands from 0 Hz to 8 kHz, 1 or more."""
        frame_samples: int = 1024
        """Samples of a frame at 16 kHz, even."""
        hop_samples: int = 512
        """Samples from one frame to the next, 1 or more."""

    def __init__(
        self, n_mels: int = 128, frame_samples: int = 1024, hop_samples: int = 512
    ) -> None:
        super().__init__(n_mels, frame_samples, hop_samples)

    def images(self, spectra: Tensor) -> Tensor:
        """(B, L, F, 2) spectra through a rectangular window, by parts -> (B, 3, M, L)."""
        real, imaginary = spectra[..., 1:-1, :].unbind(-1)
        parts = (hann_power(spectra), real, imaginary)
        power, real, imaginary = self.project(torch.stack(parts, dim=1)).unbind(1)  # (B, L, M)
        magnitude = torch.sqrt(real.square() + imaginary.square())
        image = (decibel(power), decibel(magnitude), torch.atan2(imaginary, real))
        return torch.stack([channel.mT for channel in image], dim=1)
