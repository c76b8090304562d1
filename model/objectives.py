"""What a task's embeddings are trained for: a head and the loss on what it says.

A new objective is one subclass of `Objective`. Shapes: B clips, D embedding, K labels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.losses import nt_xent, simsiam


class Objective(nn.Module, ABC):
    """`objective(h1, h2, labels)`: embeddings of two views of each clip -> scalar loss.

    `model.multitask.MultiTask` pairs an objective with a task of the encoder. The weights of its
    head are trained with the encoder and left behind when the encoder is used.
    """

    @abstractmethod
    def forward(self, h1: Tensor, h2: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of the batch, a scalar.

        Args:
            h1: (B, D) embeddings of the first view.
            h2: (B, D) embeddings of the second; row i of both comes from the same clip.
            labels: (B, K) float, 1 where the augmentation was applied to the clip (both views).
        """


class SimCLR(Objective):
    """NT-Xent between the projections of the views (Chen et al., ICML 2020); labels are unused.

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

    def forward(self, h1: Tensor, h2: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of the batch, a scalar."""
        return nt_xent(self.projector(h1), self.projector(h2), self.temperature)


class SimSiam(Objective):
    """Each view predicts the other's projection (Chen & He, CVPR 2021); labels are unused.

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

    def forward(self, h1: Tensor, h2: Tensor, labels: Tensor) -> Tensor:
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

    def forward(self, h1: Tensor, h2: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss over clips, views and labels, a scalar."""
        logits = self.head(torch.cat([h1, h2]))
        return F.binary_cross_entropy_with_logits(logits, torch.cat([labels, labels]))


def _layers(*layers: nn.Module) -> nn.Sequential:
    """Return the layers in order, named layer1, layer2, ... in the state dict."""
    return nn.Sequential(OrderedDict((f"layer{i}", layer) for i, layer in enumerate(layers, 1)))


def _normed(n_inputs: int, n_outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_inputs, n_outputs), nn.BatchNorm1d(n_outputs), nn.ReLU())
