"""Reading a waveform at any real positions, and resampling every row by its own ratio.

Waveforms are read through cubic B-splines on a grid twice as fine: four taps a sample, and what
the spline cannot suppress stays at -38 dB for content at the very band edge, -68 dB for its lower
half. Unser (1999), "Splines: a perfect fit for signal and image processing".

Letters: n rows, T samples, F bins.
"""

import math

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn.functional import pad

OVERSAMPLING = 2
TRANSITION = 0.03  # width of the anti-aliasing slope, as a fraction of the new Nyquist frequency
PADDING_SAMPLES = 64  # silence after the clip, so that its end does not ring into its beginning


def fast_fft_length(n_samples: int) -> int:
    """The least even length of at least `n_samples` with prime factors 2, 3 and 5 only."""
    return 2 * int(next_fast_len((n_samples + 1) // 2, real=True))


def resample(x: Tensor, ratio: Tensor) -> Tensor:
    """(n, T) float32 waveforms `y(t) = x(ratio t)`, without aliases, silent beyond x's end.

    One FFT of the whole clip removes what would pass half the sample rate, and oversamples.

    Args:
        x: (n, T) float32.
        ratio: (n,) float64, at least 1; 1 returns x.
    """
    n_samples = x.shape[-1]
    x = pad(x, (1, 0))  # the spline's left tap at t = 0
    n_fft = fast_fft_length(n_samples + PADDING_SAMPLES)
    frequency = torch.linspace(0, 0.5, n_fft // 2 + 1, device=x.device)
    narrowed = ratio.float()[:, None]
    below_nyquist = ((1 - 2 * frequency * narrowed) / TRANSITION).clamp(0, 1)
    response = spline_prefilter(frequency) * torch.where(narrowed > 1, below_nyquist, 1)
    coefficients = torch.fft.irfft(torch.fft.rfft(x, n=n_fft) * response, n=OVERSAMPLING * n_fft)
    position = torch.arange(n_samples, device=x.device) * ratio[:, None]
    y = read_spline(coefficients, OVERSAMPLING * (1 + position.clamp(max=n_samples)))
    return torch.where(position < n_samples, y, 0)


def spline_prefilter(frequency: Tensor) -> Tensor:
    """(F,) gains that turn a spectrum into that of its oversampled cubic B-spline coefficients.

    `6 / (4 + 2 cos(2 pi f / OVERSAMPLING))`, the inverse of a cubic B-spline at the grid points.

    Args:
        frequency: (F,) in cycles per sample before oversampling, 0 to 0.5. The bin at 0.5 stands
            for both of its signs, which oversampling pulls apart: it counts half.
    """
    gain = 6 * OVERSAMPLING / (4 + 2 * torch.cos(2 * math.pi * frequency / OVERSAMPLING))
    return torch.where(frequency < 0.5, gain, gain / 2)


def read_spline(coefficients: Tensor, position: Tensor) -> Tensor:
    """(n, T) values of cubic B-splines.

    Args:
        coefficients: (n, C) float32.
        position: (n, T) float64 in coefficients, from 1 to below C - 2; float32 would misplace
            samples late in a clip.
    """
    first = position.long()
    u = (position - first).float()
    first -= 1
    # One index for all four taps: each is gathered from the coefficients that much further on.
    a, b, c, d = (coefficients[:, tap:].gather(1, first) for tap in range(4))
    outer = a + c
    y = (b - c).mul_(3).add_(d).sub_(a)
    y.mul_(u).add_(outer, alpha=3).sub_(b, alpha=6)
    y.mul_(u).add_(c, alpha=3).sub_(a, alpha=3)
    y.mul_(u).add_(outer).add_(b, alpha=4)
    return y.mul_(1 / 6)
