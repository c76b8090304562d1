"""Settings of `evaluate` and of its commands.

Each class describes a group of flags; those at the end put together what a command takes.
"""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Models:
    """What is evaluated, on what, and how clips become features."""

    shards: tuple[str, ...]
    """Shard directories of `ingest`."""
    checkpoint: tuple[str, ...] = ()
    """Run folders of `train` or checkpoint files."""
    released: tuple[str, ...] = ()
    """Published MT-SLVR models (.pt), all of one variant."""
    variant: Literal["none", "split", "bn", "series", "parallel"] | None = None
    """Variant of the published models; by default what each file's name says."""
    encoder: tuple[str, ...] = ()
    """Encoders of your own as module:callable, (B, T) waveforms at 16 kHz in, (B, D) out."""
    encoder_input: Literal["waveform", "features"] = "waveform"
    """What your own encoders take; features: (B, 3, 128, L) images of MT-SLVR's front end."""
    out: str | None = None
    """Folder of the results; by default results/NAME of the first model."""
    protocol: Literal["matched", "published", "later"] = "matched"
    """matched: waveforms normalised as in training, 5 s pieces, L2-normalised features; published:
    the original code of the paper's time, waveforms and features as they are, native pieces;
    later: its later versions, waveforms normalised one by one, 5 s pieces, L2."""
    piece: str | None = None
    """native, 5s, whole or a number of seconds: pieces that clips are cut into, the last one
    repeated until it is full; by default as the protocol says."""
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


@dataclass(frozen=True, kw_only=True)
class FewShotTasks:
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


@dataclass(frozen=True, kw_only=True)
class Judges:
    """Who else is judged, and how."""

    classifier: Literal["sgd", "logistic", "centroid"] = "sgd"
    """sgd: the published one-versus-all log-loss SGD; logistic: multinomial with an L2 penalty;
    centroid: the nearest class mean."""
    baselines: bool = True
    """Also evaluate the same network untrained, and nearest centroids of mean log-mel spectra."""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Augmented clips."""

    n_clips: int = 1000
    """Clips that are augmented, at least 1."""
    n_draws: int = 3
    """Random settings of each augmentation for each of them, at least 1. The clips differ so much
    that more settings hardly narrow the confidence interval."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """The classifier on top of frozen features."""

    train_split: str = "train"
    """Split whose clips the classifier learns from."""
    hidden: int = 0
    """Units of the one hidden layer; 0 for a linear classifier."""
    epochs: int = 50
    """Passes over the training clips, at least 1."""
    lr: float = 1e-3
    """Greatest learning rate of AdamW, above 0; it anneals to 0 along a cosine."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Queries by example."""

    n_positive: int = 100
    """Clips of a class, at most; at least 2."""
    n_negative: int = 100
    """Clips of other classes beside them, at most; at least 1."""


def _check(config: Any, **least: int) -> None:
    for name, smallest in ({"seed": 0, "batch": 1} | least).items():
        value = getattr(config, name)
        if value < smallest:
            flag = "--" + name.replace("_", "-")
            raise ValueError(f"{flag} {value}: out of range; expected {smallest} or more")
    if not (config.checkpoint or config.released or config.encoder):
        raise ValueError(
            "nothing to evaluate: give --checkpoint RUN of `train`, --released FILE of a published "
            "model, or --encoder module:callable"
        )


_TASKS = {"n_way": 2, "k_shot": 1, "n_query": 1, "n_tasks": 2}


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(Models, FewShotTasks, Judges):
    """Few-shot accuracy of encoders on labelled shards."""

    def __post_init__(self) -> None:
        _check(self, **_TASKS)


@dataclass(frozen=True, kw_only=True)
class InvarianceConfig(Models, Draws):
    """Mahalanobis distance between features of clips and augmented clips, by augmentation."""

    def __post_init__(self) -> None:
        _check(self, n_clips=1, n_draws=1)


@dataclass(frozen=True, kw_only=True)
class WeightsConfig(Models, FewShotTasks):
    """Share of few-shot classifiers' weight norm that lies on each head."""

    def __post_init__(self) -> None:
        _check(self, **_TASKS)


@dataclass(frozen=True, kw_only=True)
class ProbeConfig(Models, Training):
    """A classifier over all training clips: accuracy, or mAP where clips have several labels."""

    def __post_init__(self) -> None:
        _check(self, hidden=0, epochs=1)
        if not self.lr > 0:
            raise ValueError(f"--lr {self.lr}: out of range; expected more than 0")


@dataclass(frozen=True, kw_only=True)
class RetrieveConfig(Models, Examples):
    """Query by example: average precision of cosine similarity, by class and mean."""

    def __post_init__(self) -> None:
        _check(self, n_positive=2, n_negative=1)


CONFIGS: dict[str, type[Any]] = {
    "invariance": InvarianceConfig,
    "weights": WeightsConfig,
    "probe": ProbeConfig,
    "retrieve": RetrieveConfig,
}
"""The commands besides the few-shot table."""
