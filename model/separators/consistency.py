"""Mixture consistency: channels that sum to their mixture.

x_m = s_m + w_m (x - sum_k s_k), with weights w that sum to 1 over the channels; Wisdom et al.,
"Differentiable consistency constraints", ICASSP 2019. Letters: B clips, M channels, T samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

_FLOOR = 1e-8


def project(waves: Tensor, channels: Tensor, weights: Tensor) -> Tensor:
    """Channels (B, M, T) that sum to the waves (B, T): what is missing is shared out by weight.

    Args:
        waves: (B, T).
        channels: (B, M, T).
        weights: (B, M), of sum 1.
    """
    missing = waves[:, None] - channels.sum(1, keepdim=True)
    return channels + weights[..., None] * missing


def uniform_weights(channels: Tensor) -> Tensor:
    """(B, M): 1 / M."""
    return channels.new_full(channels.shape[:2], 1 / channels.shape[1])


def energy_weights(channels: Tensor) -> Tensor:
    """(B, M): w_m = (1e-8 + mean_t s_m^2) / sum_k (1e-8 + mean_t s_k^2)."""
    energies = _FLOOR + channels.square().mean(-1)
    return energies / energies.sum(1, keepdim=True)


def predicted_weights(logits: Tensor) -> Tensor:
    """(B, M): the softmax of what the network says."""
    return torch.softmax(logits, 1)
