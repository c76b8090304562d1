"""The command `train separator`: shards -> a separator, and its recipes."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from slvr.command.line import DONE, add_options, exit_code, new_parser
from slvr.command.named import config_of
from slvr.model.separators.registry import SEPARATORS
from slvr.train.config import GROUPS, Choice, Mixing, SeparatorConfig

DEFAULT = "separator"
_PUBLISHED: dict[str, Any] = {
    "batch": 6,
    "clip_s": 10.0,
    "lr": 1e-4,
    "weight_decay": 0.0,
    "schedule": "constant",
    "steps": 5_000,
}
SEPARATOR_RECIPES: dict[str, Mapping[str, Any]] = {
    # three mixtures of 10 s a step, as Google's script has it, on the cheaper basis
    "separator": _PUBLISHED,
    # the published basis: six times the work
    "separator-learned": _PUBLISHED
    | {
        "separator.basis": "learned",
        "separator.window_samples": 40,
        "separator.hop_samples": 20,
    },
    # a minute on two cores: 46,571 parameters
    "separator-demo": {
        "separator.bottleneck": 32,
        "separator.hidden": 64,
        "separator.dilations": 5,
        "separator.repeats": 1,
        "batch": 8,
        "clip_s": 1.0,
        "lr": 1e-3,
        "weight_decay": 0.0,
        "schedule": "constant",
        "steps": 750,
        "checkpoint_every": 250,
        "validate_every": 250,
        "gain_db": 5.0,
        "roll": True,
        "keep": "0,100,500",
    },
}
"""Name -> flags, before which --config and flags of the user go."""


def main(args: Sequence[str]) -> int:
    """Runs `train separator`; returns the exit code."""
    return exit_code("train separator", lambda: run(from_command_line(args)))


def run(config: SeparatorConfig) -> int:
    """Trains; returns the exit code."""
    from slvr.shards.read import ShardDirectory  # noqa: PLC0415

    for path in (config.data.shards, config.mixing.sources):
        if path is not None:
            ShardDirectory.open(path)
    if config.output.preview is not None:
        raise ValueError(
            "--preview: a separator has no views to show; train it, and OUT/channels.html lets you "
            "hear what it does"
        )
    from lightning_fabric.utilities import rank_zero_only  # noqa: PLC0415 - loads torch

    from slvr.train.loop import train  # noqa: PLC0415

    out = Path(config.output.out or f"runs/{config.recipe}")
    rank_zero_only(print)(f"{train(config, out)}\nnext: slvr.load_separator('{out}')(waves)")
    return DONE


def configure_separator(
    recipe: str = DEFAULT, settings: Mapping[str, Any] | None = None
) -> SeparatorConfig:
    """The configuration of a recipe with some settings of the user's own.

    Args:
        recipe: its name.
        settings: by flag: `shards`, `steps`, `separator.n_channels`, ...

    Raises:
        ValueError: unknown recipe or setting, or a value out of its range.
    """
    left = dict(_recipe(recipe)) | dict(settings or {})
    data, optimisation, devices, output = (_group(left, group) for group in GROUPS)
    mixing: Mixing = _group(left, Mixing)
    kind = left.pop("separator.name", "tdcn")
    options = config_of(kind, SEPARATORS, "--separator")
    fields = {name.partition(".")[2]: name for name in left if name.startswith("separator.")}
    own = {name: left.pop(whole) for name, whole in fields.items() if name in _names(options)}
    if left:
        raise ValueError(f"--{min(left)}: no such setting; see `train separator --help`")
    separator = Choice(kind, options(**own))
    return SeparatorConfig(recipe, data, optimisation, devices, output, mixing, separator)


def from_command_line(args: Sequence[str]) -> SeparatorConfig:
    """The configuration of a command line; `--help` and mistakes end the process."""
    scan = argparse.ArgumentParser("train separator", add_help=False, allow_abbrev=False)
    scan.add_argument("--recipe", default=DEFAULT)
    values = parser_of(scan.parse_known_args(args)[0].recipe).parse_args(args).as_flat()
    settings = {name: value for name, value in vars(values).items() if name != "config"}
    return configure_separator(settings.pop("recipe"), settings)


def parser_of(recipe: str) -> ArgumentParser:
    """The parser, with the settings of a recipe as defaults."""
    parser = new_parser("train separator", (SeparatorConfig.__doc__ or "").strip())
    said = f"Named preset, one of {', '.join(SEPARATOR_RECIPES)}."
    parser.add_argument("--recipe", default=DEFAULT, help=said)
    for group in (*GROUPS, Mixing):
        add_options(parser, group)
    add_options(parser, config_of("tdcn", SEPARATORS, "--separator"), prefix="separator.")
    parser.set_defaults(dict(_recipe(recipe)))
    return parser


def _recipe(name: str) -> Mapping[str, Any]:
    if name not in SEPARATOR_RECIPES:
        raise ValueError(
            f"unknown recipe {name!r} of separators; choose one of {', '.join(SEPARATOR_RECIPES)}"
        )
    return SEPARATOR_RECIPES[name]


def _group(left: dict[str, Any], group: type[Any]) -> Any:
    """The group from its settings, which are taken out of those that are left."""
    return group(**{name: left.pop(name) for name in _names(group) if name in left})


def _names(group: type[Any]) -> list[str]:
    return list(group.__dataclass_fields__)
