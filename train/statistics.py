"""What a front end has to know of the training clips, found once before training."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from slvr.pipeline.frontends.contract import FrontEnd
from slvr.pipeline.loaders.batching import Batching
from slvr.pipeline.loaders.open import open_loader
from slvr.pipeline.normalise import normalise, to_float
from slvr.shards.clip import SAMPLE_RATE_HZ
from slvr.shards.read import ShardDirectory
from slvr.train.config import Data
from slvr.train.validation import trained_on


def fit(
    front_end: FrontEnd, data: Data, directory: ShardDirectory, device: torch.device
) -> dict[str, Any]:
    """The shape of the front end once it has seen its training clips, as they are, not augmented.

    The clips are the first ones of an order of their own: a function of the seed alone.
    """
    front_end.fit(_waves(front_end.fit_clips, data, directory, device))
    return front_end.shape()


@torch.no_grad()
def _waves(
    n_clips: int, data: Data, directory: ShardDirectory, device: torch.device
) -> Iterator[Tensor]:
    """Batches (B, T) of normalised clips that are trained on."""
    keep = trained_on(data, directory)
    keys = directory.clips(data.split)["key"]
    n_clips = min(n_clips, len(keys) if keep is None else sum(map(keep, keys)))
    size = max(1, min(data.batch, n_clips))
    batching = Batching(size, round(data.clip_s * SAMPLE_RATE_HZ), data.seed, short=data.short)
    loader, _ = open_loader(
        directory, data.split, batching, device, resident=False, workers=0, keep=keep
    )
    for batch in islice(loader.batches(), n_clips // size):
        yield normalise(to_float(batch.pcm.to(device)), data.normalise)
