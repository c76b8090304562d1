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
    """Named preset: METHOD-{simclr,simsiam}-{none,split,bn,series,parallel} where METHOD is mtslvr,
    augself or mtslvr-augself; simclr, simsiam, predictive, demo."""
    out: str | None = None
    """Output folder; default runs/RECIPE."""
    resume: bool = False
    """Go on from the newest checkpoint in the output folder; start anew where there is none."""
    init: str | None = None
    """Weights to start from, heads too where they fit: a published MT-SLVR model (.pt), or a run or
    checkpoint of train. A run that is resumed has its own."""
    split: str = "train"
    """Split of the shards."""

    contrastive: Literal["simclr", "simsiam", "none"] = "simclr"
    """Contrastive objective."""
    predictive: Literal["mlap", "augself", "mlap+augself", "none"] = "mlap"
    """What is predicted: mlap, which augmentations were applied; augself, how their parameters
    differ between the views."""
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
    exact_speedups: bool = True
    """Both views as one batch, what the tasks share computed once, parallel adapters folded: the
    same up to rounding."""
    compile: bool = False
    """Compile the network's step with torch.compile (needs a C++ compiler); as CUDA graphs on a
    GPU."""

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
    """Split to validate on, for example `validation` of AudioSet's published members; with neither
    this nor --holdout: no validation, no early stop."""
    holdout: float | None = None
    """Share of the clips of the training split to validate on and never to train on, between 0 and
    1, chosen by hash of seed and key; 0.3 in the paper."""
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
    """How many devices of each node, one process each, or auto for all; a number with a comma, for
    example `2,`, says which one. Under torchrun that says how many."""
    num_nodes: int = 1
    """Machines of the run, 1 or more, each started with NODE_RANK, MASTER_ADDR and MASTER_PORT in
    its environment. Under torchrun that says how many."""
    sync_bn: bool = False
    """Batch norms over the clips of all processes: then their number changes no result, to
    rounding. Otherwise each process has the statistics of its own share of the batch."""
    precision: Literal["32-true", "64-true", "bf16-mixed", "bf16-true", "16-mixed"] = "32-true"
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
            "num_nodes": self.num_nodes >= 1,
            "preview": self.preview is None or self.preview >= 1,
            "holdout": self.holdout is None or 0 < self.holdout < 1,
        }
        for name, fits in ranges.items():
            if not fits:
                flag = "--" + name.replace("_", "-")
                raise ValueError(
                    f"{flag} {getattr(self, name)}: out of range; see `train --help` for it"
                )
        if self.contrastive == self.predictive == "none":
            raise ValueError("nothing to train: choose --contrastive or --predictive")
        if self.validation_split is not None and self.holdout is not None:
            raise ValueError("--validation-split and --holdout exclude each other; choose one")


VARIANTS = ("none", "split", "bn", "series", "parallel")
METHODS = {"mtslvr": "mlap", "augself": "augself", "mtslvr-augself": "mlap+augself"}
"""First part of a recipe's name -> what its predictive task is."""

RECIPES: dict[str, dict[str, Any]] = {
    **{
        f"{method}-{contrastive}-{variant}": {
            "contrastive": contrastive,
            "predictive": predictive,
            "variant": variant,
        }
        for method, predictive in METHODS.items()
        for contrastive in ("simclr", "simsiam")
        for variant in VARIANTS
    },
    "simclr": {"contrastive": "simclr", "predictive": "none", "variant": "none"},
    "simsiam": {"contrastive": "simsiam", "predictive": "none", "variant": "none"},
    "predictive": {"contrastive": "none", "predictive": "mlap", "variant": "none"},
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
