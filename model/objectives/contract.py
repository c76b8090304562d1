"""What a task's embeddings are trained for: a head and the loss on what it says.

A new objective is one subclass of `Objective`. Shapes: B clips, D embedding, K labels, P parameters
of augmentations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slvr.model.objectives.losses import nt_xent, simsiam


class Targets(NamedTuple):
    """What is known about the two views of each clip.

    A view maker that knows more adds a field; no objective has to change for it.

    Attributes:
        labels: (B, K) float, 1 where the augmentation was applied to the clip (both views).
        differences: (B, P) float in [-1, 1], each augmentation's parameters in the first view less
            those in the second; they mean something where the augmentation's label is 1.
    """

    labels: Tensor
    differences: Tensor


class Objective(nn.Module, ABC):
    """`objective(h1, h2, targets)`: embeddings of two views of each clip -> scalar loss.

    `slvr.model.multitask.MultiTask` pairs an objective with a task of the encoder. The weights of
    its head are trained with the encoder and left behind when the encoder is used.
    """

    @abstractmethod
    def forward(self, h1: Tensor, h2: Tensor, targets: Targets) -> Tensor:
        """Return the mean loss of the batch, a scalar.

        Args:
            h1: (B, D) embeddings of the first view.
            h2: (B, D) embeddings of the second; row i of both comes from the same clip.
            targets: what is known about the views; rows as in h1 and h2.
        """


class SimCLR(Objective):
    """NT-Xent between the projections of the views (Chen et al., ICML 2020); without targets.

    In training the negatives are the clips of all processes.

    Args:
        dim: D.
        temperature: of the softmax; 0.07 in MT-SLVR.
    """

    def __init__(self, dim: int, temperature: float = 0.07) -> None:
        super().__init__()
        self.temperature = temperature
        self.projector = _layers(
            nn.Sequential(nn.Linear(dim, dim), nn.ReLU()),
            nn.Linear(dim, 256),
        )

    def forward(self, h1: Tensor, h2: Tensor, targets: Targets) -> Tensor:
        """Return the mean loss of the batch, a scalar."""
        z1, z2 = self.projector(h1), self.projector(h2)
        return nt_xent(z1, z2, self.temperature, over_ranks=self.training)


class SimSiam(Objective):
    """Each view predicts the other's projection (Chen & He, CVPR 2021); without targets.

    The views pass the batch norms one after the other, each with statistics of its own.

    Args:
        dim: D.
        width: of the projection.
        bottleneck: of the predictor.
    """

    def __init__(self, dim: int, width: int = 2048, bottleneck: int = 512) -> None:
        super().__init__()
        self.projector = _layers(
            _normed(dim, width),
            _normed(width, width),
            nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width)),
        )
        self.predictor = _layers(_normed(width, bottleneck), nn.Linear(bottleneck, width))

    def forward(self, h1: Tensor, h2: Tensor, targets: Targets) -> Tensor:
        """Return the mean loss of the batch, a scalar in [-1, 1]."""
        z1, z2 = self.projector(h1), self.projector(h2)
        return simsiam(self.predictor(z1), self.predictor(z2), z1, z2)


class AugmentationPrediction(Objective):
    """Cross-entropy of saying which augmentations made a view (MLAP of MT-SLVR).

    Both views pass the head as one batch of 2B rows: its batch norms see them together.

    Args:
        dim: D.
        n_labels: K, the augmentations of the chain.
    """

    def __init__(self, dim: int, n_labels: int = 7) -> None:
        super().__init__()
        self.head = _layers(
            _normed(dim, 256), _normed(256, 64), _normed(64, 16), nn.Linear(16, n_labels)
        )

    def forward(self, h1: Tensor, h2: Tensor, targets: Targets) -> Tensor:
        """Return the mean loss over clips, views and labels, a scalar."""
        logits = self.head(torch.cat([h1, h2]))
        return F.binary_cross_entropy_with_logits(logits, targets.labels.repeat(2, 1))


class AugSelf(Objective):
    """Squared error of saying how the views' augmentation parameters differ.

    sum over augmentations of the mean of (tanh(phi(h1, h2)) - d)^2 over its parameters, both orders
    of the views (d changes sign) and the clips that it was applied to (AugSelf, Lee et al., NeurIPS
    2021, eq. 1 and 2). phi is one network for all augmentations where the paper has one for each;
    clips without the augmentation are left out where the paper has d = 0.

    Args:
        dim: D.
        columns: for each of the P parameters, the label column of its augmentation.
        width: of the hidden layers.
    """

    columns: Tensor
    weights: Tensor

    def __init__(self, dim: int, columns: Sequence[int], width: int = 512) -> None:
        super().__init__()
        self.head = _layers(
            _normed(2 * dim, width), _normed(width, width), nn.Linear(width, len(columns))
        )
        weights = torch.tensor([1 / columns.count(column) for column in columns])
        self.register_buffer("columns", torch.tensor(columns), persistent=False)
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, h1: Tensor, h2: Tensor, targets: Targets) -> Tensor:
        """Return the sum over augmentations of each one's mean loss, a scalar."""
        error = (self.predict(h1, h2) - self.signed(targets)).square()
        applied = self.applied(targets)
        # where none of the batch has the augmentation it costs nothing
        means = (error * applied).sum(0) / applied.sum(0).clamp(min=1)
        return means @ self.weights

    def predict(self, h1: Tensor, h2: Tensor) -> Tensor:
        """Return the (2B, P) differences that it takes the views for, then those of h2 and h1."""
        pairs = torch.cat([torch.cat([h1, h2], dim=1), torch.cat([h2, h1], dim=1)])
        return torch.tanh(self.head(pairs))

    def signed(self, targets: Targets) -> Tensor:
        """Return the (2B, P) differences that are right for `predict`."""
        return torch.cat([targets.differences, -targets.differences])

    def applied(self, targets: Targets) -> Tensor:
        """Return (2B, P) 1 where the augmentation was applied, so that the difference counts."""
        return targets.labels[:, self.columns].repeat(2, 1)


class Joint(Objective):
    """The sum of several objectives on one embedding.

    Args:
        parts: by name, which is theirs in the state dict.
    """

    def __init__(self, parts: Mapping[str, Objective]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)

    def forward(self, h1: Tensor, h2: Tensor, targets: Targets) -> Tensor:
        """Return the sum of their mean losses, a scalar."""
        return torch.stack([part(h1, h2, targets) for part in self.parts.values()]).sum()


def _layers(*layers: nn.Module) -> nn.Sequential:
    """Return the layers in order, named layer1, layer2, ... in the state dict."""
    return nn.Sequential(OrderedDict((f"layer{i}", layer) for i, layer in enumerate(layers, 1)))


def _normed(n_inputs: int, n_outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_inputs, n_outputs), nn.BatchNorm1d(n_outputs), nn.ReLU())
