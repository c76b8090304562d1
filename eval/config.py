"""Settings of `evaluate`."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class EvaluateConfig:
    """Few-shot accuracy of trained encoders on labelled shards."""

    checkpoint: tuple[str, ...]
    """Run folders of `train` or checkpoint files, one column of the table each."""
    shards: tuple[str, ...]
    """Shard directories of `ingest`, each a labelled set and a row of the table."""
    out: str | None = None
    """Folder of the results; by default results/NAME of the first checkpoint."""
    n_way: int = 5
    """Classes of a task, at least 2."""
    k_shot: int = 1
    """Labelled clips (supports) of a class, at least 1."""
    n_query: int = 1
    """Clips of a class to be recognised (queries), at least 1."""
    n_tasks: int = 10_000
    """Tasks a set, at least 2; the confidence interval narrows with their square root."""
    seed: int = 0
    """Seed of the tasks, of the classifier's order and of the untrained network, at least 0."""
    classifier: Literal["sgd", "logistic", "centroid"] = "sgd"
    """sgd: the published one-versus-all log-loss SGD; logistic: multinomial with an L2 penalty;
    centroid: the nearest class mean."""
    normalise_features: Literal["l2", "none"] = "l2"
    """l2 divides each feature vector by its length; the paper's tables are nearest to none."""
    split: str | None = None
    """Split to evaluate; by default `eval`, else `test`, else the only one there is."""
    piece_s: float = 5.0
    """Length in seconds of the pieces that clips are cut into, above 0; the last one of a clip is
    repeated until it fills a piece."""
    baselines: bool = True
    """Also evaluate the same network untrained, and nearest centroids of mean log-mel spectra."""
    batch: int = 32
    """Pieces that go through the network at once, at least 1."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto takes the first GPU where there is one."""
    cache: str = "results/features"
    """Folder of computed features, keyed by the hashes of checkpoint and shards; may be deleted."""

    def __post_init__(self) -> None:
        least = {"n_way": 2, "k_shot": 1, "n_query": 1, "n_tasks": 2, "seed": 0, "batch": 1}
        for name, smallest in least.items():
            value = getattr(self, name)
            if value < smallest:
                flag = "--" + name.replace("_", "-")
                raise ValueError(f"{flag} {value}: out of range; expected {smallest} or more")
        if not self.piece_s > 0:
            raise ValueError(
                f"--piece-s {self.piece_s}: out of range; expected more than 0 seconds"
            )
