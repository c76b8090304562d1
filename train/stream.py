"""The batches of a run."""

import sys
from collections.abc import Iterable, Iterator

from lightning_fabric import Fabric

from slvr.command.progress import track
from slvr.pipeline.loaders.batching import Batch, Batching
from slvr.pipeline.loaders.by_clip import on_device
from slvr.pipeline.loaders.open import open_loader
from slvr.pipeline.loaders.order import full_steps
from slvr.pipeline.loaders.resident import no_watch
from slvr.shards.clip import SAMPLE_RATE_HZ
from slvr.shards.copies import count_copies
from slvr.shards.files import is_remote
from slvr.shards.read import ShardDirectory
from slvr.shards.silence import silent_keys
from slvr.train.config import Data
from slvr.train.validation import sounding, trained_on


class Stream:
    """This process's batches."""

    def __init__(self, data: Data, directory: ShardDirectory, fabric: Fabric) -> None:
        """Opens the loader; rank 0 says on stderr which one, and why.

        Raises:
            ValueError: no clips, or options that exclude each other.
        """
        clips, keep = directory.clips(data.split), trained_on(data, directory)
        n_clips, n_silent = len(clips), len(silent_keys(clips))
        if keep is not None:
            clips = clips[clips["key"].map(keep)]
        batching = Batching(
            data.batch // fabric.world_size,
            round(data.clip_s * SAMPLE_RATE_HZ),
            data.seed,
            fabric.global_rank,
            fabric.world_size,
            data.short,
        )
        self._loader, why = open_loader(
            directory,
            data.split,
            batching,
            fabric.device,
            loader=data.loader,
            resident=data.resident,
            workers=data.workers,
            keep=keep,
            watch=_show_decoding if fabric.is_global_zero else no_watch,
        )
        self._device = fabric.device
        if fabric.is_global_zero:
            sys.stderr.write(f"train: {why}\n")
            if n_silent and sounding(data, directory, data.split):
                sys.stderr.write(f"train: {n_silent} of {n_clips} clips are silent and left out\n")
            if n_short := int((clips["n_samples"] < batching.n_samples).sum()):
                sys.stderr.write(
                    f"train: {n_short} of {len(clips)} clips are shorter than --clip-s "
                    f"{data.clip_s:g} and filled: --short {data.short}\n"
                )
            if len(clips) < data.batch:
                sys.stderr.write(
                    f"train: a batch of {data.batch} takes some of the {len(clips)} clips more "
                    "than once; a smaller --batch, or more clips, would not\n"
                )
            copies = count_copies(clips["pcm_sha256"])
            if copies.n_equal:
                streamed = data.loader == "dali" or is_remote(directory.location)
                n_steps = full_steps(len(clips), data.batch)
                met = _of_copies(copies.most, n_steps, streamed)
                sys.stderr.write(f"train: {copies}; {met}\n")

    def batches(self, first_step: int) -> Iterator[Batch]:
        """Endless batches (B, T) int16 on the device, with their keys, from a step on."""
        return on_device(self._loader.batches(first_step), self._device)


def _of_copies(most: int, n_steps: int, streamed: bool) -> str:
    """What becomes of clips with equal samples, as a clause.

    Args:
        most: copies of one recording.
        n_steps: batches that an epoch has for itself.
        streamed: the shards are read from end to end.
    """
    if streamed:
        return (
            "shards that are read from end to end let them meet in a batch; local ones and "
            "--loader default keep them apart"
        )
    if most > n_steps:
        return (
            f"an epoch has only {n_steps} whole batches, and a recording with more copies is twice "
            "in some; a smaller --batch keeps more of them apart"
        )
    return "no batch holds two of them"


def _show_decoding(clips: Iterable[None], n: int) -> Iterator[None]:
    with track("decode", n, "clips") as progress:
        for clip in clips:
            yield clip
            progress.advance()
