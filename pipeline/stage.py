"""The GPU-side stage: a batch of clips becomes views, their images, and what is known of them.

Letters: B clips, T samples, V views, C channels, F bands, L frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from slvr.pipeline.frontends.contract import FrontEnd
from slvr.pipeline.normalise import Normalisation, normalise, to_float
from slvr.pipeline.views.contract import Known, ViewMaker


@dataclass(frozen=True)
class Stage:
    """`stage(pcm, seed)`: (B, T) int16 -> images of V views of each clip, and what is known.

    Attributes:
        views: the view maker.
        front_end: on the device of the clips.
        normalisation: of the waveforms.
        rank: of this process, whose clips are a share of a batch of `world` times as many.
        world: processes; their number does not change the views of a clip.
    """

    views: ViewMaker
    front_end: FrontEnd
    normalisation: Normalisation = "published"
    rank: int = 0
    world: int = 1

    def __call__(self, pcm: Tensor, seed: int | Sequence[int]) -> tuple[Tensor, Known]:
        """(V, B, C, F, L) float32, and (B, ...) by name; all that is drawn comes from the seed."""
        waves = normalise(to_float(pcm), self.normalisation)
        n = len(waves)
        plan = self.views.sample(self.world * n, seed, waves.device)
        plan = plan.rows(self.rank * n, (self.rank + 1) * n)
        made = self.views.apply(waves, plan)
        images = self.front_end(made.flatten(0, 1)).unflatten(0, made.shape[:2])
        return self.views.on_features(images, plan), self.views.known(plan)
