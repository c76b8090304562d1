"""How well channels match known sources: SI-SNR and its improvement over the mixture.

Le Roux et al., "SDR: half-baked or well done?", ICASSP 2019.
Letters: B examples, S sources, M channels, T samples.
"""

from __future__ import annotations

from itertools import permutations

import torch
from torch import Tensor

EPS = 1e-8


def si_snr(estimates: Tensor, references: Tensor) -> Tensor:
    """(...) in dB of (..., T): 10 log10(||a r||^2 / ||e - a r||^2), a = <e, r> / <r, r>.

    Both without their mean, which no one hears.
    """
    e = estimates - estimates.mean(-1, keepdim=True)
    r = references - references.mean(-1, keepdim=True)
    a = (e * r).sum(-1, keepdim=True) / (r.square().sum(-1, keepdim=True) + EPS)
    target, rest = (a * r).square().sum(-1), (e - a * r).square().sum(-1)
    return 10 * torch.log10((target + EPS) / (rest + EPS))


def si_snr_improvement(mixture: Tensor, channels: Tensor, sources: Tensor) -> Tensor:
    """(B,) in dB: the best assignment of channels to sources, a channel each, over the mixture.

    Args:
        mixture: (B, T).
        channels: (B, M, T), M at least S.
        sources: (B, S, T).
    """
    n_sources, n_channels = sources.shape[1], channels.shape[1]
    assert n_sources <= n_channels, (n_sources, n_channels)
    each = si_snr(channels[:, None], sources[:, :, None])  # (B, S, M)
    rows = torch.arange(n_sources, device=each.device)
    best = torch.stack(
        [
            each[:, rows, list(chosen)].mean(-1)
            for chosen in permutations(range(n_channels), n_sources)
        ]
    ).amax(0)
    return best - si_snr(mixture[:, None], sources).mean(-1)
