"""Validation: the joint loss on clips held out of training, and what the embeddings are like.

Letters: B clips, V=2 views, D embedding, K labels.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score
from torch import Tensor

from model.multitask import MultiTask
from model.objectives import AugmentationPrediction
from pipeline.batching import Batching
from pipeline.frontend import FrontEnd
from pipeline.loader import ClipLoader
from pipeline.views import Views
from shards.clip import SAMPLE_RATE_HZ
from shards.read import ShardDirectory
from train.config import TrainConfig
from train.views import see

COLLAPSED = 0.1
"""Spread of the contrastive embeddings below which they count as collapsed (1: not at all)."""

STREAM = 2**32 - 1
"""Sets the seeds of the validation views apart from those of training steps."""

Batch = tuple[Tensor, Tensor, Tensor]
"""Features of both views (B, 3, F, L) and labels (B, K)."""


def validation_batches(
    config: TrainConfig,
    directory: ShardDirectory,
    views: Views,
    front_end: FrontEnd,
    device: torch.device,
) -> Iterator[Batch]:
    """The same batches at every validation: each clip of the validation split once.

    What does not fill a last batch is left out, since NT-Xent depends on the batch size.
    """
    assert config.validation_split is not None
    clips = directory.dataset(config.validation_split)
    size = min(config.batch, len(clips))
    batching = Batching(size, round(config.clip_s * SAMPLE_RATE_HZ), config.seed)
    batches = ClipLoader(clips, batching).batches()
    for i in range(len(clips) // size):
        pcm = next(batches).to(device)
        yield see(pcm, (config.seed, STREAM, i), views, front_end, config.normalise)


@torch.no_grad()
def validate(model: MultiTask, names: Iterable[str], batches: Iterable[Batch]) -> dict[str, float]:
    """Losses and measures of the model in eval mode, means over the batches.

    `total`, `contrastive`, `predictive`: the losses. `ap_<augmentation>`: average precision of
    telling whether the augmentation was applied. `alignment`: mean squared distance of the two
    views, `uniformity`: log of the mean Gaussian potential over pairs of clips (Wang & Isola, ICML
    2020, lower is better for both). `spread`: standard deviation of the normalised contrastive
    embeddings times sqrt(D), 1 where they fill the sphere, 0 where they have collapsed (Chen & He,
    CVPR 2021).

    Args:
        model: is left in the mode it was in.
        names: of the label columns.
        batches: the views to validate on.
    """
    was_training = model.training
    model.eval()
    sums: dict[str, float] = {}
    n_batches = 0
    scores: list[Tensor] = []
    truths: list[Tensor] = []
    for x1, x2, labels in batches:
        embeddings = model.embed(x1, x2)
        values = {
            name: float(loss)
            for name, loss in model.losses(embeddings, labels)._asdict().items()
            if loss is not None
        }
        if embeddings.contrastive is not None:
            values |= geometry(*embeddings.contrastive)
        if embeddings.predictive is not None and isinstance(
            model.predictive, AugmentationPrediction
        ):
            scores += [model.predictive.head(h).float().cpu() for h in embeddings.predictive]
            truths += [labels.cpu()] * 2
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + value
        n_batches += 1
    model.train(was_training)
    measures = {name: total / n_batches for name, total in sums.items()}
    if scores:
        score, truth = torch.cat(scores).numpy(), torch.cat(truths).numpy()
        for k, name in enumerate(names):
            if truth[:, k].any():
                measures[f"ap_{name}"] = float(average_precision_score(truth[:, k], score[:, k]))
    return measures


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
