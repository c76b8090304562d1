"""What a separator sees of a waveform, and what it makes of its masked coefficients again.

Letters: B clips, M channels, T samples, L frames, C coefficients, W samples of a window.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def framed(waves: Tensor, window: int, hop: int, n_frames: int) -> Tensor:
    """(B, T) -> (B, L, W), zeros behind the end; frame l begins at sample l * hop."""
    length = (n_frames - 1) * hop + window
    padded = F.pad(waves, (0, max(0, length - waves.shape[-1])))
    return padded.unfold(-1, window, hop)[:, :n_frames]


def overlap_add(frames: Tensor, hop: int, n_samples: int) -> Tensor:
    """(B, M, L, W) -> (B, M, T): frame l is added at sample l * hop; cut or filled to T.

    Hops of a window at a time: each is a plain sum, and any hop will do.
    """
    window, n_frames = frames.shape[-1], frames.shape[-2]
    n_hops = math.ceil(window / hop)
    frames = F.pad(frames, (0, n_hops * hop - window))
    frames = frames.reshape(*frames.shape[:-1], n_hops, hop)
    total = frames.new_zeros(*frames.shape[:-3], n_frames + n_hops - 1, hop)
    for k in range(n_hops):
        total = total + F.pad(frames[..., k, :], (0, 0, k, n_hops - 1 - k))
    wave = total.flatten(-2)[..., :n_samples]
    return F.pad(wave, (0, n_samples - wave.shape[-1]))


class Scalars(nn.Module):
    """One gain for all channels, and where there is one a bias, under the usual names."""

    bias: nn.Parameter

    def __init__(self, weight: float, bias: float | None = None) -> None:
        super().__init__()
        self.weight: nn.Parameter = nn.Parameter(torch.tensor([weight]))
        if bias is not None:
            self.bias = nn.Parameter(torch.tensor([bias]))


class Basis(nn.Module):
    """Analysis and synthesis of waveforms in frames.

    Attributes:
        n_bins: C, what a mask has a value for.
    """

    n_bins: int

    def analyse(self, waves: Tensor) -> Tensor:
        """(B, T) -> coefficients (B, C, L), which masks are multiplied with."""
        raise NotImplementedError

    def seen(self, coefficients: Tensor) -> Tensor:
        """Coefficients as the network sees them, (B, C, L) real."""
        raise NotImplementedError

    def synthesise(self, coefficients: Tensor, n_samples: int) -> Tensor:
        """(B, M, C, L) -> (B, M, T)."""
        raise NotImplementedError


class LearnedBasis(Basis):
    """c = ReLU(frame E); frames of the channels = (mask c) D, overlapped and added."""

    def __init__(self, n_coefficients: int, window: int, hop: int) -> None:
        super().__init__()
        self.n_bins, self.window, self.hop = n_coefficients, window, hop
        self.encoder = nn.Linear(window, n_coefficients, bias=False)
        self.decoder = nn.Linear(n_coefficients, window, bias=False)

    def analyse(self, waves: Tensor) -> Tensor:
        """L = 1 + ceil((T - W) / hop), and one frame of what is shorter than a window."""
        n_frames = 1 + max(0, math.ceil((waves.shape[-1] - self.window) / self.hop))
        waves = waves.to(self.encoder.weight.dtype)
        frames = framed(waves, self.window, self.hop, n_frames)
        return F.relu(self.encoder.weight @ frames.transpose(1, 2))

    def seen(self, coefficients: Tensor) -> Tensor:
        """As they are."""
        return coefficients

    def synthesise(self, coefficients: Tensor, n_samples: int) -> Tensor:
        """A dense layer a frame, then the sum where they overlap."""
        frames = self.decoder(coefficients.transpose(-1, -2))
        return overlap_add(frames, self.hop, n_samples)


class StftBasis(Basis):
    """Short-time Fourier transform with a square-root Hann window at both ends.

    Nothing is put before the beginning: the first W - hop samples lie in fewer frames than the
    others and come out too weak; mixture consistency shares out what is missing.
    """

    _analysis: Tensor
    _synthesis: Tensor
    _EPS = 1e-3  # large: what is quieter than that is not brought to unit variance

    def __init__(self, window: int, hop: int) -> None:
        super().__init__()
        self.window, self.hop = window, hop
        self.n_fft = 2 ** math.ceil(math.log2(window))
        self.n_bins = self.n_fft // 2 + 1
        self.norm = Scalars(1.0, 0.0)
        root = hann_window(window).sqrt()
        self.register_buffer("_analysis", root.float(), persistent=False)
        self.register_buffer("_synthesis", dual_window(root, hop).float(), persistent=False)

    def analyse(self, waves: Tensor) -> Tensor:
        """L = ceil(T / hop), complex; in float32 at least, whatever the network's precision."""
        n_frames = math.ceil(waves.shape[-1] / self.hop)
        waves = waves.to(torch.promote_types(waves.dtype, torch.float32))
        frames = framed(waves, self.window, self.hop, n_frames)
        windowed = frames * self._analysis.to(waves.dtype)
        spectra: Tensor = torch.fft.rfft(windowed, self.n_fft).transpose(1, 2)
        return spectra

    def seen(self, coefficients: Tensor) -> Tensor:
        """Magnitudes with the mean and variance of the whole clip taken out, one gain, one bias."""
        size = coefficients.abs()
        variance, mean = torch.var_mean(size, (1, 2), correction=0, keepdim=True)
        whitened = (size - mean) * (variance + self._EPS).rsqrt()
        seen: Tensor = whitened * self.norm.weight + self.norm.bias
        return seen

    def synthesise(self, coefficients: Tensor, n_samples: int) -> Tensor:
        """Inverse transform, its first W samples windowed, then the sum where they overlap."""
        spectra = coefficients.transpose(-1, -2)
        frames = torch.fft.irfft(spectra, self.n_fft)[..., : self.window]
        return overlap_add(frames * self._synthesis.to(frames.dtype), self.hop, n_samples)


def hann_window(n: int) -> Tensor:
    """(W,) float64: (1 - cos(2 pi i / p)) / 2 with p = W, or W - 1 where W is odd.

    TensorFlow's "periodic" window, with which the public separators were trained, is symmetric for
    odd lengths.
    """
    period = n if n % 2 == 0 else n - 1
    return 0.5 - 0.5 * torch.cos(2 * math.pi * torch.arange(n, dtype=torch.float64) / period)


def dual_window(window: Tensor, hop: int) -> Tensor:
    """(W,): window / den, den_i = sum over k of window_(i + k hop)^2; 0 where no frame counts."""
    n_hops = math.ceil(len(window) / hop)
    powers = F.pad(window.square(), (0, n_hops * hop - len(window))).view(n_hops, hop).sum(0)
    den = powers.repeat(n_hops)[: len(window)]
    return torch.where(den > 0, window / den.clamp(min=1e-30), 0.0)
