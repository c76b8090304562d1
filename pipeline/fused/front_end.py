"""Front ends of mel bands on a GPU in three launches: frames, one FFT, images."""

import torch
import triton
from torch import Tensor

from slvr.pipeline.frontends.bank import BAND_BLOCK, Bands
from slvr.pipeline.fused import mel_kernels as kernels

FRAMES = 32  # of one program
WARPS = 8  # with four, twice the registers and half as many programs at once


def images(waves: Tensor, frame_samples: int, hop_samples: int, bands: Bands, n: int) -> Tensor:
    """(B, T) waveforms -> (B, n, M, L) float32, the channels of `LogMel` (1) or `MTSLVR` (3).

    Args:
        waves: contiguous, longer than half a frame.
        frame_samples: N, even.
        hop_samples: from one frame to the next.
        bands: on the device.
        n: channels.
    """
    with torch.cuda.device(waves.get_device()):  # where kernels are launched; -1 is none
        n_rows, n_samples = waves.shape
        n_frames, n_mels = n_samples // hop_samples + 1, len(bands.first)
        frames = torch.empty(n_rows * n_frames, frame_samples, device=waves.device)
        kernels.frame_reflected[n_frames, n_rows](
            waves, frames, n_samples, n_frames, frame_samples, hop_samples,
            BLOCK=triton.next_power_of_2(frame_samples),
        )  # fmt: skip
        spectra = torch.fft.rfft(frames)
        made = torch.empty(n_rows, n, n_mels, n_frames, device=waves.device)
        grid = triton.cdiv(n_mels, BAND_BLOCK), triton.cdiv(n_frames, FRAMES), n_rows
        kernels.mel_images[grid](
            torch.view_as_real(spectra).view(torch.int64), made, *bands,
            n_frames, frame_samples // 2 + 1, n_mels,
            CHANNELS=n, FRAMES=FRAMES, BANDS=BAND_BLOCK, num_warps=WARPS,
        )  # fmt: skip
        return made
