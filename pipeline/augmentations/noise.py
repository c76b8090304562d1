"""Coloured noise added at a given signal-to-noise ratio.

Letters: n rows, T samples, F bins.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.augmentations.contract import Params, uniform
from pipeline.augmentations.resampling import fast_fft_length

# The published noise divides its amplitude spectrum by m^f_decay, where m rises linearly from
# 1 at 0 Hz to sqrt(8000) at half the sample rate.
SPECTRAL_RANGE = 8000**0.5


@dataclass(frozen=True)
class ColouredNoise:
    """Gaussian noise with an amplitude spectrum of ``1 / m^f_decay``.

    Params: ``snr_db``, against the clip's RMS as it comes in; ``f_decay``, 0 white, 1 pink-like,
    negative rising; ``noise_seed``, from which the noise itself follows: it is a function of seed
    and bin number, not of a generator's state, so that a row replays alone and on any device.
    """

    name: str
    f_decay: tuple[float, float]
    snr_db: tuple[float, float] = (3, 30)

    def sample(self, n: int, generator: torch.Generator, device: torch.device) -> Params:
        """Levels, colours and seeds of n rows."""
        return {
            "snr_db": uniform(*self.snr_db, n, generator, device),
            "f_decay": uniform(*self.f_decay, n, generator, device),
            "noise_seed": torch.randint(2**31, (n,), generator=generator, device=device),
        }

    def apply(self, x: Tensor, params: Params) -> Tensor:
        """(n, T) waveforms with noise; silence stays silent."""
        n_samples = x.shape[-1]
        noise = coloured_noise(params["noise_seed"], params["f_decay"], n_samples)
        wanted_rms = _rms(x.float()) * 10 ** (-params["snr_db"][:, None] / 20)
        return (x + noise * (wanted_rms / _rms(noise))).to(x.dtype)


def coloured_noise(seed: Tensor, f_decay: Tensor, n_samples: int) -> Tensor:
    """(n, T) float32 noise of each row's colour, at no particular level."""
    n_fft = fast_fft_length(n_samples)
    n_bins = n_fft // 2 + 1
    log_m = torch.linspace(1, SPECTRAL_RANGE, n_bins, device=seed.device).log()
    bits = torch.arange(2 * n_bins, dtype=torch.int32, device=seed.device)
    bits = _mix(_mix(bits) ^ _mix(seed.int())[:, None])
    to_unit = ((bits >> 8) & 0xFFFFFF) * 2.0**-24  # 24 bits fill a float32; in [0, 1)
    first, second = to_unit[:, :n_bins], to_unit[:, n_bins:]
    # Box and Muller (1958): one complex normal number a bin, shaped while it is in polar form.
    radius = torch.sqrt(-2 * torch.log1p(-first)) * torch.exp(-f_decay[:, None] * log_m)
    angle = 2 * torch.pi * second
    spectrum = torch.complex(radius * torch.cos(angle), radius * torch.sin(angle))
    noise: Tensor = torch.fft.irfft(spectrum, n=n_fft)
    return noise[:, :n_samples]


def _mix(bits: Tensor) -> Tensor:
    """A bijection of int32 in which each input bit flips about half of the output bits.

    Two multiply-xorshift rounds (the constants are Ellis' "lowbias32"); the products wrap.
    """
    bits = bits ^ (bits >> 16 & 0xFFFF)
    bits = bits * 0x7FEB352D
    bits = bits ^ (bits >> 15 & 0x1FFFF)
    bits = bits * (0x846CA68B - 2**32)  # as a signed number
    return bits ^ (bits >> 16 & 0xFFFF)


def _rms(x: Tensor) -> Tensor:
    return x.square().mean(-1, keepdim=True).sqrt()
