"""SimSiam: each view predicts the other's projection, without negatives (Chen & He, CVPR 2021)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from slvr.model.encoders.contract import Embedded
from slvr.model.objectives.contract import Given, Known, Objective, layers, normed
from slvr.model.objectives.geometry import geometry
from slvr.model.objectives.losses import simsiam


class SimSiam(Objective):
    """Negative cosine between predictions and projections; what is known does not matter.

    The views pass the batch norms one after the other, each with statistics of its own.

    Args:
        dim: D.
        width: of the projection.
        bottleneck: of the predictor.
    """

    NAME = "simsiam"
    terms = ("cosine",)

    @dataclass(frozen=True)
    class Config:
        """Each view predicts the other's projection."""

        width: int = 2048
        """Values of the projection, 1 or more."""
        bottleneck: int = 512
        """Hidden values of the predictor, 1 or more."""

        def __post_init__(self) -> None:
            for name in ("width", "bottleneck"):
                value = getattr(self, name)
                if value < 1:
                    raise ValueError(
                        f"--objectives.simsiam.{name} {value}: out of range; expected 1 or more"
                    )

    def __init__(self, dim: int, width: int = 2048, bottleneck: int = 512) -> None:
        super().__init__()
        self.projector = layers(
            normed(dim, width),
            normed(width, width),
            nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width)),
        )
        self.predictor = layers(normed(width, bottleneck), nn.Linear(bottleneck, width))

    @classmethod
    def build(cls, config: Config, given: Given) -> SimSiam:
        """The untrained objective of a configuration."""
        return cls(given.dim, config.width, config.bottleneck)

    def forward(self, h: Embedded, known: Known) -> dict[str, Tensor]:
        """`cosine`: the mean over the clips, in [-1, 1]."""
        z1, z2 = (self.projector(view) for view in h.clips[:2])
        return {"cosine": simsiam(self.predictor(z1), self.predictor(z2), z1, z2)}

    def measures(self, h: Embedded, known: Known) -> dict[str, float]:
        """Alignment, uniformity and spread of the embeddings."""
        return geometry(*h.clips[:2])
