"""One encoder trained for two tasks at once (MT-SLVR), or for one of them (its baselines).

Shapes: B clips, F mel bins, L frames.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from slvr.model.encoders.resnet18 import TASKS, Encoder
from slvr.model.objectives.contract import Objective, Targets


class Losses(NamedTuple):
    """Scalars of one batch; a task that is not trained has None."""

    total: Tensor
    contrastive: Tensor | None
    predictive: Tensor | None


class Embeddings(NamedTuple):
    """(B, D) embeddings of the first and the second view for each task that is trained."""

    contrastive: tuple[Tensor, Tensor] | None
    predictive: tuple[Tensor, Tensor] | None


class MultiTask(nn.Module):
    """`model(x1, x2, targets)`: views of each clip and what is known of them -> `Losses`.

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

    def forward(self, x1: Tensor, x2: Tensor, targets: Targets) -> Losses:
        """Return the losses of one batch.

        Args:
            x1: (B, 3, F, L) features of the first view.
            x2: (B, 3, F, L) features of the second; row i of both comes from the same clip.
            targets: what is known about the views.
        """
        return self.losses(self.embed(x1, x2), targets)

    def embed(self, x1: Tensor, x2: Tensor) -> Embeddings:
        """Return the embeddings of two views for the tasks that are trained."""
        trained = zip(TASKS, (self.contrastive, self.predictive), strict=True)
        tasks = [task for task, objective in trained if objective is not None]
        views = dict(zip(tasks, self.encoder.both(x1, x2, tasks), strict=True))
        return Embeddings(*map(views.get, TASKS))

    def losses(self, embeddings: Embeddings, targets: Targets) -> Losses:
        """Return the losses of embedded views; see `forward`."""
        contrastive = predictive = None
        total = targets.labels.new_zeros(())
        if self.contrastive is not None:
            assert embeddings.contrastive is not None
            contrastive = self.contrastive(*embeddings.contrastive, targets)
            total = total + contrastive
        if self.predictive is not None:
            assert embeddings.predictive is not None
            predictive = self.predictive(*embeddings.predictive, targets)
            total = total + self.predictive_weight * predictive
        return Losses(total, contrastive, predictive)
