"""The parts that a configuration names, made: view maker, front end, model."""

import json
from typing import Any

import torch

from slvr.command.named import Registry, loaded, named
from slvr.model.encoders.contract import ALL, Encoder, Images
from slvr.model.encoders.registry import ENCODERS
from slvr.model.learner import Head, Learner, check_head
from slvr.model.objectives.contract import Given, Objective
from slvr.model.objectives.registry import OBJECTIVES
from slvr.pipeline.frontends.contract import FrontEnd
from slvr.pipeline.frontends.registry import FRONT_ENDS
from slvr.pipeline.normalise import Normalisation
from slvr.pipeline.short import Short
from slvr.pipeline.stage import Stage
from slvr.pipeline.views.contract import ViewMaker, Waves
from slvr.pipeline.views.registry import VIEWS
from slvr.pipeline.views.spectra import SpecAugmented
from slvr.shards.clip import SAMPLE_RATE_HZ
from slvr.shards.read import ShardDirectory
from slvr.train.config import Choice, HeadChoice, Parts
from slvr.train.separators import separators_of

CPU = torch.device("cpu")


def build_views(
    choice: Choice,
    clip_s: float,
    spec_augment: Choice | None = None,
    device: torch.device = CPU,
    shards: ShardDirectory | None = None,
    short: Short = "loop",
) -> ViewMaker:
    """The view maker.

    Args:
        choice: which one.
        clip_s: length of the clips.
        spec_augment: what is done to the images behind it.
        device: of the clips.
        shards: where they come from.
        short: what fills clips that are shorter.

    Raises:
        ValueError: no such one, or one that cannot be made so.
    """
    waves = Waves(
        n_samples=round(clip_s * SAMPLE_RATE_HZ),
        separators=separators_of(choice.config, device),
        load=loaded,
        device=device,
        shards=("", "") if shards is None else (shards.location, shards.fingerprint),
        short=short,
    )
    maker: ViewMaker = _built(choice, VIEWS, "--views", ViewMaker, waves)
    return maker if spec_augment is None else SpecAugmented(maker, spec_augment.config)


def build_front_end(choice: Choice) -> FrontEnd:
    """The front end, on the CPU.

    Raises:
        ValueError: no such one, or one that cannot be made so.
    """
    front_end: FrontEnd = _built(choice, FRONT_ENDS, "--front-end", FrontEnd)
    return front_end


def build_stage(
    parts: Parts,
    clip_s: float,
    normalisation: Normalisation,
    device: torch.device,
    rank: int = 0,
    world: int = 1,
    shards: ShardDirectory | None = None,
    short: Short = "loop",
) -> Stage:
    """View maker and front end on a device; see `Stage` and `build_views`."""
    views = build_views(parts.views, clip_s, parts.spec_augment, device, shards, short)
    front_end = build_front_end(parts.front_end)
    return Stage(views, front_end.to(device), normalisation, rank, world)


def build_model(parts: Parts, stage: Stage) -> Learner:
    """The untrained model; its weights come from torch's generator, the encoder's first.

    Raises:
        ValueError: parts that do not fit each other: says which, and why.
    """
    front_end, views = stage.front_end, stage.views
    images = Images(front_end.channels, front_end.n_mels, front_end.hop_s)
    encoder: Encoder = _built(parts.encoder, ENCODERS, "--encoder", Encoder, images)
    _check_shape(encoder, parts.encoder.name)
    encoder.bn_views = parts.bn_views
    heads: dict[str, Head] = {}
    for name, choice in parts.objectives.items():
        objective_class = named(choice.name, OBJECTIVES, "--objectives")
        check_head(
            name, objective_class, choice.task, choice.weights, encoder, views.knows, views.n_views
        )
        given = Given(encoder.dims[choice.task], views.columns, views.quantities)
        objective: Objective = _built(choice, OBJECTIVES, "--objectives", Objective, given)
        # where some terms are named, the others are left out
        others = 0.0 if choice.weights else choice.weight
        weights = dict.fromkeys(objective.terms, others) | dict(choice.weights)
        heads[name] = Head(objective, choice.task, weights)
    return Learner(encoder, heads, views.knows, views.n_views)


def _built(
    choice: Choice | HeadChoice, registry: Registry, flag: str, kind: type[Any], *context: Any
) -> Any:
    """A part, made by its class.

    Raises:
        ValueError: a class of the user's that cannot be made, or makes something else.
    """
    part_class = named(choice.name, registry, flag)
    if choice.name in registry:
        return part_class.build(choice.config, *context)
    try:
        made = part_class.build(choice.config, *context)
    except Exception as error:  # the user's own code can raise anything
        kind_of = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise ValueError(f"{flag} {choice.name}: cannot be built: {kind_of}{error}") from error
    if not isinstance(made, kind):
        raise ValueError(
            f"{flag} {choice.name}: build gives a {type(made).__name__}, expected a subclass of "
            f"{kind.__module__}.{kind.__name__}"
        )
    return made


def _check_shape(encoder: Encoder, name: str) -> None:
    """Refuses an encoder of the user's that a checkpoint could not bring back.

    Raises:
        ValueError: tasks without a size, or a `shape()` that makes another network.
    """
    if name in ENCODERS:
        return
    if type(encoder.tasks) is not tuple or not {*encoder.tasks, ALL} <= set(encoder.dims):
        raise ValueError(
            f"--encoder {name}: dims {dict(encoder.dims)}; expected the size of {ALL!r} and of "
            f"each of its tasks {encoder.tasks!r}, a tuple"
        )
    try:
        with torch.random.fork_rng(devices=[]):
            same = type(encoder)(**json.loads(json.dumps(encoder.shape())))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"--encoder {name}: shape() {encoder.shape()} makes no network: {error}; give plain "
            "values, the arguments of the class"
        ) from error
    ours, theirs = encoder.state_dict(), same.state_dict()
    if {n: x.shape for n, x in ours.items()} != {n: x.shape for n, x in theirs.items()}:
        raise ValueError(f"--encoder {name}: shape() {encoder.shape()} makes another network")
