"""Waveforms to the three-channel time-frequency images of MT-SLVR (arXiv 2305.17191).

Letters: B clips, T samples, L frames, N samples a frame, F = N/2 + 1 bins, M mel bands.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from slvr.pipeline.blocks import block_rows, in_blocks
from slvr.pipeline.torchaudio_import import functional as taf

# Added before every logarithm: float64's epsilon, so that silence is -156.5356 dB.
LOG_FLOOR = 2.220446049250313e-16
# A triangle covers a few bins: multiplied by slices, five sixths of the bank's zeros are left out.
N_SLICES = 8


class FrontEnd(nn.Module):
    """(B, T) waveforms at 16 kHz -> (B, 3, M, L) float32, L = T // hop + 1.

    Channels:
        0. log-mel power ``10 log10(mel |X_hann|^2 + eps)``, in dB;
        1. log magnitude ``10 log10(|Z| + eps)`` of ``Z = mel X_rect``, real and imaginary part
           projected apart: ten times, not twenty times, the logarithm;
        2. the phase of ``Z`` in radians, not unwrapped.

    ``X_hann`` and ``X_rect`` are short-time spectra of the same centred, reflected frames through
    a periodic Hann and a rectangular window; ``mel`` is a bank of HTK triangles of unit height
    from 0 Hz to half the sample rate. Nothing is normalised. One FFT serves both windows: Hann's
    is ``X_hann(f) = X_rect(f) / 2 - (X_rect(f - 1) + X_rect(f + 1)) / 4``. All is float32 under
    autocast too: log of power spans more decades than half precision has.

    Raises:
        ValueError: A clip too short to be reflected by half a frame.
    """

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
        bank = taf.melscale_fbanks(
            frame_samples // 2 + 1, 0.0, sample_rate_hz / 2, n_mels, sample_rate_hz
        )
        self.register_buffer("mel_bank", bank, False)
        # The first triangle begins after 0 Hz and the last ends before half the sample rate.
        self.bands = _bands(bank[1:-1], N_SLICES)

    def forward(self, waves: Tensor) -> Tensor:
        """(B, T) float -> (B, 3, M, L) float32, contiguous."""
        half = self.frame_samples // 2
        if waves.shape[-1] <= half:
            raise ValueError(
                f"front end: clips of {waves.shape[-1]} samples; expected more than {half}, half "
                "a frame: pad or repeat shorter clips"
            )
        with torch.autocast(waves.device.type, enabled=False):
            if torch.compiler.is_compiling():
                return self._images(waves)
            return in_blocks(self._images, block_rows(waves), waves)

    def _images(self, waves: Tensor) -> Tensor:
        half = self.frame_samples // 2
        padded = pad(waves.float()[:, None], (half, half), mode="reflect")[:, 0]
        spectra = torch.fft.rfft(padded.unfold(-1, self.frame_samples, self.hop_samples))
        before, rectangular, after = spectra[..., :-2], spectra[..., 1:-1], spectra[..., 2:]
        hann = (before + after).sub_(rectangular, alpha=2)  # times -4
        power = (hann.real.square() + hann.imag.square()) / 16
        parts = torch.stack((power, rectangular.real, rectangular.imag), dim=1)  # (B, 3, L, F - 2)
        projected = [
            parts[..., bins] @ self.mel_bank[1:-1][bins, bands] for bins, bands in self.bands
        ]
        power, real, imaginary = torch.cat(projected, -1).unbind(1)  # (B, L, M) each
        magnitude = torch.sqrt(real.square() + imaginary.square())
        image = (_decibel(power), _decibel(magnitude), torch.atan2(imaginary, real))
        return torch.stack([channel.mT for channel in image], dim=1)


def _decibel(x: Tensor) -> Tensor:
    return (x + LOG_FLOOR).log10_().mul_(10)


def _bands(bank: Tensor, n: int) -> list[tuple[slice, slice]]:
    """Slices of bands, and for each the bins outside of which their weights are all 0."""
    edges = torch.linspace(0, bank.shape[1], min(n, bank.shape[1]) + 1).long().tolist()
    slices = []
    for low, high in pairwise(edges):
        used = bank[:, low:high].any(1).nonzero()[:, 0].tolist()
        slices.append((slice(used[0], used[-1] + 1), slice(low, high)))
    return slices
