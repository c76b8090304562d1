"""AugSelf: saying how the views' augmentation parameters differ (Lee et al., NeurIPS 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slvr.model.encoders.contract import Embedded
from slvr.model.objectives.contract import Given, Known, Objective, layers, normed


class AugSelf(Objective):
    """Squared error of saying how the views' augmentation parameters differ.

    sum over augmentations of the mean of (tanh(phi(h1, h2)) - d)^2 over its parameters, both orders
    of the views (d changes sign) and the clips that it was applied to (AugSelf, Lee et al., NeurIPS
    2021, eq. 1 and 2). phi is one network for all augmentations where the paper has one for each;
    clips without the augmentation are left out where the paper has d = 0.

    Args:
        dim: D.
        quantities: names of the P parameters, each with the label column of its augmentation.
        width: of the hidden layers.
    """

    NAME = "augself"
    terms = ("mse",)
    needs = frozenset({"labels", "differences"})

    columns: Tensor
    weights: Tensor

    @dataclass(frozen=True)
    class Config:
        """How the parameters of each augmentation differ between the views."""

        width: int = 512
        """Values of the hidden layers, 1 or more."""

        def __post_init__(self) -> None:
            if self.width < 1:
                raise ValueError(
                    f"--objectives.augself.width {self.width}: out of range; expected 1 or more"
                )

    def __init__(self, dim: int, quantities: Mapping[str, int], width: int = 512) -> None:
        super().__init__()
        self.names, columns = tuple(quantities), list(quantities.values())
        self.head = layers(
            normed(2 * dim, width), normed(width, width), nn.Linear(width, len(columns))
        )
        weights = torch.tensor([1 / columns.count(column) for column in columns])
        self.register_buffer("columns", torch.tensor(columns), persistent=False)
        self.register_buffer("weights", weights, persistent=False)

    @classmethod
    def build(cls, config: Config, given: Given) -> AugSelf:
        """The untrained objective of a configuration."""
        return cls(given.dim, given.quantities, config.width)

    def forward(self, h: Embedded, known: Known) -> dict[str, Tensor]:
        """`mse`: the sum over augmentations of each one's mean."""
        right, applied = self._right(known)
        error = (self._predicted(h) - right).square()
        # where none of the batch has the augmentation it costs nothing
        means = (error * applied).sum(0) / applied.sum(0).clamp(min=1)
        return {"mse": means @ self.weights}

    def measures(self, h: Embedded, known: Known) -> dict[str, float]:
        """`r2_<augmentation>.<parameter>`: explained share of its squared difference.

        1 at best, 0 for no opinion.
        """
        right, applied = self._right(known)
        left = ((right - self._predicted(h)).square() * applied).sum(0)
        at_first = (right.square() * applied).sum(0)
        columns = zip(self.names, left.tolist(), at_first.tolist(), strict=True)
        return {f"r2_{name}": 1 - rest / whole for name, rest, whole in columns if whole}

    def _predicted(self, h: Embedded) -> Tensor:
        """(2B, P): the differences that it takes the views for, then those of the views swapped."""
        h1, h2 = h.clips[0], h.clips[1]
        pairs = torch.cat([torch.cat([h1, h2], dim=1), torch.cat([h2, h1], dim=1)])
        return torch.tanh(self.head(pairs))

    def _right(self, known: Known) -> tuple[Tensor, Tensor]:
        """(2B, P) differences, and 1 where the augmentation was applied, so that they count."""
        differences = known["differences"]
        applied = known["labels"][:, self.columns].repeat(2, 1)
        return torch.cat([differences, -differences]), applied
