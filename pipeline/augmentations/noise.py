"""Coloured noise added at a given signal-to-noise ratio.

Letters: n rows, T samples, F bins.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from slvr.pipeline.augmentations.contract import Params, check_range, uniform
from slvr.pipeline.augmentations.resampling import fast_fft_length
from slvr.pipeline.blocks import irfft_

# The published noise divides its amplitude spectrum by m^f_decay, where m rises linearly from
# 1 at 0 Hz to sqrt(8000) at half the sample rate.
SPECTRAL_RANGE = 8000**0.5


@dataclass(frozen=True)
class ColouredNoise:
    """Gaussian noise with an amplitude spectrum of `1 / m^f_decay`.

    Params: `snr_db`, against the clip's RMS as it comes in; `f_decay`, 0 white, 1 pink-like,
    negative rising; `noise_seed`, from which the noise itself follows: it is a function of seed
    and bin number, not of a generator's state, so that a row replays alone and on any device.

    Args:
        name: of the label column.
        f_decay: least and greatest.
        snr_db: least and greatest.

    Raises:
        ValueError: a range that cannot be.
    """

    name: str
    f_decay: tuple[float, float]
    snr_db: tuple[float, float] = (3, 30)

    def __post_init__(self) -> None:
        check_range(f"{self.name}, decay", *self.f_decay, -10, 10)
        check_range(f"{self.name}, signal-to-noise ratio in dB", *self.snr_db, -100, 100)

    def sample(self, n: int, generator: torch.Generator, device: torch.device) -> Params:
        """Levels, colours and seeds of n rows."""
        return {
            "snr_db": uniform(*self.snr_db, n, generator, device),
            "f_decay": uniform(*self.f_decay, n, generator, device),
            "noise_seed": torch.randint(2**31, (n,), generator=generator, device=device),
        }

    def differences(self, first: Params, second: Params) -> Params:
        """Level and colour; seeds have no order."""
        ranges = {"snr_db": self.snr_db, "f_decay": self.f_decay}
        return {
            name: (first[name] - second[name]) / ((high - low) or 1)
            for name, (low, high) in ranges.items()
        }

    def apply(self, x: Tensor, params: Params) -> Tensor:
        """(n, T) waveforms with noise; silence stays silent."""
        n_samples = x.shape[-1]
        noise = coloured_noise(params["noise_seed"], params["f_decay"], n_samples)
        wanted = _amplitude(x.float()) * 10 ** (-params["snr_db"][:, None] / 20)
        return noise.mul_(wanted / _amplitude(noise)).add_(x).to(x.dtype)


def coloured_noise(seed: Tensor, f_decay: Tensor, n_samples: int) -> Tensor:
    """(n, T) float32 noise of each row's colour, at no particular level."""
    n_fft = fast_fft_length(n_samples)
    n_bins = n_fft // 2 + 1
    log_m = torch.linspace(1, SPECTRAL_RANGE, n_bins, device=seed.device).log()
    bits = torch.arange(n_bins, dtype=torch.int32, device=seed.device)
    bits = _mix(_mix(bits) ^ _mix(seed.int())[:, None])
    # Box and Muller (1958): one complex normal number a bin, shaped while it is in polar form.
    # 16 bits each for its radius and its angle: thousands of bins add up to every sample.
    angle = (bits >> 16) * (2 * torch.pi * 2**-16)
    radius = (bits.bitwise_and_(0xFFFF) + 0.5).mul_(2**-16).log_().mul_(-2).sqrt_()
    radius *= (-f_decay[:, None] * log_m).exp_()
    spectrum = torch.complex(angle.cos().mul_(radius), angle.sin_().mul_(radius))
    return irfft_(spectrum, n_fft)[:, :n_samples]


def _mix(bits: Tensor) -> Tensor:
    """A bijection of int32 in which each input bit flips about half of the output bits.

    Two multiply-xorshift rounds (the constants are Ellis' "lowbias32"); the products wrap.
    """
    bits = (bits >> 16).bitwise_and_(0xFFFF).bitwise_xor_(bits).mul_(0x7FEB352D)
    bits = (bits >> 15).bitwise_and_(0x1FFFF).bitwise_xor_(bits)
    bits *= 0x846CA68B - 2**32  # as a signed number
    return (bits >> 16).bitwise_and_(0xFFFF).bitwise_xor_(bits)


def _amplitude(x: Tensor) -> Tensor:
    """(n, 1) square roots of the sums of squares."""
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm
