"""Validation: the joint loss on clips held out of training, and what the embeddings are like.

Letters: B clips, V=2 views, D embedding, K labels, P parameters of augmentations.
"""

import copy
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from slvr.model.multitask import MultiTask
from slvr.model.objectives.contract import AugmentationPrediction, AugSelf, Joint, Targets
from slvr.pipeline.frontends.mtslvr import MTSLVR
from slvr.pipeline.loaders.batching import Batching
from slvr.pipeline.loaders.open import open_loader
from slvr.pipeline.views.chains import Chains
from slvr.shards.clip import SAMPLE_RATE_HZ
from slvr.shards.read import ShardDirectory
from slvr.train.config import TrainConfig
from slvr.train.views import see

COLLAPSED = 0.1
"""Spread of the contrastive embeddings below which they count as collapsed (1: not at all)."""

STREAM = 2**32 - 1
"""Sets the seeds of the validation views apart from those of training steps."""

Batch = tuple[Tensor, Tensor, Targets]
"""Features of both views (B, 3, F, L), and what is known of them."""


class Validation:
    """The clips held out of training, and the same views of them at every validation.

    Attributes:
        said: how many clips they are and where they come from, in words.
    """

    def __init__(
        self, config: TrainConfig, directory: ShardDirectory, device: torch.device
    ) -> None:
        """Opens the validation split, or the part of the training split that --holdout asks for.

        Raises:
            ValueError: no such split, too few clips, or a part of shards that are streamed.
        """
        split = config.validation_split or config.split
        keys = directory.clips(split)["key"]
        keep = None if config.holdout is None else partial(is_held_out, config=config)
        self._n = len(keys) if keep is None else sum(map(keep, keys))
        if self._n < 2:
            raise ValueError(
                f"{directory.location}: {self._n} of {len(keys)} clips of split {split!r} to "
                "validate on; expected 2 or more: give a larger --holdout, or another split"
            )
        self._config, self._device = config, device
        self._size = min(config.batch, self._n)
        batching = Batching(self._size, round(config.clip_s * SAMPLE_RATE_HZ), config.seed)
        resident: bool | Literal["auto"] = config.resident and "auto"
        self._loader, _ = open_loader(
            directory, split, batching, device, resident=resident, workers=0, keep=keep
        )
        self.said = f"validation on {self._n:,} of {len(keys):,} clips of split {split!r}"

    def batches(self, views: Chains, front_end: MTSLVR) -> Iterator[Batch]:
        """Each clip once, in batches of the training's size, or in one where there are fewer.

        What does not fill a last batch is left out, since NT-Xent depends on the batch size.
        """
        batches = self._loader.batches()
        for i in range(self._n // self._size):
            pcm = next(batches).pcm.to(self._device)
            seed = (self._config.seed, STREAM, i)
            yield see(pcm, seed, views, front_end, self._config.normalise)


def open_validation(
    config: TrainConfig, directory: ShardDirectory, device: torch.device
) -> Validation | None:
    """What a run validates on, if it does."""
    if config.validation_split is None and config.holdout is None:
        return None
    return Validation(config, directory, device)


def trained_on(config: TrainConfig) -> Callable[[str], bool] | None:
    """Whether a clip of the training split is trained on, by its key; None: all are."""
    return None if config.holdout is None else lambda key: not is_held_out(key, config)


def is_held_out(key: str, config: TrainConfig) -> bool:
    """Whether --holdout keeps a clip of the training split for validation.

    A function of key, seed and share alone: it stays so when other clips come or go.
    """
    assert config.holdout is not None
    digest = hashlib.sha256(f"{config.seed} {key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < config.holdout * 2**64


@torch.no_grad()
def validate(model: MultiTask, views: Chains, batches: Iterable[Batch]) -> dict[str, float]:
    """Losses and measures of the model in eval mode, means over the batches.

    `total`, `contrastive`, `predictive`: the losses. `ap_<augmentation>`: average precision of
    telling whether the augmentation was applied. `r2_<augmentation>.<parameter>`: explained
    share of its squared difference between the views, 1 at best, 0 for no opinion. `mlap`,
    `augself`: their losses where both are trained. `alignment`: mean squared distance of the two
    views, `uniformity`: log of the mean Gaussian potential over pairs of clips (Wang & Isola, ICML
    2020, lower is better for both). `spread`: standard deviation of the normalised contrastive
    embeddings times sqrt(D), 1 where they fill the sphere, 0 where they have collapsed (Chen & He,
    CVPR 2021).

    Args:
        model: a copy of it is measured, in float32 whatever its precision.
        views: that the batches were made with.
        batches: the views to validate on.
    """
    model = copy.deepcopy(model).float().eval()
    sums: dict[str, float] = {}
    n_batches = 0
    predictive: list[tuple[Tensor, ...]] = []
    for x1, x2, targets in batches:
        embeddings = model.embed(x1, x2)
        values = {
            name: float(loss)
            for name, loss in model.losses(embeddings, targets)._asdict().items()
            if loss is not None
        }
        if embeddings.contrastive is not None:
            values |= geometry(*embeddings.contrastive)
        if embeddings.predictive is not None:
            predictive.append((*embeddings.predictive, *targets))
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + value
        n_batches += 1
    measures = {name: total / n_batches for name, total in sums.items()}
    if predictive and model.predictive is not None:
        h1, h2, *known = map(torch.cat, zip(*predictive, strict=True))
        measures |= skill(model.predictive, h1, h2, Targets(*known), views)
    return measures


def skill(
    objective: nn.Module, h1: Tensor, h2: Tensor, targets: Targets, views: Chains
) -> dict[str, float]:
    """What a predictive objective can tell from embeddings (B, D) of two views; see `validate`."""
    if isinstance(objective, Joint):
        found: dict[str, float] = {}
        for name, part in objective.parts.items():
            found |= {name: float(part(h1, h2, targets)), **skill(part, h1, h2, targets, views)}
        return found
    if isinstance(objective, AugmentationPrediction):
        scores = objective.head(torch.cat([h1, h2])).float().cpu().numpy()
        truth = targets.labels.repeat(2, 1).cpu().numpy()
        return {
            f"ap_{name}": float(average_precision_score(truth[:, k], scores[:, k]))
            for k, name in enumerate(views.augmentations)
            if truth[:, k].any()
        }
    if isinstance(objective, AugSelf):
        right, applied = objective.signed(targets), objective.applied(targets)
        left = ((right - objective.predict(h1, h2)).square() * applied).sum(0)
        at_first = (right.square() * applied).sum(0)
        columns = zip(views.quantities, left.tolist(), at_first.tolist(), strict=True)
        return {f"r2_{name}": 1 - rest / whole for name, rest, whole in columns if whole}
    return {}


def geometry(h1: Tensor, h2: Tensor) -> dict[str, float]:
    """Alignment, uniformity and spread of the embeddings (B, D) of two views; see `validate`."""
    z1, z2 = F.normalize(h1.float(), dim=1), F.normalize(h2.float(), dim=1)
    potential = torch.pdist(z1).square().mul(-2).exp().mean().log()
    return {
        "alignment": float((z1 - z2).square().sum(1).mean()),
        "uniformity": float(potential),
        "spread": float(z1.std(0, correction=0).mean() * math.sqrt(z1.shape[1])),
    }


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
