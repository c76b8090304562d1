"""The parts that a configuration names, made: view maker, front end, model."""

from typing import Any

import torch

from slvr.command.named import Registry, loaded, named
from slvr.model.encoders.contract import Images
from slvr.model.encoders.registry import ENCODERS
from slvr.model.learner import Head, Learner, check_head
from slvr.model.objectives.contract import Given
from slvr.model.objectives.registry import OBJECTIVES
from slvr.pipeline.frontends.contract import FrontEnd
from slvr.pipeline.frontends.registry import FRONT_ENDS
from slvr.pipeline.normalise import Normalisation
from slvr.pipeline.stage import Stage
from slvr.pipeline.views.contract import ViewMaker, Waves
from slvr.pipeline.views.registry import VIEWS
from slvr.shards.clip import SAMPLE_RATE_HZ
from slvr.train.config import Choice, HeadChoice, Parts


def build_views(choice: Choice, clip_s: float) -> ViewMaker:
    """The view maker.

    Raises:
        ValueError: no such one, or one that cannot be made so.
    """
    waves = Waves(n_samples=round(clip_s * SAMPLE_RATE_HZ), load=loaded)
    maker: ViewMaker = _class(choice, VIEWS, "--views").build(choice.config, waves)
    return maker


def build_front_end(choice: Choice) -> FrontEnd:
    """The front end, on the CPU.

    Raises:
        ValueError: no such one, or one that cannot be made so.
    """
    front_end: FrontEnd = _class(choice, FRONT_ENDS, "--front-end").build(choice.config)
    return front_end


def build_stage(
    parts: Parts,
    clip_s: float,
    normalisation: Normalisation,
    device: torch.device,
    rank: int = 0,
    world: int = 1,
) -> Stage:
    """View maker and front end on a device; see `Stage`."""
    views, front_end = build_views(parts.views, clip_s), build_front_end(parts.front_end)
    return Stage(views, front_end.to(device), normalisation, rank, world)


def build_model(parts: Parts, stage: Stage) -> Learner:
    """The untrained model; its weights come from torch's generator, the encoder's first.

    Raises:
        ValueError: parts that do not fit each other: says which, and why.
    """
    front_end, views = stage.front_end, stage.views
    images = Images(front_end.channels, front_end.n_mels, front_end.hop_s)
    encoder = _class(parts.encoder, ENCODERS, "--encoder").build(parts.encoder.config, images)
    encoder.bn_views = parts.bn_views
    heads: dict[str, Head] = {}
    for name, choice in parts.objectives.items():
        objective_class = _class(choice, OBJECTIVES, "--objectives")
        check_head(
            name, objective_class, choice.task, choice.weights, encoder, views.knows, views.n_views
        )
        given = Given(encoder.dims[choice.task], views.columns, views.quantities)
        objective = objective_class.build(choice.config, given)
        weights = dict.fromkeys(objective.terms, choice.weight) | dict(choice.weights)
        heads[name] = Head(objective, choice.task, weights)
    return Learner(encoder, heads, views.knows, views.n_views)


def _class(choice: Choice | HeadChoice, registry: Registry, flag: str) -> Any:
    return named(choice.name, registry, flag)
