"""The command `train`: shards -> a trained encoder."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from slvr.command.line import DONE, add_options, arguments, build, exit_code, new_parser
from slvr.train.config import TrainConfig, preset


def main(args: Sequence[str] | None = None) -> int:
    """Runs `train`; returns the exit code."""
    parser = new_parser("train", (TrainConfig.__doc__ or "").strip())
    add_options(parser, TrainConfig)
    return exit_code("train", lambda: run(resolve(parser, arguments(args))))


def resolve(parser: ArgumentParser, args: list[str]) -> TrainConfig:
    """The configuration of a command line: defaults < recipe < --config < flags."""
    recipe = parser.parse_args(args).recipe
    parser.set_defaults(preset(recipe))
    return build(TrainConfig, parser.parse_args(args))


def run(config: TrainConfig) -> int:
    """Trains, or shows what training would see; returns the exit code."""
    out = Path(config.out or f"runs/{config.recipe}")
    if config.preview is not None:
        from slvr.train.preview import write_preview

        print(write_preview(config, out, config.preview))
        return DONE

    from lightning_fabric.utilities import rank_zero_only

    from slvr.train.loop import train

    checkpoint = train(config, out)
    rank_zero_only(print)(f"{checkpoint}\nnext: evaluate --checkpoint {out} --shards DIR")
    return DONE
