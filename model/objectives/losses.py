"""The losses of the contrastive objectives, each a mean over the batch.

Shapes: B clips, D values of a projected embedding. The predictive objective's loss is torch's
`binary_cross_entropy_with_logits`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from slvr.model.gather import gathered, processes, rank


def nt_xent(z1: Tensor, z2: Tensor, temperature: float, *, over_ranks: bool = False) -> Tensor:
    """The normalised temperature-scaled cross-entropy of two views, a scalar.

    l(i,j) = -log( exp(s_ij / t) / sum_{k != i} exp(s_ik / t) ), s the cosine similarity, averaged
    over the 2B pairs (i,j) of a view and its partner (SimCLR, Chen et al., ICML 2020, eq. 1). The
    similarities are one product of two (2B, D) matrices; nothing of size (2B, 2B, D) exists.
    Computed in float32 or better, also under autocast: exp(s / 0.07) spans 12 decades, and
    bfloat16 has 3 digits.

    Args:
        z1: (B, D) projections of the first view, of any norm.
        z2: (B, D) projections of the second; row i of both comes from the same clip.
        temperature: t > 0.
        over_ranks: k runs over the clips of all processes, where there are several; all have B.
            The mean over the processes of this loss is then that of the whole batch, and so is
            the mean of its gradients, which is what DistributedDataParallel takes.
    """
    with torch.autocast(z1.device.type, enabled=False):
        z = torch.cat([z1, z2])
        z = F.normalize(z.to(torch.promote_types(z.dtype, torch.float32)), dim=1)
        everyone = gathered(z).flatten(0, 1) if over_ranks else z
        columns = torch.arange(len(everyone), device=z.device)
        own = columns.chunk(processes())[rank()] if over_ranks else columns
        logits = (z @ everyone.T / temperature).masked_fill(own[:, None] == columns, -torch.inf)
        return F.cross_entropy(logits, own.roll(len(z1)))


def simsiam(p1: Tensor, p2: Tensor, z1: Tensor, z2: Tensor) -> Tensor:
    """The symmetrised negative cosine similarity, a scalar in [-1, 1].

    (D(p1, stop(z2)) + D(p2, stop(z1))) / 2 with D(p, z) = -cos(p, z): no gradient flows into z
    (SimSiam, Chen & He, CVPR 2021, eq. 2 and 4).

    Args:
        p1: (B, D) predictions from the first view.
        p2: (B, D) predictions from the second.
        z1: (B, D) projections of the first view, the target of `p2`.
        z2: (B, D) projections of the second, the target of `p1`.
    """
    return -0.5 * (
        F.cosine_similarity(p1, z2.detach()).mean() + F.cosine_similarity(p2, z1.detach()).mean()
    )
