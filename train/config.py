"""The configuration of `train`, and the recipes: named presets of it."""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class TrainConfig:
    """Trains an encoder on a shard directory.

    The defaults are those of MT-SLVR (Heggan et al., Interspeech 2023). A recipe sets the fields
    that it names; --config and flags go before it.
    """

    shards: str
    """Shard directory to learn from. A URL (s3://, https://, gs://) is streamed."""
    recipe: str = "mtslvr-simclr-parallel"
    """Named preset: mtslvr-{simclr,simsiam}-{none,split,bn,series,parallel}, simclr, simsiam,
    predictive, demo."""
    out: str | None = None
    """Output folder; default runs/RECIPE."""
    resume: bool = False
    """Go on from the newest checkpoint in the output folder; start anew where there is none."""
    split: str = "train"
    """Split of the shards."""

    contrastive: Literal["simclr", "simsiam", "none"] = "simclr"
    """Contrastive objective."""
    predictive: bool = True
    """Predict which augmentations were applied."""
    predictive_weight: float = 1.0
    """Weight of the predictive loss, lambda of the paper, 0 or more."""
    temperature: float = 0.07
    """Temperature of NT-Xent, above 0."""

    variant: Literal["none", "split", "bn", "series", "parallel"] = "parallel"
    """What each task has of its own in the encoder."""
    dim: int = 1000
    """Values of the whole embedding; two tasks have half each."""
    width: int = 64
    """Channels of the encoder's first stage."""

    clip_s: float = 10.0
    """Length of the training clips in seconds, above 0."""
    normalise: Literal["published", "per-clip"] = "published"
    """Waveform normalisation: the published global one, or one for each clip."""
    pitch_grid: Literal["published", "continuous"] = "published"
    """Pitch shifts: the 14 published ratios, or any within 15 semitones."""
    extra_augmentations: tuple[str, ...] = ()
    """More to choose from, each with its own label: package.Class or package.Class(option=value),
    of torch-audiomentations or your own; for example torch_audiomentations.PolarityInversion."""
    preview: int | None = None
    """Do not train: show this many clips and their views in OUT/preview.html."""

    batch: int = 100
    """Clips a step, over all processes, 2 or more."""
    steps: int = 50_000
    """Optimiser steps, 1 or more."""
    lr: float = 5e-5
    """Learning rate of Adam, above 0."""
    weight_decay: float = 1e-6
    """Weight decay of Adam, 0 or more."""
    schedule: Literal["cosine", "published", "constant"] = "cosine"
    """Learning rate: an anneal after a warm-up, the published cycle of 2,000 steps, or constant."""
    seed: int = 0
    """Seed of weights, order, cuts and augmentations."""

    validation_split: str | None = None
    """Split to validate on, for example `validation` of AudioSet's published members; none: no
    validation, no early stop."""
    validate_every: int = 500
    """Steps between validations, 1 or more."""
    patience: int = 50
    """Validations without progress after which training stops, 1 or more."""
    min_delta: float = 1e-3
    """What counts as progress of the joint validation loss, 0 or more."""
    checkpoint_every: int = 1000
    """Steps between checkpoints, 1 or more."""
    log_every: int = 10
    """Steps between log entries, 1 or more."""
    loader: Literal["default", "dali"] = "default"
    """What reads and decodes clips that are not resident; dali needs the extra slvr[dali]."""
    resident: bool | Literal["auto"] = "auto"
    """on, off or auto: keep all clips, decoded, in the memory of the device, 2 bytes a sample; auto
    if they take at most half of what is free there."""
    workers: int = 1
    """Processes that read and decode clips that are not resident, 0 or more; threads with dali."""
    accelerator: str = "auto"
    """Device kind for Lightning Fabric: auto, cpu, cuda, mps."""
    devices: str = "1"
    """How many devices, 1 for now; a number with a comma, for example `2,`, says which one."""
    precision: Literal["32-true", "bf16-mixed", "bf16-true", "16-mixed"] = "32-true"
    """Precision for Lightning Fabric."""

    def __post_init__(self) -> None:
        ranges = {
            "clip_s": self.clip_s > 0,
            "batch": self.batch >= 2,
            "steps": self.steps >= 1,
            "lr": self.lr > 0,
            "weight_decay": self.weight_decay >= 0,
            "temperature": self.temperature > 0,
            "predictive_weight": self.predictive_weight >= 0,
            "checkpoint_every": self.checkpoint_every >= 1,
            "log_every": self.log_every >= 1,
            "validate_every": self.validate_every >= 1,
            "patience": self.patience >= 1,
            "min_delta": self.min_delta >= 0,
            "workers": self.workers >= 0,
            "width": self.width >= 1,
            "preview": self.preview is None or self.preview >= 1,
        }
        for name, fits in ranges.items():
            if not fits:
                flag = "--" + name.replace("_", "-")
                raise ValueError(
                    f"{flag} {getattr(self, name)}: out of range; see `train --help` for it"
                )
        if self.contrastive == "none" and not self.predictive:
            raise ValueError("nothing to train: choose --contrastive or --predictive")


VARIANTS = ("none", "split", "bn", "series", "parallel")

RECIPES: dict[str, dict[str, Any]] = {
    **{
        f"mtslvr-{contrastive}-{variant}": {"contrastive": contrastive, "variant": variant}
        for contrastive in ("simclr", "simsiam")
        for variant in VARIANTS
    },
    "simclr": {"contrastive": "simclr", "predictive": False, "variant": "none"},
    "simsiam": {"contrastive": "simsiam", "predictive": False, "variant": "none"},
    "predictive": {"contrastive": "none", "predictive": True, "variant": "none"},
    # under three minutes on two cores: a quarter of the width, a fifth of the length
    "demo": {
        "contrastive": "simclr",
        "variant": "parallel",
        "dim": 256,
        "width": 16,
        "clip_s": 2.0,
        "batch": 64,
        "steps": 200,
        "lr": 1e-3,
        "checkpoint_every": 50,
    },
}
"""Recipe -> the fields that it sets."""


def preset(recipe: str) -> dict[str, Any]:
    """The fields that a recipe sets.

    Raises:
        ValueError: unknown recipe.
    """
    if recipe not in RECIPES:
        raise ValueError(f"unknown recipe {recipe!r}; choose one of {', '.join(RECIPES)}")
    return RECIPES[recipe]
