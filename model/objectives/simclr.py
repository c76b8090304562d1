"""SimCLR: a clip's views find each other among all others (Chen et al., ICML 2020)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from slvr.model.encoders.contract import Embedded
from slvr.model.objectives.contract import Given, Known, Objective, layers
from slvr.model.objectives.geometry import geometry
from slvr.model.objectives.losses import nt_xent


class SimCLR(Objective):
    """NT-Xent between the projections of two views; what is known of them does not matter.

    In training the negatives are the clips of all processes.

    Args:
        dim: D.
        temperature: of the softmax; 0.07 in MT-SLVR.
    """

    NAME = "simclr"
    terms = ("nt_xent",)

    @dataclass(frozen=True)
    class Config:
        """NT-Xent between the projections of two views."""

        temperature: float = 0.07
        """Temperature of the softmax, above 0."""

        def __post_init__(self) -> None:
            if not self.temperature > 0:
                raise ValueError(
                    f"--objectives.simclr.temperature {self.temperature}: out of range; expected "
                    "more than 0"
                )

    def __init__(self, dim: int, temperature: float = 0.07) -> None:
        super().__init__()
        self.temperature = temperature
        self.projector = layers(nn.Sequential(nn.Linear(dim, dim), nn.ReLU()), nn.Linear(dim, 256))

    @classmethod
    def build(cls, config: Config, given: Given) -> SimCLR:
        """The untrained objective of a configuration."""
        return cls(given.dim, config.temperature)

    def forward(self, h: Embedded, known: Known) -> dict[str, Tensor]:
        """`nt_xent`: the mean over clips and views."""
        z1, z2 = (self.projector(view) for view in h.clips[:2])
        return {"nt_xent": nt_xent(z1, z2, self.temperature, over_ranks=self.training)}

    def measures(self, h: Embedded, known: Known) -> dict[str, float]:
        """Alignment, uniformity and spread of the embeddings."""
        return geometry(*h.clips[:2])
