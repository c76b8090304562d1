"""The recipes: each names its parts, its objectives with weights, and what else it sets."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from slvr.pipeline.frontends.published import K22, YAMNET


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


def sampled(objective: str, front_end: Mapping[str, Any], settings: Mapping[str, Any]) -> Recipe:
    """Multiple sampling strategies (Kuroyanagi & Komatsu, ICASSP 2022), or a part of it."""
    about_front_end = {f"front_end.{name}": value for name, value in front_end.items()}
    settings = {**K22_TRAINING, **about_front_end, **settings}
    return Recipe((objective,), "efficientnet-b0", "crops", "logmel", settings)


K22_TRAINING = {
    "normalise": "none",
    "batch": 1024,
    "steps": 4000,
    "lr": 1e-4,
    "weight_decay": 0.0,
    "schedule": "constant",
}
K22_LOG = {**K22, "log": "decibel", "floor": 1e-10, "floor_is": "least", "statistics": "all"}
"""The paper's log-mel, at zero mean and unit deviation; the public code has no logarithm."""
K22_CODE = {
    "batch": 512,
    "encoder.head_norm": False,
    "encoder.pool_mel": "max",
    "encoder.pool_time": "max",
    "views.ratio": "code",
}
"""What the public code does otherwise than the paper, but for front end and weights."""
TWO_VIEWS = {"views.pitch": False}
SAMPLED: dict[str, Recipe] = {
    "k22": sampled("k22", K22_LOG, {}),
    "k22-code": sampled("k22:clip=1,frame=0.01,pitch=0.01", K22, K22_CODE),
    "cola": sampled("cola", K22_LOG, TWO_VIEWS),
    "k22-clip-frame": sampled("cola_frame", K22_LOG, TWO_VIEWS),
    "k22-clip-pitch": sampled("k22:clip=1,frame=0,pitch=1", K22_LOG, {}),
    "k22-cosine": sampled("k22", K22_LOG, {"objectives.k22.similarity": "cosine"}),
    "k22-code-cosine": sampled(
        *("k22:clip=1,frame=0.01,pitch=0.01", K22),
        {**K22_CODE, "objectives.k22.similarity": "cosine-code"},
    ),
}
"""The recipes of multiple sampling strategies."""
SAMPLED_DEMO = {
    "encoder.width": 0.25,
    "encoder.dim": 128,
    "clip_s": 2.0,
    "batch": 64,
    "steps": 200,
    "lr": 1e-3,
    "checkpoint_every": 50,
}
"""What makes one of them small: a quarter of the channels, a fifth of the clip."""


SCENES = {
    **{f"front_end.{name}": value for name, value in YAMNET.items()},
    "normalise": "none",
    "bn_views": "together",
    "batch": 256,
    "lr": 1e-4,
    "weight_decay": 0.0,
}
SCENES_DEMO = {
    "encoder.width": 8,
    "batch": 16,
    "clip_s": 3.0,
    "steps": 180,
    "lr": 1e-3,
    "checkpoint_every": 60,
}
"""Under two minutes on two cores: an eighth of the width, a third of the length."""


def scenes(pair: str, *separators: str, masks: bool = True, demo: bool = False) -> Recipe:
    """Learning from separated sound scenes (Fonseca et al., WASPAA 2021): docs/scenes.md."""
    settings = SCENES | (SCENES_DEMO if demo else {}) | {"views.pair": pair}
    if separators:
        settings |= {"views.separators": list(separators)}
    if masks:
        settings |= {"spec_augment.probability": 1.0}
    return Recipe(("scenes",), "cnn14", "channels", "logmel", settings)


def separated(demo: bool) -> dict[str, Recipe]:
    """Name -> recipe, with separators of full or of demo size.

    N, F and S1 are one separator after 0, 500 and 5,000 steps, in demo size after 0, 100 and 500.
    `train` makes those that are missing first.
    """
    run = "runs/separator-demo-500" if demo else "runs/separator-5000"
    none = "untrained:0:demo" if demo else "untrained:0"
    few, most = (f"{run}/step-{n:08d}.safetensors" for n in ((100, 500) if demo else (500, 5000)))
    # 500 steps are a tenth of 5,000: whoever asks for no more does not pay for them
    alone = few if demo else few.replace("-5000", "-500")
    pair, size = "mix-channel", "-demo" if demo else ""
    made = {
        "mix-mix": scenes("mix-mix", masks=False, demo=demo),
        "mix-mix-sa": scenes("mix-mix", demo=demo),
        "mix-chan": scenes(pair, most, masks=False, demo=demo),
        "N": scenes(pair, none, demo=demo),
        "F": scenes(pair, alone, demo=demo),
        "S1": scenes(pair, most, demo=demo),
        "NvF": scenes(pair, none, alone, demo=demo),
        "NvFvS1": scenes(pair, none, few, most, demo=demo),
    }
    return {f"scenes-{name}{size}": recipe for name, recipe in made.items()}


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
    **SAMPLED,
    **{
        f"{name}-demo": replace(recipe, settings={**recipe.settings, **SAMPLED_DEMO})
        for name, recipe in SAMPLED.items()
    },
    **separated(demo=False),
    **separated(demo=True),
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
