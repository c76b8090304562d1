"""The view maker that a configuration asks for."""

from pipeline.augmentations import DEFAULT, PitchShift
from pipeline.torch_audiomentations import augmentation_from
from pipeline.views import Views
from train.config import TrainConfig


def build_views(config: TrainConfig) -> Views:
    """The augmentation chains of a configuration, the published seven first.

    Raises:
        ValueError: An extra augmentation that cannot be made.
    """
    extra = map(augmentation_from, config.extra_augmentations)
    return Views((PitchShift(config.pitch_grid), *DEFAULT[1:], *extra))
