"""Triton kernels of front ends of mel bands: frames out of waves, and images out of their spectra.

Letters: T samples, L frames, N samples a frame, F bins, M mel bands.
"""

import triton
import triton.language as tl

from slvr.pipeline.frontends import bank
from slvr.pipeline.fused.vocoder_kernels import read_complex

# A kernel sees no other global numbers.
LOG_FLOOR = tl.constexpr(bank.LOG_FLOOR)
DECIBEL = tl.constexpr(3.0102999566398120)  # ten times the decadic logarithm of 2
PI = tl.constexpr(3.141592653589793)


@triton.jit
def frame_reflected(waves, frames, n_samples, n_frames, frame, hop, BLOCK: tl.constexpr):
    """Frames centred on every hop, of waves that are reflected at both ends."""
    at = tl.program_id(0)
    row = tl.program_id(1).to(tl.int64)
    t = tl.arange(0, BLOCK)
    sample = tl.abs(at * hop - frame // 2 + t)
    sample = tl.where(sample >= n_samples, 2 * (n_samples - 1) - sample, sample)
    x = tl.load(waves + row * n_samples + sample, mask=t < frame, other=0.0).to(tl.float32)
    tl.store(frames + (row * n_frames + at) * frame + t, x, mask=t < frame)


@triton.jit
def _angle(y, x):
    """`atan2(y, x)`, by the polynomial of Cephes' atanf, to about 2e-7."""
    across = tl.abs(x)
    up = tl.abs(y)
    q = tl.minimum(across, up) / tl.maximum(tl.maximum(across, up), 1e-37)
    steep = q > 0.4142135623730950
    q = tl.where(steep, (q - 1) / (q + 1), q)
    s = q * q
    p = -3.33329491539e-1 + s * (1.99777106478e-1 + s * (-1.38776856032e-1 + s * 8.05374449538e-2))
    a = q + q * s * p + tl.where(steep, PI / 4, 0.0)
    a = tl.where(up > across, PI / 2 - a, a)
    a = tl.where(x.to(tl.int32, bitcast=True) < 0, PI - a, a)
    return tl.where(y.to(tl.int32, bitcast=True) < 0, -a, a)


@triton.jit
def mel_images(
    spectra,
    images,
    first_bins,
    widest_bins,
    weights,
    n_frames,
    n_bins,
    n_mels,
    CHANNELS: tl.constexpr,
    FRAMES: tl.constexpr,
    BANDS: tl.constexpr,
):
    """Channels of `LogMel` (one) or `MTSLVR` (three) of spectra through a rectangular window.

    A band is a few bins from its first one on; a block of bands takes as many as its widest has.
    Bins pass by one after the other, so that Hann's three taps are each read once.
    """
    row = tl.program_id(2).to(tl.int64)
    frame = tl.program_id(1) * FRAMES + tl.arange(0, FRAMES)
    band = tl.program_id(0) * BANDS + tl.arange(0, BANDS)
    is_band = band < n_mels
    begin = tl.load(first_bins + band, mask=is_band, other=1)
    width = tl.load(widest_bins + tl.program_id(0))
    inside = (frame < n_frames)[:, None] & is_band[None, :]
    z = (row * n_frames + frame)[:, None] * n_bins + begin[None, :]
    before_r, before_i = read_complex(spectra, z - 1, inside)
    r, i = read_complex(spectra, z, inside)
    power = tl.zeros((FRAMES, BANDS), tl.float32)
    real = tl.zeros((FRAMES, BANDS), tl.float32)
    imaginary = tl.zeros((FRAMES, BANDS), tl.float32)
    j = width * 0
    while j < width:  # the interpreter cannot take a loaded number for a range
        there = inside & (begin + j + 1 < n_bins)[None, :]
        after_r, after_i = read_complex(spectra, z + j + 1, there)
        w = tl.load(weights + j * n_mels + band, mask=is_band, other=0.0)[None, :]
        hann_r = before_r + after_r - 2 * r
        hann_i = before_i + after_i - 2 * i
        power += w * (hann_r * hann_r + hann_i * hann_i)
        if CHANNELS == 3:
            real += w * r
            imaginary += w * i
        before_r, before_i = r, i
        r, i = after_r, after_i
        j += 1
    to = images + (row * CHANNELS * n_mels + band)[None, :] * n_frames + frame[:, None]
    tl.store(to, tl.log2(power * 0.0625 + LOG_FLOOR) * DECIBEL, mask=inside)
    if CHANNELS == 3:
        magnitude = tl.sqrt(real * real + imaginary * imaginary)
        to += n_mels * n_frames
        tl.store(to, tl.log2(magnitude + LOG_FLOOR) * DECIBEL, mask=inside)
        to += n_mels * n_frames
        tl.store(to, _angle(imaginary, real), mask=inside)
