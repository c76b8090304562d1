"""MLAP: saying which augmentations made a view (MT-SLVR, Heggan et al., Interspeech 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from slvr.model.encoders.contract import Embedded
from slvr.model.objectives.contract import Given, Known, Objective, layers, normed


class MLAP(Objective):
    """Cross-entropy of saying which augmentations made a view.

    Both views pass the head as one batch of 2B rows: its batch norms see them together.

    Args:
        dim: D.
        columns: names of the augmentations, K.
    """

    NAME = "mlap"
    terms = ("bce",)
    needs = frozenset({"labels"})

    @dataclass(frozen=True)
    class Config:
        """Which augmentations were applied, each by itself."""

    def __init__(self, dim: int, columns: Sequence[str]) -> None:
        super().__init__()
        self.columns = tuple(columns)
        self.head = layers(
            normed(dim, 256), normed(256, 64), normed(64, 16), nn.Linear(16, len(columns))
        )

    @classmethod
    def build(cls, config: Config, given: Given) -> MLAP:
        """The untrained objective of a configuration."""
        return cls(given.dim, given.columns)

    def forward(self, h: Embedded, known: Known) -> dict[str, Tensor]:
        """`bce`: the mean over clips, views and labels."""
        labels = known["labels"].repeat(2, 1)
        return {"bce": F.binary_cross_entropy_with_logits(self._logits(h), labels)}

    def measures(self, h: Embedded, known: Known) -> dict[str, float]:
        """`ap_<augmentation>`: average precision of telling whether it was applied."""
        scores = self._logits(h).float().cpu().numpy()
        truth = known["labels"].repeat(2, 1).cpu().numpy()
        return {
            f"ap_{name}": float(average_precision_score(truth[:, k], scores[:, k]))
            for k, name in enumerate(self.columns)
            if truth[:, k].any()
        }

    def _logits(self, h: Embedded) -> Tensor:
        logits: Tensor = self.head(torch.cat([h.clips[0], h.clips[1]]))
        return logits
