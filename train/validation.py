"""Validation: the joint loss on clips held out of training, and what the embeddings are like.

Letters: V views, B clips, C channels, F bands, L frames.
"""

import copy
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from slvr.model.encoders.contract import Embedded
from slvr.model.learner import Learner
from slvr.pipeline.loaders.batching import Batching
from slvr.pipeline.loaders.open import open_loader
from slvr.pipeline.stage import Stage
from slvr.pipeline.views.contract import Known
from slvr.shards.clip import SAMPLE_RATE_HZ
from slvr.shards.common import common_keys
from slvr.shards.files import is_remote
from slvr.shards.read import ShardDirectory
from slvr.shards.silence import silent_keys
from slvr.train.config import Data

COLLAPSED = 0.1
"""Spread of embeddings below which they count as collapsed (1: not at all)."""

STREAM = 2**32 - 1
"""Sets the seeds of the validation views apart from those of training steps."""

Keep = Callable[[str], bool]
"""Whether a clip is taken, by its key."""


class Validation:
    """The clips held out of training, and the same views of them at every validation.

    Attributes:
        said: how many clips they are and where they come from, in words.
    """

    def __init__(self, data: Data, directory: ShardDirectory, device: torch.device) -> None:
        """Opens the validation split, or the part of the training split that --holdout asks for.

        Raises:
            ValueError: no such split, too few clips, or a part of shards that are streamed.
        """
        split = data.validation_split or data.split
        keys = directory.clips(split)["key"]
        keep = both(
            None if data.holdout is None else partial(is_held_out, data=data),
            in_common(data, directory, split),
            sounding(data, directory, split),
        )
        self._n = len(keys) if keep is None else sum(map(keep, keys))
        if self._n < 2:
            raise ValueError(
                f"{directory.location}: {self._n} of {len(keys)} clips of split {split!r} to "
                "validate on; expected 2 or more: give a larger --holdout, or another split"
            )
        self._seed, self._device = data.seed, device
        self._size = min(data.batch, self._n)
        n_samples = round(data.clip_s * SAMPLE_RATE_HZ)
        batching = Batching(self._size, n_samples, data.seed, short=data.short)
        resident: bool | Literal["auto"] = data.resident and "auto"
        self._loader, _ = open_loader(
            directory, split, batching, device, resident=resident, workers=0, keep=keep
        )
        self.said = f"validation on {self._n:,} of {len(keys):,} clips of split {split!r}"

    def batches(self, stage: Stage) -> Iterator[tuple[Tensor, Known]]:
        """Each clip once, in batches of the training's size, or in one where there are fewer.

        Images (V, B, C, F, L), and what is known of them. What does not fill a last batch is left
        out, since NT-Xent depends on the batch size.
        """
        batches = self._loader.batches()
        for i in range(self._n // self._size):
            batch = next(batches)
            yield stage(batch.pcm.to(self._device), (self._seed, STREAM, i), batch.cut)


def open_validation(
    data: Data, directory: ShardDirectory, device: torch.device
) -> Validation | None:
    """What a run validates on, if it does."""
    if data.validation_split is None and data.holdout is None:
        return None
    return Validation(data, directory, device)


def trained_on(data: Data, directory: ShardDirectory) -> Keep | None:
    """Whether a clip of the training split is trained on, by its key; None: all are."""
    free = None if data.holdout is None else lambda key: not is_held_out(key, data)
    shared = in_common(data, directory, data.split)
    return both(free, shared, sounding(data, directory, data.split))


def in_common(data: Data, directory: ShardDirectory, split: str) -> Keep | None:
    """Whether --only has a clip too, by the hash of its samples; None: nothing is asked for.

    Raises:
        ValueError: no such table, or no clip in common.
    """
    return None if data.only is None else common_keys(directory, split, data.only).__contains__


def sounding(data: Data, directory: ShardDirectory, split: str) -> Keep | None:
    """Whether a clip is anything but silence; None: all are, or none can be left out."""
    if is_remote(directory.location) or data.loader == "dali":
        return None
    silent = silent_keys(directory.clips(split))
    return (lambda key: key not in silent) if silent else None


def both(*each: Keep | None) -> Keep | None:
    """What all of them take."""
    keeps = [keep for keep in each if keep is not None]
    return (lambda key: all(keep(key) for keep in keeps)) if keeps else None


def is_held_out(key: str, data: Data) -> bool:
    """Whether --holdout keeps a clip of the training split for validation.

    A function of key, seed and share alone: it stays so when other clips come or go.
    """
    assert data.holdout is not None
    digest = hashlib.sha256(f"{data.seed} {key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < data.holdout * 2**64


@torch.no_grad()
def validate(model: Learner, batches: Iterable[tuple[Tensor, Known]]) -> dict[str, float]:
    """Losses and measures of the model in eval mode.

    The losses, under the log's names, are means over the batches; the measures, as
    `objective.measure`, are of all clips together: see `Objective.measures` of each.

    Args:
        model: a copy of it is measured, in float32 whatever its precision.
        batches: the views to validate on, and what is known of them.
    """
    model = copy.deepcopy(model).float().eval()
    sums = dict.fromkeys(model.columns, 0.0)
    embedded: list[dict[str, Embedded]] = []
    knowns: list[Known] = []
    for views, known in batches:
        h = model.embed(views)
        for name, loss in model.losses(h, known).items():
            sums[name] += float(loss)
        embedded.append(h)
        knowns.append(known)
    together = {task: _joined([h[task] for h in embedded]) for task in model.trained_tasks}
    known = {name: torch.cat([each[name] for each in knowns]) for name in knowns[0]}
    losses = {name: total / len(embedded) for name, total in sums.items()}
    return losses | model.measures(together, known)


def _joined(parts: list[Embedded]) -> Embedded:
    """The embeddings of several batches as one."""
    frames = [part.frames for part in parts if part.frames is not None]
    return Embedded(
        torch.cat([part.clips for part in parts], dim=1),
        torch.cat(frames, dim=1) if frames else None,
    )


@dataclass
class EarlyStop:
    """Counts validations without progress.

    Attributes:
        best: lowest joint loss so far.
        waited: validations since the loss last fell by more than `delta`.
    """

    best: float = math.inf
    waited: int = 0

    def update(self, loss: float, delta: float) -> bool:
        """Takes in a validation; returns whether the model is the best so far."""
        if loss < self.best - delta:
            self.best, self.waited = loss, 0
            return True
        self.waited += 1
        return False
