"""A separator that learns from mixtures of mixtures.

Letters: K mixtures of mixtures, N mixtures in each, M channels, T samples.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slvr.model.gather import gathered, processes
from slvr.model.separators.mixit import mixit
from slvr.model.separators.tdcn import TDCN

TOTAL, REJECTED = "total", "rejected"


class MixitLearner(nn.Module):
    """`learner(mixtures, accepted)`: (K, N, T) -> `total` in dB, and how many were `rejected`.

    The loss is the mean over the accepted ones of all processes, whichever has them.

    Attributes:
        separator: sees the sum of the N mixtures.
    """

    columns = (TOTAL, REJECTED)
    rejected: Tensor

    def __init__(self, separator: TDCN) -> None:
        super().__init__()
        self.separator = separator
        # in the state: a run that goes on goes on counting
        self.register_buffer("rejected", torch.zeros((), dtype=torch.int64))

    def forward(self, mixtures: Tensor, accepted: Tensor) -> dict[str, Tensor]:
        """The losses of a batch, scalars by name.

        Args:
            mixtures: (K, N, T).
            accepted: (K,), whether none of them is silent.
        """
        counts = torch.stack([accepted.sum(), (~accepted).sum()])
        n_accepted, n_rejected = gathered(counts).sum(0)
        if self.training:
            self.rejected += n_rejected
        loss = torch.where(accepted, self.losses(mixtures), 0.0).sum()
        # the processes' gradients are averaged
        total = loss * processes() / n_accepted.clamp(min=1)
        return {TOTAL: total, REJECTED: self.rejected.detach().to(total.dtype)}

    def losses(self, mixtures: Tensor) -> Tensor:
        """(K,): the MixIT loss of each, in dB."""
        return mixit(mixtures, self.separator(mixtures.sum(1))).loss
