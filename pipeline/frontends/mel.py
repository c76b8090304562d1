"""What front ends of mel bands share: one FFT of centred frames, and the bank of bands.

Letters: B clips, C channels, T samples, L frames, N samples a frame, F = N/2 + 1 bins, M mel bands.
"""

from abc import abstractmethod
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from slvr.pipeline.blocks import block_rows, in_blocks
from slvr.pipeline.frontends.bank import LOG_FLOOR, Bands, sliced, sparse
from slvr.pipeline.frontends.contract import FrontEnd
from slvr.pipeline.fused import can_run_on
from slvr.pipeline.torchaudio_import import functional as taf
from slvr.shards.clip import SAMPLE_RATE_HZ

MOST_FRAME_SAMPLES = 10 * SAMPLE_RATE_HZ


class MelFrontEnd(FrontEnd):
    """(B, T) waveforms at 16 kHz -> (B, C, M, L) float32, L = T // hop + 1.

    The bank holds HTK triangles of unit height from 0 Hz to half the sample rate. A clip is
    reflected by half a frame at both ends. All is float32 under autocast too: log of power spans
    more decades than half precision has.
    """

    has_kernels: ClassVar[bool] = False
    """Whether `slvr.pipeline.fused.front_end` makes what the `images` of just this class make."""
    fused = True
    """By these kernels, where they can be launched."""
    mel_bank: Tensor

    def __init__(self, n_mels: int, frame_samples: int, hop_samples: int) -> None:
        """Makes the bank.

        Args:
            n_mels: M.
            frame_samples: N, even.
            hop_samples: from one frame to the next.

        Raises:
            ValueError: lengths that cannot be, or more bands than the frame can tell apart.
        """
        super().__init__()
        if n_mels < 1 or hop_samples < 1 or frame_samples < 4 or frame_samples % 2:
            raise ValueError(
                "front end: expected n_mels and hop_samples of 1 or more and an even frame_samples "
                f"of 4 or more, got {n_mels}, {hop_samples} and {frame_samples}"
            )
        if frame_samples > MOST_FRAME_SAMPLES or n_mels > frame_samples:
            # before the bank is made: a number in a file must not cost gigabytes
            raise ValueError(
                f"front end: expected frame_samples of at most {MOST_FRAME_SAMPLES} (10 s) and no "
                f"more n_mels than these, got {frame_samples} and {n_mels}"
            )
        self.n_mels = n_mels
        self.frame_samples = frame_samples
        self.hop_samples = hop_samples
        self.hop_s = hop_samples / SAMPLE_RATE_HZ
        bank = taf.melscale_fbanks(
            frame_samples // 2 + 1, 0.0, SAMPLE_RATE_HZ / 2, n_mels, SAMPLE_RATE_HZ
        )
        self.register_buffer("mel_bank", bank, False)
        # The first triangle begins after 0 Hz and the last ends before half the sample rate.
        inner = bank[1:-1]
        if not inner.any(0).all():
            raise ValueError(
                f"front end: n_mels {n_mels} are too many for frames of {frame_samples} samples, "
                "some would hold no frequency; give fewer n_mels or more frame_samples"
            )
        self.bands = sliced(inner)
        for name, table in sparse(bank)._asdict().items():
            self.register_buffer(f"bands_{name}", table, False)

    @classmethod
    def build(cls, config: Any) -> Self:
        """The front end of a configuration."""
        return cls(config.n_mels, config.frame_samples, config.hop_samples)

    def shape(self) -> dict[str, Any]:
        """What `type(self)(**shape)` makes the same of."""
        return {
            "n_mels": self.n_mels,
            "frame_samples": self.frame_samples,
            "hop_samples": self.hop_samples,
        }

    def forward(self, waves: Tensor) -> Tensor:
        """(B, T) float -> (B, C, M, L) float32, contiguous.

        Raises:
            ValueError: a clip too short to be reflected by half a frame.
        """
        half = self.frame_samples // 2
        if waves.shape[-1] <= half:
            raise ValueError(
                f"front end: clips of {waves.shape[-1]} samples; expected more than {half}, half "
                "a frame: pad or repeat shorter clips"
            )
        with torch.autocast(waves.device.type, enabled=False):
            if torch.compiler.is_compiling():
                return self._of_waves(waves)
            if self.can_launch(waves.device, waves.shape[-1]) and not waves.requires_grad:
                # loads triton
                from slvr.pipeline.fused.front_end import images  # noqa: PLC0415

                tables = Bands(*(self.get_buffer(f"bands_{name}") for name in Bands._fields))
                frame, hop = self.frame_samples, self.hop_samples
                return images(waves.contiguous(), frame, hop, tables, self.channels)
            return in_blocks(self._of_waves, block_rows(waves), waves)

    def can_launch(self, device: torch.device, n_samples: int) -> bool:
        """Whether clips of so many samples there go by kernels."""
        return self.fused and "has_kernels" in vars(type(self)) and can_run_on(device, n_samples)

    def _of_waves(self, waves: Tensor) -> Tensor:
        half = self.frame_samples // 2
        padded = pad(waves.float()[:, None], (half, half), mode="reflect")[:, 0]
        frames = padded.unfold(-1, self.frame_samples, self.hop_samples)
        return self.images(torch.view_as_real(torch.fft.rfft(frames)))

    @abstractmethod
    def images(self, spectra: Tensor) -> Tensor:
        """(B, L, F, 2) spectra through a rectangular window, by parts -> (B, C, M, L).

        Real and imaginary parts, since compilers do not make code for complex numbers.
        """

    def project(self, parts: Tensor) -> Tensor:
        """(..., F - 2), without the first and the last bin -> (..., M), summed by the bank."""
        bands = [parts[..., bins] @ self.mel_bank[1:-1][bins, bands] for bins, bands in self.bands]
        return torch.cat(bands, -1)


def hann_power(spectra: Tensor) -> Tensor:
    """(B, L, F - 2) power through a periodic Hann window, of what a rectangular one lets through.

    `X_hann(f) = X_rect(f) / 2 - (X_rect(f - 1) + X_rect(f + 1)) / 4`, so that one FFT serves both.
    """
    before, rectangular, after = spectra[..., :-2, :], spectra[..., 1:-1, :], spectra[..., 2:, :]
    hann = (before + after).sub_(rectangular, alpha=2)  # times -4
    return (hann[..., 0].square() + hann[..., 1].square()) / 16


def decibel(x: Tensor) -> Tensor:
    """`10 log10(x + eps)`."""
    return (x + LOG_FLOOR).log10_().mul_(10)
