"""One encoder trained for two tasks at once (MT-SLVR), or for one of them (its baselines).

Shapes: B clips, F mel bins, L frames, K labels.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from model.encoder import Encoder
from model.objectives import Objective


class Losses(NamedTuple):
    """Scalars of one batch; a task that is not trained has None."""

    total: Tensor
    contrastive: Tensor | None
    predictive: Tensor | None


class MultiTask(nn.Module):
    """`model(x1, x2, labels)`: two views of each clip and their labels -> `Losses`.

    total = contrastive + predictive_weight * predictive. Each view is a batch of its own to the
    encoder's batch norms.

    Args:
        encoder: gives each objective the embedding of its task.
        contrastive: trained on `encoder(x, "contrastive")`; None leaves the task out.
        predictive: trained on `encoder(x, "predictive")`; None leaves the task out.
        predictive_weight: lambda of the paper.

    Raises:
        ValueError: neither task has an objective.
    """

    def __init__(
        self,
        encoder: Encoder,
        contrastive: Objective | None,
        predictive: Objective | None,
        predictive_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if contrastive is None and predictive is None:
            raise ValueError("nothing to train: give a contrastive or a predictive objective")
        self.encoder = encoder
        self.contrastive = contrastive
        self.predictive = predictive
        self.predictive_weight = predictive_weight

    def forward(self, x1: Tensor, x2: Tensor, labels: Tensor) -> Losses:
        """Return the losses of one batch.

        Args:
            x1: (B, 3, F, L) features of the first view.
            x2: (B, 3, F, L) features of the second; row i of both comes from the same clip.
            labels: (B, K) float, 1 where the augmentation was applied to the clip.
        """
        if self.predictive is None:
            assert self.contrastive is not None
            h1, h2 = (self.encoder(x, "contrastive") for x in (x1, x2))
            loss = self.contrastive(h1, h2, labels)
            return Losses(loss, loss, None)
        if self.contrastive is None:
            h1, h2 = (self.encoder(x, "predictive") for x in (x1, x2))
            loss = self.predictive(h1, h2, labels)
            return Losses(self.predictive_weight * loss, None, loss)
        for_contrastive, for_predictive = self.encoder.both(x1, x2)
        contrastive = self.contrastive(*for_contrastive, labels)
        predictive = self.predictive(*for_predictive, labels)
        return Losses(contrastive + self.predictive_weight * predictive, contrastive, predictive)
