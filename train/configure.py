"""From settings to a configuration: a recipe's, before them the user's, by the names of flags.

defaults < recipe < --config < flags
"""

import argparse
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import ArgumentParser

from slvr.command.line import add_options, new_parser
from slvr.command.named import Registry, config_of, named
from slvr.model.encoders.registry import ENCODERS
from slvr.model.objectives.registry import OBJECTIVES
from slvr.pipeline.frontends.registry import FRONT_ENDS
from slvr.pipeline.views.registry import SPEC_AUGMENT, VIEWS
from slvr.train.config import GROUPS, Choice, HeadChoice, Parts, TrainConfig
from slvr.train.recipes import DEFAULT, Recipe, recipe_named

Settings = dict[str, Any]
"""Flag, with `_` for `-` and without the dashes before it -> value."""

DOORS: dict[str, Registry] = {"front_end": FRONT_ENDS, "views": VIEWS, "encoder": ENCODERS}
"""What a recipe chooses one of -> from which."""
SIGNS = {
    "--front-end": "log_mel",
    "--views": "sample",
    "--encoder": "embed",
    "--objectives": "terms",
}
"""Flag -> a member that the classes behind it have, and those behind the others have not."""
HEADS = "objectives.heads"
HEAD = re.compile(r"(?P<name>[^@=:]+(?::\w+)?)(?:@(?P<task>\w+))?(?:=(?P<weight>[^:@]+))?")
EVERY_TASK = "all"
"""Task of an objective for which none is named: whatever the encoder gives, side by side."""


def configure(recipe: str = DEFAULT, settings: Mapping[str, Any] | None = None) -> TrainConfig:
    """The configuration of a recipe with some settings of the user's own.

    Args:
        recipe: its name.
        settings: by flag: `shards`, `steps`, `encoder.width`, `objectives.simclr.temperature`, ...

    Raises:
        ValueError: unknown recipe, part or setting, or a value out of its range.
    """
    left = settings_of(recipe_named(recipe), settings or {}) | dict(settings or {})
    data, optimisation, devices, output = (_group(left, group) for group in GROUPS)
    doors = {
        door: _choice(left, door, left.pop(f"{door}.name"), registry)
        for door, registry in DOORS.items()
    }
    heads: dict[str, HeadChoice] = {}
    for text in left.pop(HEADS):
        head = _head(text)
        name = head_name(head.name)
        if name in heads:
            raise ValueError(f"--objectives {text}: {name} is there twice; give it once")
        config = _choice(left, f"objectives.{name}", head.name, OBJECTIVES).config
        heads[name] = dataclasses.replace(head, config=config)
    spec_augment = _choice(left, "spec_augment", "spec_augment", SPEC_AUGMENT)
    parts = Parts(
        **doors,
        objectives=heads,
        bn_views=left.pop("bn_views"),
        spec_augment=spec_augment if spec_augment.config.probability else None,
    )
    if left:
        raise ValueError(f"--{min(left)}: no such setting; see `train --help`")
    return TrainConfig(recipe, data, optimisation, devices, output, parts)


def _group(left: Settings, group: type[Any]) -> Any:
    given = {f.name: left.pop(f.name) for f in dataclasses.fields(group) if f.name in left}
    try:
        return group(**given)
    except TypeError as error:  # a comparison with None, for example
        raise ValueError(
            f"a setting of {', '.join(given)} is of the wrong kind: {error}"
        ) from error


def settings_of(recipe: Recipe, own: Mapping[str, Any]) -> Settings:
    """What a recipe sets, but for settings of parts in whose place the user names others."""
    chosen: Settings = {
        "encoder.name": recipe.encoder,
        "views.name": recipe.views,
        "front_end.name": recipe.front_end,
        HEADS: list(recipe.objectives),
        "bn_views": "separate",
        **recipe.settings,
    }
    for door in DOORS:
        name = own.get(f"{door}.name", chosen[f"{door}.name"])
        if name != chosen[f"{door}.name"]:
            chosen = {k: v for k, v in chosen.items() if not k.startswith(f"{door}.")}
            chosen[f"{door}.name"] = name
    heads = {head_name(_head(text).name) for text in own.get(HEADS, chosen[HEADS])}
    return {
        name: value
        for name, value in chosen.items()
        if name == HEADS or not name.startswith("objectives.") or name.split(".")[1] in heads
    }


def head_name(text: str) -> str:
    """What the head of an objective is called: its name in the registry, or its class's own."""
    if text in OBJECTIVES:
        return text
    _config_of(text, OBJECTIVES, "--objectives")
    name: str = named(text, OBJECTIVES, "--objectives").NAME
    return name


def _config_of(text: str, registry: Registry, flag: str) -> type[Any]:
    """The options of a part.

    Raises:
        ValueError: no such part, or a class that is something else.
    """
    if text not in registry:
        found = named(text, registry, flag)
        members = ("NAME", "Config", "build", SIGNS[flag])
        missing = [member for member in members if not hasattr(found, member)]
        if missing or not dataclasses.is_dataclass(found.Config):
            raise ValueError(
                f"{flag} {text}: expected a class with {', '.join(members)}, Config a dataclass; "
                f"it lacks {', '.join(missing) or 'the latter'}"
            )
    return config_of(text, registry, flag)


def _choice(left: Settings, door: str, name: str, registry: Registry) -> Choice:
    config = _config_of(name, registry, f"--{door.replace('_', '-').partition('.')[0]}")
    fields = {f.name for f in dataclasses.fields(config)}
    given = {f: left.pop(f"{door}.{f}") for f in fields if f"{door}.{f}" in left}
    values = {f: tuple(v) if isinstance(v, list) else v for f, v in given.items()}
    return Choice(name, config(**values))


def _head(text: str) -> HeadChoice:
    """`name[@task][=weight]` or `name[@task]:term=weight,...`; name may be a class of the user's.

    Raises:
        ValueError: another form, or a weight that is no number.
    """
    before, _, after = text.rpartition(":")
    # in `./file.py:Class=0.5` and `module:Class=0.5` the colon belongs to the name
    of_terms = ":" in before or before.partition("@")[0] in OBJECTIVES
    terms = after if "=" in after and of_terms else ""
    match = HEAD.fullmatch(before if terms else text)
    try:
        if match is None:
            raise ValueError("no such form")
        pairs = [term.split("=") for term in terms.split(",") if terms]
        weight = float(match["weight"] or 1)
        weights = {term: float(weight) for term, weight in pairs}
        if not all(0 <= each < math.inf for each in (weight, *weights.values())):
            raise ValueError("a weight is negative or no number")
        return HeadChoice(match["name"], None, match["task"] or EVERY_TASK, weight, weights)
    except ValueError as error:
        raise ValueError(
            f"--objectives {text}: {error}; expected NAME, NAME@TASK, NAME@TASK=WEIGHT or "
            "NAME@TASK:TERM=WEIGHT,TERM=WEIGHT"
        ) from error


def from_command_line(args: Sequence[str]) -> TrainConfig:
    """The configuration of a command line; `--help` and mistakes end the process."""
    args = [_in_full(arg) for arg in args]
    own = _named_in(args)
    recipe = recipe_named(own.pop("recipe", DEFAULT))
    parser = parser_of(recipe, own)
    values = parser.parse_args(args).as_flat()
    settings = {name: value for name, value in vars(values).items() if name != "config"}
    return configure(settings.pop("recipe"), settings)


def parser_of(recipe: Recipe, own: Mapping[str, Any]) -> ArgumentParser:
    """The parser with the options of all parts of a recipe, its settings as defaults.

    Args:
        recipe: the recipe.
        own: parts that the user names in place of the recipe's.
    """
    parser = new_parser("train", (TrainConfig.__doc__ or "").strip())
    parser.add_argument("--recipe", default=DEFAULT, help="Named preset; see README.")
    for group in GROUPS:
        add_options(parser, group)
    settings = settings_of(recipe, own) | dict(own)
    for door, registry in DOORS.items():
        flag = "--" + door.replace("_", "-")
        choices = f"One of {', '.join(registry)}, or package.module:Class, ./file.py:Class."
        parser.add_argument(f"{flag}.name", help=f"Shorter: {flag}. {choices}")
        config = _config_of(settings[f"{door}.name"], registry, flag)
        add_options(parser, config, prefix=f"{door}.".replace("_", "-"))
    about = config_of("spec_augment", SPEC_AUGMENT, "--spec-augment")
    add_options(parser, about, prefix="spec-augment.")
    parser.add_argument(
        "--objectives.heads",
        nargs="+",
        type=str,
        help="Shorter: --objectives. NAME[@TASK][=WEIGHT] or NAME[@TASK]:TERM=WEIGHT,...: one of "
        f"{', '.join(OBJECTIVES)}, or a class as above; the task of the encoder that it is trained "
        "on; its weight in the total, or that of each of its terms, where terms that are not named "
        "weigh nothing.",
    )
    for name in dict.fromkeys(_head(text).name for text in settings[HEADS]):
        config = _config_of(name, OBJECTIVES, "--objectives")
        add_options(parser, config, prefix=f"objectives.{head_name(name)}.")
    parser.add_argument(
        "--bn-views",
        type=Literal["separate", "together"],
        help="Batch norms of the encoder: each view has statistics of its own, or all views "
        "together.",
    )
    parser.set_defaults(settings)
    return parser


def _in_full(arg: str) -> str:
    """`--encoder` as `--encoder.name`: a flag cannot be a value and hold others."""
    short = {f"--{door.replace('_', '-')}": f"--{door.replace('_', '-')}.name" for door in DOORS}
    short |= dict.fromkeys(("--objective", "--objectives"), "--objectives.heads")
    flag, equals, value = arg.partition("=")
    return short.get(flag, flag) + equals + value


def _named_in(args: Sequence[str]) -> Settings:
    """The recipe and the parts that a command line names, in its --config files or as flags.

    They decide which other options there are.
    """
    scan = argparse.ArgumentParser("train", add_help=False, allow_abbrev=False)
    scan.add_argument("--config", action="append", default=[])
    scan.add_argument("--recipe")
    for door in DOORS:
        scan.add_argument(f"--{door.replace('_', '-')}.name", dest=f"{door}.name")
    scan.add_argument("--objectives.heads", dest=HEADS, nargs="+")
    known = vars(scan.parse_known_args(args)[0])
    found: Settings = {}
    for path in known.pop("config"):
        found |= _named_in_file(Path(path))
    return found | {name: value for name, value in known.items() if value is not None}


def _named_in_file(path: Path) -> Settings:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}  # the parser says so, better
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected settings by name, got {type(content).__name__}")
    found: Settings = {"recipe": content.get("recipe")}
    for name in (*(f"{door}.name" for door in DOORS), HEADS):
        door, _, key = name.partition(".")
        section = content.get(door)
        if section is not None and not isinstance(section, dict):
            raise ValueError(f"{path}: {door}: got {section!r}; write {door}: {{{key}: ...}}")
        found[name] = section.get(key) if section is not None else content.get(name)
    for name, value in found.items():
        texts = value if name == HEADS and isinstance(value, list) else [value]
        if value is not None and not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{path}: {name}: got {value!r}, expected a name")
    return {
        name: [value] if name == HEADS and isinstance(value, str) else value
        for name, value in found.items()
        if value is not None
    }
