"""Which loader feeds a run, and why."""

from collections.abc import Callable
from typing import Literal

import torch

from slvr.pipeline.loaders.batching import Batching, Loader
from slvr.pipeline.loaders.by_clip import ClipLoader
from slvr.pipeline.loaders.resident import (
    SHARE,
    Resident,
    Watch,
    free_bytes,
    no_watch,
    resident_bytes,
)
from slvr.pipeline.loaders.streamed import StreamedLoader
from slvr.shards.files import is_remote
from slvr.shards.read import ShardDirectory


def open_loader(
    directory: ShardDirectory,
    split: str,
    batching: Batching,
    device: torch.device,
    *,
    loader: Literal["default", "dali"] = "default",
    resident: bool | Literal["auto"] = "auto",
    workers: int = 1,
    keep: Callable[[str], bool] | None = None,
    watch: Watch = no_watch,
) -> tuple[Loader, str]:
    """The loader for a run, and a sentence on which one it is and why.

    Args:
        directory: the shards, here or behind a URL.
        split: one of its splits.
        batching: what a step takes.
        device: where the batches are used.
        loader: what reads and decodes.
        resident: keep the decoded set on the device; `auto`: if it takes at most half of the free
            memory there (of a CPU: of this process's share of it).
        workers: processes of the default loader, threads of DALI; 0: none besides this one.
        keep: takes those clips alone to whose keys it says yes.
        watch: see `Resident`.

    Raises:
        ValueError: no clips, options that exclude each other, a loader that is not installed.
    """
    n_clips = len(directory.clips(split))
    if n_clips == 0:
        raise ValueError(f"{directory.location}: no clips in split {split!r}; ingest some first")
    remote = is_remote(directory.location)
    if resident is True and (remote or loader == "dali"):
        other = "remote shards" if remote else "--loader dali"
        raise ValueError(f"--resident on and {other} exclude each other; choose one")
    if keep is not None and (remote or loader == "dali"):
        what = "remote shards are" if remote else "--loader dali is"
        raise ValueError(
            f"{what} read from end to end, no clip of a split can be left out; hold out a split "
            "with --validation-split, or read local shards with --loader default"
        )
    if remote:
        if loader == "dali":
            raise ValueError("--loader dali reads local shards alone; copy the directory here")
        streamed = StreamedLoader(directory, split, batching, workers)
        return streamed, f"clips are streamed from {directory.location}"
    if loader == "dali":
        from slvr.pipeline.loaders.dali import DaliLoader  # noqa: PLC0415

        threads = max(workers, 1)
        dali = DaliLoader(directory, split, batching, threads)
        return dali, f"clips are read and decoded by DALI in {threads} threads"
    clips = directory.dataset(split, keep)
    if len(clips) == 0:
        raise ValueError(
            f"{directory.location}: all {n_clips} clips of split {split!r} are left out; give a "
            "smaller --holdout"
        )
    by_worker = ClipLoader(clips, batching, workers)
    if resident is False:
        return by_worker, f"clips are read from the shards by {workers} workers (--resident off)"
    needed = resident_bytes(clips, batching)
    free = free_bytes(device)
    if device.type == "cpu":
        free //= batching.world
    limit = int(SHARE * free) if resident == "auto" else free
    sizes = f"{needed / 1e9:.2f} GB decoded, limit {limit / 1e9:.2f} GB on {device}"
    if resident is True and needed > limit:
        raise ValueError(f"--resident on: the clips do not fit: {sizes}; use --resident off")
    if needed > limit:
        return by_worker, f"clips are read from the shards by {workers} workers ({sizes})"
    return Resident(clips, batching, device, watch), f"the clips are resident ({sizes})"
