"""Pitch shift by the published ratios: a vocoder between two frame grids, without resampling.

Analysis takes frames of 3 a samples, a apart; synthesis makes frames of 3 s samples, s apart, and
a / s is the ratio. Bin f is f / (3 a) before and f / (3 s) after, which is the shift itself; one
hop is a third of a frame in both, so that the phase advance of a bin is the same in both. Output
frame k lies at sample k s, frame k s / a of the source: duration stays.

Letters: n rows, T samples, L frames of the source, K of the result, F bins that both grids have.
"""

from fractions import Fraction

import torch
from torch import Tensor

from slvr.pipeline.augmentations.vocoder import (
    energy,
    frame_count,
    frame_power,
    istft,
    phase_vocoder,
    restore_level,
    stft,
)

HOPS_A_FRAME = 3  # the least whose squared Hann windows add up to a constant
# Analysis and synthesis hop of the ratios below 1: even, with small prime factors, the smaller one
# about 256 samples (16 ms), and few different ones, since each is an FFT length with its own plan.
DOWN = {
    Fraction(1, 2): (256, 512),
    Fraction(64, 125): (256, 500),
    Fraction(5, 8): (250, 400),
    Fraction(16, 25): (256, 400),
    Fraction(25, 32): (250, 320),
    Fraction(4, 5): (256, 320),
    Fraction(125, 128): (250, 256),
}
UP = {1 / ratio: (synthesis, analysis) for ratio, (analysis, synthesis) in reversed(DOWN.items())}
# Frequency ratios the published models were trained with: those that torch-audiomentations'
# PitchShift finds fast at 16 kHz within an octave.
HOPS = DOWN | UP
# The mean of squared Hann windows that lie three to a frame: 3/8 of each.
OVERLAP = HOPS_A_FRAME * 3 / 8


def shift(x: Tensor, ratio: Fraction) -> Tensor:
    """(n, T) float32 waveforms with every frequency multiplied by one of the ratios of `HOPS`.

    What passes half the sample rate is left out with its bins. The level of what stays stays: its
    energy before is that of its bins, by Parseval's theorem.
    """
    analysis, synthesis = HOPS[ratio]
    n_samples = x.shape[-1]
    frame, made = HOPS_A_FRAME * analysis, HOPS_A_FRAME * synthesis
    n_bins = min(frame, made) // 2 + 1
    spectra = stft(x, frame, analysis, frame_count(n_samples, analysis))[..., :n_bins].contiguous()
    position = torch.arange(frame_count(n_samples, synthesis), device=x.device, dtype=torch.float64)
    position = (position * synthesis / analysis).expand(len(x), -1)
    shifted = phase_vocoder(spectra, position, 1 / HOPS_A_FRAME)
    y = istft(shifted, made, synthesis)[:, made // 2 : made // 2 + n_samples]
    power = frame_power(spectra).sum(-1, keepdim=True)
    wanted = 2 * power / (frame * OVERLAP * n_samples)
    # A frame's inverse is divided by its own length.
    scale = made / frame
    return restore_level(y, wanted, scale**2 * energy(y) / n_samples, scale)
