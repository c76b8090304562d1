"""The batches of a run."""

import sys
from collections.abc import Iterable, Iterator

from lightning_fabric import Fabric
from torch import Tensor

from slvr.command.progress import track
from slvr.pipeline.loaders.batching import Batching, drawn_clips
from slvr.pipeline.loaders.by_clip import ClipLoader, on_device
from slvr.pipeline.loaders.open import open_loader
from slvr.pipeline.loaders.resident import Resident, no_watch
from slvr.shards.clip import SAMPLE_RATE_HZ
from slvr.shards.read import ShardDirectory
from slvr.train.config import TrainConfig
from slvr.train.validation import trained_on


class Stream:
    """This process's batches, and which clips they are."""

    def __init__(self, config: TrainConfig, directory: ShardDirectory, fabric: Fabric) -> None:
        """Opens the loader; rank 0 says on stderr which one, and why.

        Raises:
            ValueError: no clips, or options that exclude each other.
        """
        keep = trained_on(config)
        self._batching = Batching(
            config.batch // fabric.world_size,
            round(config.clip_s * SAMPLE_RATE_HZ),
            config.seed,
            fabric.global_rank,
            fabric.world_size,
        )
        self._loader, why = open_loader(
            directory,
            config.split,
            self._batching,
            fabric.device,
            loader=config.loader,
            resident=config.resident,
            workers=config.workers,
            keep=keep,
            watch=_show_decoding if fabric.is_global_zero else no_watch,
        )
        self._device = fabric.device
        self._keys = [key for key in directory.clips(config.split)["key"] if not keep or keep(key)]
        if fabric.is_global_zero:
            sys.stderr.write(f"train: {why}\n")

    def batches(self, first_step: int) -> Iterator[Tensor]:
        """Endless batches (B, T) int16 on the device, from a step on."""
        batches = on_device(self._loader.batches(first_step), self._device)
        return (batch.pcm for batch in batches)

    def keys(self, step: int) -> list[str] | None:
        """The keys of the B clips of a step; None where clips come as they are read."""
        if not isinstance(self._loader, ClipLoader | Resident):
            return None
        _, clips = next(drawn_clips(len(self._keys), self._batching, step))
        return [self._keys[clip] for clip in clips]


def _show_decoding(clips: Iterable[None], n: int) -> Iterator[None]:
    with track("decode", n, "clips") as progress:
        for clip in clips:
            yield clip
            progress.advance()
