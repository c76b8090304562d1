"""The seven augmentations of MT-SLVR (arXiv 2305.17191), in the order of their label columns."""

from slvr.pipeline.augmentations.contract import Augmentation, Comparable, Params
from slvr.pipeline.augmentations.noise import ColouredNoise
from slvr.pipeline.augmentations.spectral import PitchShift, TimeStretch
from slvr.pipeline.augmentations.temporal import Fade, TimeMasking, TimeShift

DEFAULT: tuple[Augmentation, ...] = (
    PitchShift(),
    Fade(),
    ColouredNoise("white_noise", f_decay=(-1, 0)),
    ColouredNoise("mixed_noise", f_decay=(-2, 2)),
    TimeStretch(),
    TimeMasking(),
    TimeShift(),
)

__all__ = [
    "DEFAULT",
    "Augmentation",
    "ColouredNoise",
    "Comparable",
    "Fade",
    "Params",
    "PitchShift",
    "TimeMasking",
    "TimeShift",
    "TimeStretch",
]
