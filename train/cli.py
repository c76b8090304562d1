"""The command `train`: shards -> a trained encoder; `train separator`: -> a trained separator."""

import os
from collections.abc import Sequence
from pathlib import Path

from slvr.command.line import DONE, arguments, exit_code
from slvr.command.text import say
from slvr.train import separator_cli
from slvr.train.config import TrainConfig
from slvr.train.configure import from_command_line
from slvr.train.missing import train_missing


def main(args: Sequence[str] | None = None) -> int:
    """Runs `train`; returns the exit code."""
    # before torch is loaded: views of every size would leave memory that no other size can use
    if "PYTORCH_CUDA_ALLOC_CONF" not in os.environ:
        os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    given = arguments(args)
    if given[:1] == ["separator"]:
        return separator_cli.main(given[1:])
    return exit_code("train", lambda: run(from_command_line(given)))


def run(config: TrainConfig) -> int:
    """Trains, or shows what training would see; returns the exit code."""
    out = Path(config.output.out or f"runs/{config.recipe}")
    _check_paths(config)
    train_missing(config)
    if config.output.preview is not None:
        from slvr.train.preview import write_preview

        say(write_preview(config, out, config.output.preview))
        return DONE

    if config.output.cache_channels is not None:
        from slvr.train.cache import cache_channels

        folder = config.output.cache_channels
        for directory in cache_channels(config, Path(folder)):
            say(directory)
        say(f"next: the same command with --views.cache {folder} for --cache-channels {folder}")
        return DONE

    from lightning_fabric.utilities import rank_zero_only

    from slvr.train.loop import train

    checkpoint = train(config, out)
    own = [part.name for part in (config.parts.encoder, config.parts.front_end) if ":" in part.name]
    allow = f" --allow {' '.join(own)}" if own else ""
    rank_zero_only(print)(f"{checkpoint}\nnext: evaluate --checkpoint {out} --shards DIR{allow}")
    return DONE


def _check_paths(config: TrainConfig) -> None:
    """Refuses paths that are not there before torch is loaded, which takes seconds."""
    from slvr.shards.files import is_remote
    from slvr.shards.read import ShardDirectory

    ShardDirectory.open(config.data.shards)
    # a run that goes on has its own weights
    init = None if config.output.resume else config.output.init
    for path in (init, config.data.only):
        if path is not None and not is_remote(path) and not Path(path).exists():
            raise ValueError(f"{path}: no such file or folder; see `train --help`")
