"""The configuration of `train`, in groups: each goes where it is needed, none goes everywhere.

Flags and YAML are flat where a group is ours (`--lr`), and named where a part of the model brings
its own (`--encoder.width`).
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Data:
    """What is learnt from."""

    shards: str
    """Shard directory to learn from. A URL (s3://, https://, gs://) is streamed."""
    split: str = "train"
    """Split of the shards."""
    only: str | None = None
    """Another directory's clips.parquet: learn only from the clips that both have, by the hash of
    their samples."""
    clip_s: float = 10.0
    """Length of the training clips in seconds, above 0."""
    short: Literal["loop", "silence", "centre"] = "loop"
    """What fills clips shorter than that: the clip again and again, silence behind it, or silence
    on both sides."""
    normalise: Literal["published", "per-clip", "none"] = "published"
    """Waveform normalisation: the published global one, one for each clip, or none: in [-1, 1]."""
    loader: Literal["default", "dali"] = "default"
    """What reads and decodes clips that are not resident; dali needs the extra slvr[dali]."""
    resident: bool | Literal["auto"] = "auto"
    """on, off or auto: keep all clips, decoded, in the memory of the device, 2 bytes a sample; auto
    if they take at most half of what is free there."""
    workers: int = 1
    """Processes that read and decode clips that are not resident, 0 or more; threads with dali."""
    validation_split: str | None = None
    """Split to validate on, for example `validation` of AudioSet's published members; with neither
    this nor --holdout: no validation, no early stop."""
    holdout: float | None = None
    """Share of the clips of the training split to validate on and never to train on, between 0 and
    1, chosen by hash of seed and key; 0.3 in the paper."""
    batch: int = 100
    """Clips a step, over all processes, 2 or more."""
    seed: int = 0
    """Seed of weights, order, cuts and augmentations."""

    def __post_init__(self) -> None:
        in_range(
            self,
            clip_s=self.clip_s > 0,
            workers=self.workers >= 0,
            holdout=self.holdout is None or 0 < self.holdout < 1,
            batch=self.batch >= 2,
        )
        if self.validation_split is not None and self.holdout is not None:
            raise ValueError("--validation-split and --holdout exclude each other; choose one")


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """How it is learnt, and when that ends."""

    steps: int = 50_000
    """Optimiser steps, 1 or more."""
    lr: float = 5e-5
    """Learning rate of Adam, above 0."""
    weight_decay: float = 1e-6
    """Weight decay of Adam, 0 or more."""
    schedule: Literal["cosine", "published", "constant"] = "cosine"
    """Learning rate: an anneal after a warm-up, the published cycle of 2,000 steps, or constant."""
    validate_every: int = 500
    """Steps between validations, 1 or more."""
    patience: int = 50
    """Validations without progress after which training stops, 1 or more."""
    min_delta: float = 1e-3
    """What counts as progress of the joint validation loss, 0 or more."""

    def __post_init__(self) -> None:
        in_range(
            self,
            steps=self.steps >= 1,
            lr=self.lr > 0,
            weight_decay=self.weight_decay >= 0,
            validate_every=self.validate_every >= 1,
            patience=self.patience >= 1,
            min_delta=self.min_delta >= 0,
        )


@dataclass(frozen=True, kw_only=True)
class Devices:
    """What it runs on."""

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
    compile: bool = False
    """Compile the network's step with torch.compile (needs a C++ compiler); as CUDA graphs on a
    GPU."""

    def __post_init__(self) -> None:
        in_range(self, num_nodes=self.num_nodes >= 1)


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where it goes, and what it begins from."""

    out: str | None = None
    """Output folder; default runs/RECIPE."""
    resume: bool = False
    """Go on from the newest checkpoint in the output folder; start anew where there is none."""
    init: str | None = None
    """Weights to start from, heads too where they fit: a published MT-SLVR model (.pt), or a run or
    checkpoint of train. A run that is resumed has its own."""
    checkpoint_every: int = 1000
    """Steps between checkpoints, 1 or more; the newest three stay."""
    keep: str = ""
    """Steps whose checkpoints stay too, with commas between them, for example 0,100,500; 0 is the
    untrained."""
    log_every: int = 10
    """Steps between log entries, 1 or more."""
    preview: int | None = None
    """Do not train: show this many clips and their views in OUT/preview.html."""
    cache_channels: str | None = None
    """Do not train: write the channels of all clips to learn from into a folder of this folder for
    each separator, for --views.cache."""

    def __post_init__(self) -> None:
        in_range(
            self,
            checkpoint_every=self.checkpoint_every >= 1,
            log_every=self.log_every >= 1,
            preview=self.preview is None or self.preview >= 1,
            keep=all(step.strip().isdecimal() for step in self.keep.split(",") if self.keep),
        )

    @property
    def kept_steps(self) -> frozenset[int]:
        """The steps of `keep`."""
        return frozenset(int(step) for step in self.keep.split(",") if step.strip())


@dataclass(frozen=True)
class Choice:
    """A part of the model: its name in a registry or the class that the user typed, and its flags.

    The text travels, between processes too; the class is looked up where it is used.
    """

    name: str
    config: Any


@dataclass(frozen=True)
class HeadChoice:
    """An objective, the task of the encoder that it is trained on, and the weights of its terms."""

    name: str
    config: Any
    task: str
    weight: float = 1.0
    """Of every term, where none is named."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Of the terms that are named; the others then weigh nothing."""


@dataclass(frozen=True)
class Parts:
    """What the model and its views are made of."""

    front_end: Choice
    views: Choice
    encoder: Choice
    objectives: Mapping[str, HeadChoice]
    """By the name of the head in the log and in checkpoints."""
    bn_views: Literal["separate", "together"] = "separate"
    spec_augment: Choice | None = None
    """Of the images of the views; None: not at all."""


@dataclass(frozen=True)
class RunConfig:
    """What every training has."""

    recipe: str
    data: Data
    optimisation: Optimisation
    devices: Devices
    output: Output

    def flat(self) -> dict[str, Any]:
        """Every setting under the name of its flag, as plain values for files and comparisons."""
        settings: dict[str, Any] = {"recipe": self.recipe}
        for group in (self.data, self.optimisation, self.devices, self.output):
            settings |= dataclasses.asdict(group)
        return settings


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """Trains an encoder on a shard directory.

    The defaults are those of MT-SLVR (Heggan et al., Interspeech 2023). A recipe sets the fields
    that it names; --config and flags go before it.
    """

    parts: Parts

    def flat(self) -> dict[str, Any]:
        """As `RunConfig.flat`, and the parts."""
        settings = super().flat()
        parts = self.parts
        settings["bn_views"] = parts.bn_views
        doors: dict[str, Choice | HeadChoice] = {
            "front_end": parts.front_end,
            "views": parts.views,
            "encoder": parts.encoder,
            **({} if parts.spec_augment is None else {"spec_augment": parts.spec_augment}),
            **{f"objectives.{name}": head for name, head in parts.objectives.items()},
        }
        for door, choice in doors.items():
            about = dataclasses.asdict(choice)
            settings |= {f"{door}.{name}": value for name, value in about.pop("config").items()}
            settings |= {f"{door}.{name}": value for name, value in about.items()}
        return settings


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """What a separator learns from: sums of clips, whose parts it is never told."""

    mixture_of: int = 2
    """Clips that are summed, 2 or more and at most the channels; the batch is a multiple of it."""
    gain_db: float = 0.0
    """Each clip is louder or softer by up to this, drawn anew at each step, 0 to 60."""
    roll: bool = False
    """Begin each clip anywhere and go on at its beginning, drawn anew at each step."""
    silence_db: float = -60.0
    """Level below full scale, from -120 to 0, under which a cut of a clip counts as silent and its
    mixture is left out: there a separator would learn to be silent."""
    sources: str | None = None
    """Shard directory of sources of known mixtures, as `ingest demo-sources` writes it: validation
    then says how much better the channels match them than the mixture does."""
    sources_split: str = "mixtures"
    """Split of the sources."""

    def __post_init__(self) -> None:
        in_range(
            self,
            mixture_of=2 <= self.mixture_of <= 8,
            gain_db=0 <= self.gain_db <= 60,
            silence_db=-120 <= self.silence_db <= 0,
        )


@dataclass(frozen=True)
class SeparatorConfig(RunConfig):
    """Trains a separator on a shard directory: mixtures of its clips, no labels, no sources.

    MixIT (Wisdom et al., NeurIPS 2020). A recipe sets the fields that it names; --config and flags
    go before it.
    """

    mixing: Mixing
    separator: Choice

    def __post_init__(self) -> None:
        n, channels = self.mixing.mixture_of, self.separator.config.n_channels
        if self.data.batch % n:
            raise ValueError(f"--batch {self.data.batch}: give a multiple of --mixture-of {n}")
        if channels < n:
            raise ValueError(
                f"--separator.n-channels {channels}: fewer than the {n} clips of a mixture; give "
                f"{n} or more"
            )

    def flat(self) -> dict[str, Any]:
        """As `RunConfig.flat`, the mixing and the separator."""
        about = dataclasses.asdict(self.separator)
        named = {"separator.name": about["name"]}
        named |= {f"separator.{name}": value for name, value in about["config"].items()}
        return super().flat() | dataclasses.asdict(self.mixing) | named


GROUPS = (Data, Optimisation, Devices, Output)
"""Whose fields are flags of their own."""


def in_range(group: Any, **fits: bool) -> None:
    """Refuses a field that is out of its range.

    Args:
        group: a dataclass of options.
        fits: name of the field -> whether its value is in the range that its docstring says.

    Raises:
        ValueError: names the first flag that is not.
    """
    for name, fitting in fits.items():
        if not fitting:
            flag = "--" + name.replace("_", "-")
            raise ValueError(
                f"{flag} {getattr(group, name)}: out of range; see `train --help` for it"
            )
