"""Resampling of every row by its own real ratio, without aliases.

Letters: n rows, T samples, F bins.
"""

import math

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn.functional import pad

OVERSAMPLING = 3  # with cubic splines: images of an 8 kHz tone at -56 dB, of 4 kHz at -80 dB
TRANSITION = 0.03  # width of the anti-aliasing slope, as a fraction of the new Nyquist frequency
PADDING_SAMPLES = 64  # silence after the clip, so that its end does not ring into its beginning


def fast_fft_length(n_samples: int) -> int:
    """The least even length of at least ``n_samples`` with prime factors 2, 3 and 5 only."""
    return 2 * int(next_fast_len((n_samples + 1) // 2, real=True))


def resample(x: Tensor, ratio: Tensor) -> Tensor:
    """(n, T) float32 waveforms ``y(t) = x(ratio t)``, band-limited; silence beyond the end of x.

    Above 1 a ratio raises every frequency (content that would pass half the sample rate is
    removed), below 1 it lowers them and the result shows the beginning of x only. Ratio 1
    returns x.

    One FFT of the whole clip does all filtering: anti-aliasing, oversampling, and the prefilter
    that makes cubic B-splines interpolate (Unser, 1999, "Splines: a perfect fit for signal and
    image processing"). Reading at any real position then takes four taps.

    Args:
        x: (n, T) float32.
        ratio: (n,) float64; float32 would misplace samples late in a clip.
    """
    n_samples = x.shape[-1]
    x = pad(x, (1, 0))  # the spline's left tap at t = 0
    n_fft = fast_fft_length(n_samples + PADDING_SAMPLES)
    frequency = torch.arange(n_fft // 2 + 1, device=x.device) / n_fft  # cycles per sample
    spectrum = torch.fft.rfft(x, n=n_fft) * _response(frequency, ratio.float()[:, None])
    coefficients = torch.fft.irfft(spectrum, n=OVERSAMPLING * n_fft)

    position = torch.arange(n_samples, device=x.device) * ratio[:, None]
    inside = position < n_samples
    position = OVERSAMPLING * (1 + position.clamp(max=n_samples))
    left = position.long()
    u = (position - left).float()
    v = 1 - u
    y = coefficients.gather(1, left - 1) * v**3
    y = y + coefficients.gather(1, left) * (4 - 3 * u.square() * (2 - u))
    y = y + coefficients.gather(1, left + 1) * (4 - 3 * v.square() * (2 - v))
    y = y + coefficients.gather(1, left + 2) * u**3
    return torch.where(inside, y / 6, 0)


def _response(frequency: Tensor, ratio: Tensor) -> Tensor:
    """(n, F) gains: anti-aliasing where the ratio is above 1, times the spline's prefilter."""
    below_nyquist = ((1 - 2 * frequency * ratio) / TRANSITION).clamp(0, 1)
    # The bin at half the sample rate stands for both its signs, which oversampling pulls apart.
    whole = torch.where(frequency < 0.5, 1.0, 0.5)
    spline = (4 + 2 * torch.cos(2 * math.pi * frequency / OVERSAMPLING)) / 6
    return torch.where(ratio > 1, below_nyquist, 1) * (OVERSAMPLING * whole / spline)
