"""The recipes: each names its parts, its objectives with weights, and what else it sets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """A published or own way to train, as a value.

    Attributes:
        objectives: `name`, `name@task` of the encoder, `name@task=weight` or
            `name@task:term=weight,...`.
        encoder: of `slvr.model.encoders.registry`.
        views: of `slvr.pipeline.views.registry`.
        front_end: of `slvr.pipeline.frontends.registry`.
        settings: flags -> values, before which --config and flags of the user go.
    """

    objectives: tuple[str, ...]
    encoder: str = "resnet18"
    views: str = "chains"
    front_end: str = "mtslvr"
    settings: Mapping[str, Any] = field(default_factory=dict)


def mtslvr(contrastive: str, variant: str, *predictive: str) -> Recipe:
    """MT-SLVR (Heggan et al., Interspeech 2023): two tasks in one network."""
    heads = (f"{contrastive}@contrastive", *(f"{name}@predictive" for name in predictive))
    return Recipe(heads, settings={"encoder.variant": variant})


def alone(head: str) -> Recipe:
    """One of its tasks by itself: its baselines."""
    return Recipe((head,), settings={"encoder.variant": "none"})


METHODS = {"mtslvr": ("mlap",), "augself": ("augself",), "mtslvr-augself": ("mlap", "augself")}
"""First part of a recipe's name -> what is predicted."""

RECIPES: dict[str, Recipe] = {
    **{
        f"{method}-{contrastive}-{variant}": mtslvr(contrastive, variant, *predictive)
        for method, predictive in METHODS.items()
        for contrastive in ("simclr", "simsiam")
        for variant in ("none", "split", "bn", "series", "parallel")
    },
    "simclr": alone("simclr"),
    "simsiam": alone("simsiam"),
    "predictive": alone("mlap"),
    # under three minutes on two cores: a quarter of the width, a fifth of the length
    "demo": Recipe(
        ("simclr@contrastive", "mlap@predictive"),
        settings={
            "encoder.variant": "parallel",
            "encoder.dim": 256,
            "encoder.width": 16,
            "clip_s": 2.0,
            "batch": 64,
            "steps": 200,
            "lr": 1e-3,
            "checkpoint_every": 50,
        },
    ),
}
"""Name -> recipe."""

DEFAULT = "mtslvr-simclr-parallel"


def recipe_named(name: str) -> Recipe:
    """A recipe by its name.

    Raises:
        ValueError: unknown recipe.
    """
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
