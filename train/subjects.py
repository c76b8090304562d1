"""What there is to learn: which `Learning` a configuration asks for."""

import torch

from slvr.train.config import RunConfig, SeparatorConfig, TrainConfig
from slvr.train.learning import EncoderLearning, Learning
from slvr.train.learning import leaves_weights_unused as encoder_leaves_unused
from slvr.train.ranks import Ranks


def open_learning(config: RunConfig, device: torch.device, ranks: Ranks) -> Learning:
    """What a run learns, untrained.

    Raises:
        ValueError: parts that do not fit each other, or the shards.
    """
    if isinstance(config, SeparatorConfig):
        from slvr.train.separation import SeparatorLearning  # noqa: PLC0415

        return SeparatorLearning(config, device, ranks)
    assert isinstance(config, TrainConfig)
    return EncoderLearning(config, device, ranks)


def leaves_weights_unused(config: RunConfig) -> bool:
    """Whether some weights get no gradient, which several processes must know."""
    return isinstance(config, TrainConfig) and encoder_leaves_unused(config)
