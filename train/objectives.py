"""The objectives that a configuration can name."""

from collections.abc import Callable

from slvr.model.objectives.contract import (
    AugmentationPrediction,
    AugSelf,
    Joint,
    Objective,
    SimCLR,
    SimSiam,
)
from slvr.pipeline.views.chains import Chains
from slvr.train.config import TrainConfig

OBJECTIVES: dict[str, Callable[[int, TrainConfig, Chains], Objective]] = {
    "simclr": lambda dim, config, views: SimCLR(dim, config.temperature),
    "simsiam": lambda dim, config, views: SimSiam(dim),
    "mlap": lambda dim, config, views: AugmentationPrediction(dim, len(views.augmentations)),
    "augself": lambda dim, config, views: AugSelf(dim, tuple(views.quantities.values())),
}
"""Name -> the untrained objective on embeddings of `dim` values of the views' clips."""


def build_objective(names: str, dim: int, config: TrainConfig, views: Chains) -> Objective | None:
    """The untrained objective that `names` asks for: one, several joined by +, or none."""
    if names == "none":
        return None
    parts = {name: OBJECTIVES[name](dim, config, views) for name in names.split("+")}
    return Joint(parts) if len(parts) > 1 else parts[names]
