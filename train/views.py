"""The view maker that a configuration asks for, and what the model sees of a batch.

Letters: B clips, T samples, F mel bins, L frames.
"""

from collections.abc import Sequence

from torch import Tensor

from slvr.command.named import loaded
from slvr.model.objectives.contract import Targets
from slvr.pipeline.frontends.mtslvr import MTSLVR
from slvr.pipeline.normalise import Normalisation, normalise, to_float
from slvr.pipeline.views.chains import Chains
from slvr.pipeline.views.contract import Waves
from slvr.shards.clip import SAMPLE_RATE_HZ
from slvr.train.config import TrainConfig


def build_views(config: TrainConfig) -> Chains:
    """The augmentation chains of a configuration, the published seven first.

    Raises:
        ValueError: An extra augmentation that cannot be made.
    """
    chosen = Chains.Config(extra=config.extra_augmentations, pitch_grid=config.pitch_grid)
    return Chains.build(chosen, Waves(round(config.clip_s * SAMPLE_RATE_HZ), load=loaded))


def see(
    pcm: Tensor,
    seed: Sequence[int],
    views: Chains,
    front_end: MTSLVR,
    how: Normalisation,
    rank: int = 0,
    world: int = 1,
) -> tuple[Tensor, Tensor, Targets]:
    """Features (B, 3, F, L) of two views of each clip, and what is known of them.

    Args:
        pcm: (B, T) int16 on the device.
        seed: of the augmentations.
        views: the view maker.
        front_end: on the device.
        how: waveform normalisation.
        rank: of this process, whose clips are a share of a batch of `world` times as many.
        world: processes; their number does not change the views of a clip.
    """
    waves = normalise(to_float(pcm), how)
    plan = views.sample(world * len(waves), seed, waves.device)
    plan = plan.rows(rank * len(waves), (rank + 1) * len(waves))
    x1, x2 = front_end(views.apply(waves, plan).flatten(0, 1)).chunk(2)
    return x1, x2, Targets(plan.labels, views.differences(plan))
