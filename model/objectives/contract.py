"""What an objective is: a head on a task's embeddings, and the losses on what it says.

Letters: V views, B clips, L' frames, D embedding, K label columns, P parameters of augmentations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from slvr.model.encoders.contract import Embedded

Known = dict[str, Tensor]
"""Name -> (B, ...): what the view maker knows of the views of each clip."""


@dataclass(frozen=True)
class Given:
    """What the other parts of a model bring an objective.

    Attributes:
        dim: D of the task's embedding.
        columns: names of the K columns of `known["labels"]`.
        quantities: names of the P columns of `known["differences"]`, each with the column of
            `labels` that says where it counts.
    """

    dim: int
    columns: Sequence[str] = ()
    quantities: Mapping[str, int] = field(default_factory=dict)


class Objective(nn.Module, ABC):
    """`objective(h, known)`: embeddings of the views of each clip -> each term's loss.

    A new objective is one subclass and one line of the registry. Its class also has `NAME`,
    `Config` (a frozen dataclass, its flags) and `build`. The weights of its head are trained with
    the encoder and left behind when the encoder is used.

    Attributes:
        terms: names of the losses, in the order of the log's columns; terms that share weights are
            one objective.
        needs: what must be known of the views.
        uses_frames: whether it looks at frame embeddings.
        n_views: how many views it looks at, the first ones.
    """

    NAME: ClassVar[str]
    Config: ClassVar[type[Any]]
    terms: ClassVar[tuple[str, ...]]
    needs: ClassVar[frozenset[str]] = frozenset()
    uses_frames: ClassVar[bool] = False
    n_views: ClassVar[int] = 2

    @classmethod
    @abstractmethod
    def build(cls, config: Any, given: Given) -> Objective:
        """The untrained objective of a configuration."""

    @abstractmethod
    def forward(self, h: Embedded, known: Known) -> dict[str, Tensor]:
        """The mean loss of the batch for each of `terms`, scalars.

        Args:
            h: embeddings of the views; row i of every view comes from the same clip.
            known: what is known of the views, `needs` at least.
        """

    def measures(self, h: Embedded, known: Known) -> dict[str, float]:
        """What validation shows of the objective besides its losses, over all clips at once."""
        return {}


def layers(*parts: nn.Module) -> nn.Sequential:
    """The layers in order, named layer1, layer2, ... in the state dict."""
    return nn.Sequential(OrderedDict((f"layer{i}", layer) for i, layer in enumerate(parts, 1)))


def normed(n_inputs: int, n_outputs: int) -> nn.Sequential:
    """A linear layer with batch norm and ReLU behind it."""
    return nn.Sequential(nn.Linear(n_inputs, n_outputs), nn.BatchNorm1d(n_outputs), nn.ReLU())
