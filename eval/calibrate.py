"""Batch norms of a network without training, calibrated on the clips that a model was trained on.

Without it they have seen nothing, and much of what a trained network seems to have learnt is that
its features are centred and scaled.

Letters: B clips, T samples.
"""

import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from slvr.command.record import RECORD, read_record
from slvr.eval.loaded import TrainedModel
from slvr.eval.pieces import pieces_a_batch
from slvr.model.encoders.contract import Encoder
from slvr.pipeline.frontends.contract import FrontEnd
from slvr.pipeline.loaders.batching import Batching
from slvr.pipeline.loaders.open import open_loader
from slvr.pipeline.normalise import Normalisation, normalise, to_float
from slvr.pipeline.short import Short
from slvr.shards.clip import SAMPLE_RATE_HZ
from slvr.shards.read import ShardDirectory

N_CLIPS = 512
"""Clips that batch norms are calibrated on: each has thousands of places, so more move nothing."""


@dataclass(frozen=True)
class TrainingClips:
    """What a model was trained on, as its batch norms saw it.

    Attributes:
        directory: the shards.
        split: one of their splits.
        clip_s: length of a clip in seconds.
        short: what fills shorter ones.
        normalisation: of the waveforms.
    """

    directory: ShardDirectory
    split: str
    clip_s: float
    short: Short
    normalisation: Normalisation

    @property
    def name(self) -> str:
        """Which they are: equal for the same clips, made alike."""
        about = [self.split, self.clip_s, self.short, self.normalisation]
        return json.dumps([self.directory.fingerprint, *about])


def training_clips(path: str, trained: TrainedModel, instead: str | None = None) -> TrainingClips:
    """The clips that the model of a checkpoint was trained on.

    Args:
        path: a run folder of `train`, a checkpoint in one, or a published model.
        trained: what the file says of it.
        instead: a shard directory to take in the place of its own.

    Raises:
        ValueError: they are not here: a sentence says why.
    """
    where, expected = instead, None
    if where is None:
        run = Path(path) if Path(path).is_dir() else Path(path).parent
        try:
            record = read_record(run)
            where = str(record["config"]["shards"])
            expected = record["datasets"].get(where.rstrip("/"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"no {RECORD} beside it says what it was trained on") from error
    try:
        directory = ShardDirectory.open(where)
    except (OSError, ValueError) as error:
        raise ValueError(f"its training shards {where} are not here") from error
    if expected not in (None, directory.fingerprint):
        raise ValueError(f"{where} is not what it was trained on any more")
    training = trained.config
    split = str(training.get("split", "train"))
    if split not in directory.splits:
        raise ValueError(f"{where} has no split {split!r}")
    return TrainingClips(
        directory,
        split,
        float(training.get("clip_s", 10.0)),
        training.get("short", "loop"),
        trained.normalisation,
    )


@torch.no_grad()
def calibrate(
    encoder: Encoder,
    front_end: FrontEnd,
    clips: TrainingClips,
    batch: int,
    seed: int,
    device: torch.device,
) -> Encoder:
    """The encoder in eval mode, the statistics of `N_CLIPS` training clips in its batch norms.

    Running statistics become the mean over the batches, the clips as they are, not augmented.

    Args:
        encoder: is changed.
        front_end: that the model was trained with.
        clips: what it was trained on.
        batch: clips of 5 s at once, fewer longer ones.
        seed: of which clips, and of their cuts.
        device: where to compute.
    """
    n_samples = round(clips.clip_s * SAMPLE_RATE_HZ)
    size = pieces_a_batch(batch, n_samples)
    batching = Batching(size, n_samples, seed, short=clips.short)
    loader, _ = open_loader(
        clips.directory, clips.split, batching, device, resident=False, workers=0
    )
    encoder, front_end = encoder.to(device).eval(), front_end.to(device).eval()
    norms = batch_norms(encoder)
    momenta = [norm.momentum for norm in norms]
    hooks = [norm.register_forward_pre_hook(_average) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    for pcm in (each.pcm for each in islice(loader.batches(), -(-N_CLIPS // size))):
        images = front_end(normalise(to_float(pcm.to(device)), clips.normalisation))
        for task in encoder.tasks:
            encoder(images, task)
    for norm, momentum, hook in zip(norms, momenta, hooks, strict=True):
        hook.remove()
        norm.momentum = momentum
    return encoder.eval()


def batch_norms(encoder: Encoder) -> list[_BatchNorm]:
    """The batch norms with running statistics in an encoder."""
    norms = (module for module in encoder.modules() if isinstance(module, _BatchNorm))
    return [norm for norm in norms if norm.track_running_stats]


def _average(norm: nn.Module, _: Any) -> None:
    """Makes the running statistics those of all batches alike, before each."""
    assert isinstance(norm, _BatchNorm)
    assert norm.num_batches_tracked is not None
    norm.momentum = 1 / (int(norm.num_batches_tracked) + 1)
