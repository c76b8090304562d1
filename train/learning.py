"""What a run learns, as far as the loop must know it; an encoder with its heads.

Letters: V views, B clips, T samples, C channels, F bands, L frames.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from slvr.model.checkpoint import Part
from slvr.model.learner import Learner
from slvr.pipeline.loaders.batching import Cut
from slvr.pipeline.stage import Stage
from slvr.shards.read import ShardDirectory
from slvr.train.build import build_model, build_stage
from slvr.train.compilation import compiled, compiled_front_end
from slvr.train.config import TrainConfig
from slvr.train.configure import EVERY_TASK
from slvr.train.init import initialise
from slvr.train.ranks import Ranks
from slvr.train.report import base_rates, count_parameters
from slvr.train.state import Saved
from slvr.train.statistics import fit
from slvr.train.validation import validate

Seed = int | Sequence[int]
Inputs = tuple[Any, ...]
"""Arguments of the network, beginning with what clips became."""


class Learning(Protocol):
    """A network, what becomes of clips before it, and what is known of it."""

    @property
    def model(self) -> nn.Module:
        """Takes `Inputs`, gives losses by name, `total` among them."""
        ...

    @property
    def columns(self) -> Sequence[str]:
        """Names of the losses."""
        ...

    @property
    def about(self) -> Mapping[str, Any]:
        """What a checkpoint says of it, plain values: what it is made of again."""
        ...

    @property
    def sizes(self) -> str:
        """Its parameters in words."""
        ...

    @property
    def found(self) -> str:
        """What `take` took, in words; empty where nothing was to be known."""
        ...

    def initialise(self, path: Path) -> str:
        """Takes weights of a file; a sentence on which."""
        ...

    def learnt_before(self, directory: ShardDirectory, saved: Saved | None) -> dict[str, Any]:
        """What has to be known of the training clips, plain values: from them, or as it was saved.

        One process looks for all.
        """
        ...

    def take(self, learnt: Mapping[str, Any]) -> None:
        """Uses what was learnt before."""
        ...

    def compiled(self, device: torch.device) -> nn.Module:
        """The network to train, with its step as compiled code."""
        ...

    def inputs(self, pcm: Tensor, seed: Seed, cut: Cut | None = None) -> Inputs:
        """What becomes of this process's clips (B, T) int16; all that is drawn is of the seed."""
        ...

    def begin(self, like: Tensor, seed: Seed) -> None:
        """Has what can be made of the next seed begun, for clips like these."""
        ...

    def finite(self, inputs: Inputs) -> Tensor:
        """(B,) whether what became of each clip is finite."""
        ...

    def validate(self, batches: Callable[[Any], Iterable[Any]]) -> dict[str, float]:
        """Losses and measures of one process alone; `batches(inputs)` gives the held-out ones."""
        ...

    def base_rates(self) -> dict[str, float]:
        """What guessing reaches in a measure, by what it is called there."""
        ...

    def show(self, out: Path) -> Path | None:
        """Writes a page on what was learnt, if it is of a kind to be looked at or heard."""
        ...


class EncoderLearning:
    """An encoder with its heads, on views of clips; a `Learning`."""

    def __init__(self, config: TrainConfig, device: torch.device, ranks: Ranks) -> None:
        parts, data = config.parts, config.data
        self._config, self._device = config, device
        self.found = ""
        self._stage: Stage = build_stage(
            *(parts, data.clip_s, data.normalise, device, ranks.rank, ranks.world),
            *(ShardDirectory.open(data.shards), data.short),
        )
        self.model: Learner = build_model(parts, self._stage)
        self.columns = self.model.columns
        encoder, whole = count_parameters(self.model)
        self.sizes = f"{encoder:,} in the encoder, {whole:,} with the heads"

    @property
    def about(self) -> Mapping[str, Any]:
        """Names and shapes of encoder and front end."""
        parts = self._config.parts
        encoder = Part(parts.encoder.name, self.model.encoder.shape())
        front_end = Part(parts.front_end.name, self._stage.front_end.shape())
        return {"encoder": encoder._asdict(), "front_end": front_end._asdict()}

    def initialise(self, path: Path) -> str:
        """As `slvr.train.init.initialise`."""
        return initialise(self.model, path)

    def learnt_before(self, directory: ShardDirectory, saved: Saved | None) -> dict[str, Any]:
        """The shape of a front end that has something to know of its training clips."""
        front_end = self._stage.front_end
        if not front_end.fit_clips:
            return {}
        if saved is not None:
            return dict(saved[1]["front_end"]["shape"])
        return fit(front_end, self._config.data, directory, self._device)

    def take(self, learnt: Mapping[str, Any]) -> None:
        """Makes the front end of that shape."""
        if not learnt:
            return
        front_end = type(self._stage.front_end)(**learnt).to(self._device)
        self._stage = dataclasses.replace(self._stage, front_end=front_end)
        self.found = front_end.found

    def compiled(self, device: torch.device) -> nn.Module:
        """The network, and on CUDA the front end too."""
        front_end = compiled_front_end(self._stage.front_end, device)
        self._stage = dataclasses.replace(self._stage, front_end=front_end)
        return compiled(self.model, device)

    def inputs(self, pcm: Tensor, seed: Seed, cut: Cut | None = None) -> Inputs:
        """Images (V, B, C, F, L) of views, and what is known of them."""
        return self._stage(pcm, seed, cut)

    def begin(self, like: Tensor, seed: Seed) -> None:
        """As `Stage.begin`."""
        self._stage.begin(like, seed)

    def finite(self, inputs: Inputs) -> Tensor:
        """Whether all images of a clip are."""
        views: Tensor = inputs[0]
        return views.isfinite().all(0).flatten(1).all(1)

    def validate(self, batches: Callable[[Any], Iterable[Any]]) -> dict[str, float]:
        """As `slvr.train.validation.validate`; the views are those of one process."""
        return validate(self.model, batches(dataclasses.replace(self._stage, rank=0, world=1)))

    def base_rates(self) -> dict[str, float]:
        """As `slvr.train.report.base_rates`."""
        return base_rates(self._config)

    def show(self, out: Path) -> None:
        """Nothing: embeddings make no sound."""


def leaves_weights_unused(config: TrainConfig) -> bool:
    """Whether some weights get no gradient: what a task that nobody trains has of its own."""
    tasks = {head.task for head in config.parts.objectives.values()}
    return len(tasks) == 1 and EVERY_TASK not in tasks
