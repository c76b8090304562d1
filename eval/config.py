"""Settings that several tasks of `evaluate` share; a task's own stand in its class.

`--help` needs these alone, so nothing here loads torch.
"""

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Models:
    """What is evaluated, on what, and how clips become features."""

    takes_folds = False  # no option: whether a set that has nothing but folds can be evaluated
    shards: tuple[str, ...]
    """Shard directories of `ingest`."""
    only: str | None = None
    """A clips.parquet of another group: score only the clips that it has too, by the hash of their
    samples."""
    drop_duplicates: bool = False
    """Score only the first of several clips with equal samples."""
    drop_seen: bool = False
    """Leave out clips whose samples are in the training shards of a model, by its run.json."""
    checkpoint: tuple[str, ...] = ()
    """Run folders of `train`, checkpoint files, or PANNs at 16 kHz (Cnn14_16k*.pth), a supervised
    upper anchor; runs that differ in their seed alone are one row with mean and deviation. In
    quotes a pattern, 'runs/a-*', stands for all that are there."""
    released: tuple[str, ...] = ()
    """Published MT-SLVR models (.pt), all of one variant."""
    variant: Literal["none", "split", "bn", "series", "parallel"] | None = None
    """Variant of the published models; by default what each file's name says."""
    allow: tuple[str, ...] = ()
    """Classes of your own that a checkpoint names, as package.module:Class or ./file.py:Class; of
    what a file names nothing else is run but ours."""
    encoder: tuple[str, ...] = ()
    """Encoders of your own as module:callable or ./file.py:callable, (B, T) waveforms at 16 kHz in,
    (B, D) out."""
    hear: tuple[str, ...] = ()
    """Encoders of others by the HEAR interface, as module or ./file.py, with @FILE behind it where
    weights are in a file."""
    encoder_input: Literal["waveform", "features"] = "waveform"
    """What your own encoders take; features: (B, 3, 128, L) images of MT-SLVR's front end."""
    out: str | None = None
    """Folder of the results; by default results/NAME of the first model."""
    protocol: Literal["matched", "published", "later"] = "matched"
    """matched: waveforms normalised as in training, full pieces of 5 s spread over each clip, all
    of which count, L2-normalised features; published: the original code of the paper's time,
    waveforms and features as they are, native pieces, one of them a support, votes; later: its
    later versions, waveforms normalised one by one, 5 s pieces, L2."""
    piece: str | None = None
    """native, 5s, whole or a number of seconds: pieces that clips are cut into; by default as the
    protocol says."""
    short: Literal["loop", "silence", "centre"] = "loop"
    """What fills clips shorter than a piece: the clip again and again, silence behind it, or
    silence on both sides; with protocols published and later the last piece too."""
    split: str | None = None
    """Split to evaluate; by default `eval`, else `test`, else the only one there is."""
    seed: int = 0
    """Seed of every random choice, at least 0."""
    batch: int = 32
    """Pieces of 5 s that go through the network at once, at least 1; fewer longer ones."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto takes the first GPU where there is one."""
    cache: str = "results/features"
    """Folder of computed features, keyed by the hashes of model and shards; may be deleted."""

    def __post_init__(self) -> None:
        check_least(self, seed=0, batch=1)
        object.__setattr__(self, "checkpoint", tuple(_matching(self.checkpoint)))
        if not (self.checkpoint or self.released or self.encoder or self.hear):
            raise ValueError(
                "nothing to evaluate: give --checkpoint RUN of `train`, --released FILE of a "
                "published model, --encoder module:callable, or --hear module"
            )


@dataclass(frozen=True, kw_only=True)
class Compared(Models):
    """Models, and what has learnt nothing beside them."""

    baselines: bool = True
    """Also evaluate what has learnt nothing: the same network untrained, its batch norms calibrated
    on the clips that the model was trained on, and statistics of log-mel spectra and of MFCCs."""
    uncalibrated: bool = False
    """Also evaluate the untrained network with batch norms that have seen nothing."""
    calibrate_on: str | None = None
    """Shard directory on whose training clips the untrained network's batch norms are calibrated;
    by default the one that the run was trained on, and --drop-seen finds that here where it has
    been moved."""


@dataclass(frozen=True, kw_only=True)
class FewShotTasks(Compared):
    """Few-shot tasks."""

    n_way: int = 5
    """Classes of a task, at least 2."""
    k_shot: int = 1
    """Labelled clips (supports) of a class, at least 1."""
    n_query: int = 1
    """Clips of a class to be recognised (queries), at least 1."""
    n_tasks: int = 10_000
    """Tasks a set, at least 2; the confidence interval narrows with their square root."""
    normalise_features: Literal["l2", "none"] | None = None
    """l2 divides each feature vector by its length; by default as the protocol says."""
    support: Literal["mean", "piece"] | None = None
    """What stands for a support: the mean of its pieces' features, or one random piece; by default
    as the protocol says."""
    query: Literal["scores", "votes"] | None = None
    """How the pieces of a query decide: by the sum of their scores, or by majority of votes, ties
    to the lowest class; by default as the protocol says."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, n_way=2, k_shot=1, n_query=1, n_tasks=2)


def _matching(paths: Sequence[str]) -> Iterator[str]:
    """The paths, and in place of a pattern those that it stands for."""
    for path in paths:
        found = [] if Path(path).exists() else sorted(glob.glob(path))  # noqa: PTH207 - also absolute
        yield from found or [path]


def check_least(config: Any, **least: int) -> None:
    """Nothing, where each of the named settings is at least as great as it has to be.

    Raises:
        ValueError: one is smaller.
    """
    for name, smallest in least.items():
        value = getattr(config, name)
        if value < smallest:
            flag = "--" + name.replace("_", "-")
            raise ValueError(f"{flag} {value}: out of range; expected {smallest} or more")
