"""Waveforms to the three-channel time-frequency images of MT-SLVR (arXiv 2305.17191).

Letters: B clips, T samples, L frames, N samples a frame, F = N/2 + 1 bins, M mel bands.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from pipeline.torchaudio_import import functional as taf

# Added before every logarithm: float64's epsilon, so that silence is -156.5356 dB.
LOG_FLOOR = 2.220446049250313e-16


class FrontEnd(nn.Module):
    """(B, T) waveforms at 16 kHz -> (B, 3, M, L) float32, L = T // hop + 1.

    Channels:
        0. log-mel power ``10 log10(mel |X_hann|^2 + eps)``, in dB;
        1. log magnitude ``10 log10(|Z| + eps)`` of ``Z = mel X_rect``, real and imaginary part
           projected apart: ten times, not twenty times, the logarithm;
        2. the phase of ``Z`` in radians, not unwrapped.

    ``X_hann`` and ``X_rect`` are short-time spectra of the same centred, reflected frames through
    a periodic Hann and a rectangular window; ``mel`` is a bank of HTK triangles of unit height
    from 0 Hz to half the sample rate. Nothing is normalised. Both windows go through one FFT and
    all three projections through one product, in float32 under autocast too: log of power spans
    more decades than half precision has.

    Raises:
        ValueError: A clip too short to be reflected by half a frame.
    """

    windows: Tensor
    mel_bank: Tensor

    def __init__(
        self,
        sample_rate_hz: int = 16_000,
        n_mels: int = 128,
        frame_samples: int = 1024,
        hop_samples: int = 512,
    ) -> None:
        super().__init__()
        self.frame_samples = frame_samples
        self.hop_samples = hop_samples
        hann = torch.hann_window(frame_samples)
        self.register_buffer("windows", torch.stack((hann, torch.ones_like(hann))), False)
        bank = taf.melscale_fbanks(
            frame_samples // 2 + 1, 0.0, sample_rate_hz / 2, n_mels, sample_rate_hz
        )
        self.register_buffer("mel_bank", bank, False)

    def forward(self, waves: Tensor) -> Tensor:
        """(B, T) float -> (B, 3, M, L) float32, contiguous."""
        half = self.frame_samples // 2
        if waves.shape[-1] <= half:
            raise ValueError(
                f"front end: clips of {waves.shape[-1]} samples; expected more than {half}, half "
                "a frame: pad or repeat shorter clips"
            )
        with torch.autocast(waves.device.type, enabled=False):
            padded = pad(waves.float()[:, None], (half, half), mode="reflect")[:, 0]
            frames = padded.unfold(-1, self.frame_samples, self.hop_samples)
            spectra = torch.view_as_real(torch.fft.rfft(frames[:, :, None] * self.windows))
            hann, rectangular = spectra.unbind(2)  # (B, L, F, 2) each
            parts = torch.stack((hann.square().sum(-1), *rectangular.unbind(-1)), dim=1)
            power, real, imaginary = (parts @ self.mel_bank).unbind(1)  # (B, L, M) each
            magnitude = torch.sqrt(real.square() + imaginary.square())
            image = (_decibel(power), _decibel(magnitude), torch.atan2(imaginary, real))
            return torch.stack([channel.mT for channel in image], dim=1)


def _decibel(x: Tensor) -> Tensor:
    return 10 * torch.log10(x + LOG_FLOOR)
