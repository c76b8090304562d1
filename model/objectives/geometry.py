"""What the embeddings of two views are like on the unit sphere. Letters: B clips, D embedding."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS = 512
"""Clips whose pairs are looked at together: the memory of all pairs grows with their square."""


def geometry(h1: Tensor, h2: Tensor) -> dict[str, float]:
    """Alignment, uniformity and spread of the embeddings (B, D) of two views.

    `alignment`: mean squared distance of the two views; `uniformity`: log of the mean Gaussian
    potential exp(-2 d^2) over pairs of clips at distance d, of each `ROWS` clips in turn (Wang &
    Isola, ICML 2020, lower is better for both); nan where there is no pair. `spread`:
    standard deviation of the normalised embeddings times sqrt(D), 1 where they fill the sphere, 0
    where they have collapsed (Chen & He, CVPR 2021).
    """
    z1, z2 = F.normalize(h1.float(), dim=1), F.normalize(h2.float(), dim=1)
    blocks = torch.split(z1, ROWS)
    potentials = torch.stack([torch.pdist(z).square().mul(-2).exp().sum() for z in blocks])
    n_pairs = sum(len(z) * (len(z) - 1) // 2 for z in blocks)
    return {
        "alignment": float((z1 - z2).square().sum(1).mean()),
        "uniformity": float((potentials.sum() / n_pairs).log()),
        "spread": float(z1.std(0, correction=0).mean() * math.sqrt(z1.shape[1])),
    }
