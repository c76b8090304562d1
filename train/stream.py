"""The batches of a run."""

import sys
from collections.abc import Iterable, Iterator

from lightning_fabric import Fabric
from torch import Tensor

from command.progress import track
from pipeline.batching import Batching
from pipeline.feed import open_loader
from pipeline.loader import on_device
from pipeline.resident import no_watch
from shards.clip import SAMPLE_RATE_HZ
from shards.read import ShardDirectory
from train.config import TrainConfig


def open_stream(
    config: TrainConfig, directory: ShardDirectory, fabric: Fabric, first_step: int
) -> Iterator[Tensor]:
    """This process's batches (B, T) int16 on its device; says on stderr where they come from.

    Raises:
        ValueError: no clips, or options that exclude each other.
    """
    batching = Batching(
        config.batch // fabric.world_size,
        round(config.clip_s * SAMPLE_RATE_HZ),
        config.seed,
        fabric.global_rank,
        fabric.world_size,
    )
    loader, why = open_loader(
        directory,
        config.split,
        batching,
        fabric.device,
        loader=config.loader,
        resident=config.resident,
        workers=config.workers,
        watch=_show_decoding if fabric.is_global_zero else no_watch,
    )
    if fabric.is_global_zero:
        sys.stderr.write(f"train: {why}\n")
    return on_device(loader.batches(first_step), fabric.device)


def _show_decoding(clips: Iterable[None], n: int) -> Iterator[None]:
    with track("decode", n, "clips") as progress:
        for clip in clips:
            yield clip
            progress.advance()
