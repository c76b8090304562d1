"""Learning from separated sound scenes (Fonseca et al., WASPAA 2021, arXiv 2105.02132).

Letters: V views, B clips, D embedding, H hidden values.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slvr.model.encoders.contract import Embedded
from slvr.model.gather import gathered, processes, rank
from slvr.model.objectives.contract import Given, Known, Objective
from slvr.model.objectives.geometry import geometry
from slvr.model.objectives.losses import nt_xent
from slvr.model.objectives.pairs import coincidence_loss


class Scenes(Objective):
    """Which views come from one clip: by their similarity, and by a network that looks at pairs.

    `similarity` is NT-Xent between projections of the views. `coincidence` tells pairs of one clip
    from all others, the first view first; see `coincidence_loss`. In training the other clips are
    those of all processes.

    Args:
        dim: D.
        temperature: of NT-Xent's softmax.
        width: H of both heads.
        projection: values that NT-Xent compares.
    """

    NAME = "scenes"
    terms = ("similarity", "coincidence")

    @dataclass(frozen=True)
    class Config:
        """NT-Xent between two views, and telling their pairs from all others."""

        temperature: float = 0.1
        """Temperature of the softmax, above 0."""
        width: int = 512
        """Hidden values of both heads, 1 or more."""
        projection: int = 128
        """Values of the projection that the similarity is taken of, 1 or more."""

        def __post_init__(self) -> None:
            fits = {
                "temperature": self.temperature > 0,
                "width": self.width >= 1,
                "projection": self.projection >= 1,
            }
            for name, fitting in fits.items():
                if not fitting:
                    raise ValueError(
                        f"--objectives.scenes.{name} {getattr(self, name)}: out of range; expected "
                        f"{'more than 0' if name == 'temperature' else '1 or more'}"
                    )

    def __init__(
        self, dim: int, temperature: float = 0.1, width: int = 512, projection: int = 128
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.similarity_head = _two_layers(dim, width, projection)
        self.coincidence_head = _two_layers(2 * dim, width, 1)

    @classmethod
    def build(cls, config: Config, given: Given) -> Scenes:
        """The untrained objective of a configuration."""
        return cls(given.dim, config.temperature, config.width, config.projection)

    def forward(self, h: Embedded, known: Known) -> dict[str, Tensor]:
        """`similarity`: the mean over clips and views; `coincidence`: over clips."""
        h1, h2 = h.clips[0], h.clips[1]
        z1, z2 = self.similarity_head(h1), self.similarity_head(h2)
        return {
            "similarity": nt_xent(z1, z2, self.temperature, over_ranks=self.training),
            "coincidence": self._coincidence(h1, h2),
        }

    def measures(self, h: Embedded, known: Known) -> dict[str, float]:
        """Alignment, uniformity and spread of the embeddings."""
        return geometry(*h.clips[:2])

    def _coincidence(self, h1: Tensor, h2: Tensor) -> Tensor:
        """U [h1; h2] = U1 h1 + U2 h2: B^2 pairs cost 2B products with a matrix, and B^2 sums."""
        first, _, last = self.coincidence_head.children()
        # float32 or better under autocast too: these are sums over B^2 pairs
        dtype = torch.promote_types(h1.dtype, torch.float32)
        with torch.autocast(h1.device.type, enabled=False):
            weight, bias = (first.get_parameter(name).to(dtype) for name in ("weight", "bias"))
            of_first, of_second = weight.chunk(2, dim=1)
            rows = torch.addmm(bias, h1.to(dtype), of_first.T)
            columns = h2.to(dtype) @ of_second.T
            over_ranks = self.training and processes() > 1
            columns = gathered(columns).flatten(0, 1) if over_ranks else columns
            weight, bias = (last.get_parameter(name).to(dtype)[0] for name in ("weight", "bias"))
            own = rank() * len(rows) if over_ranks else 0
            loss: Tensor = coincidence_loss(rows, columns, weight, bias, own)
            return loss


def _two_layers(n_inputs: int, width: int, n_outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_inputs, width), nn.ReLU(), nn.Linear(width, n_outputs))
