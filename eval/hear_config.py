"""Settings of the tasks that learn a shallow predictor on frozen features, as HEAR's kit does."""

from dataclasses import dataclass
from typing import Literal

from slvr.eval.config import Compared, check_least


@dataclass(frozen=True, kw_only=True)
class Predicted(Compared):
    """Scores of a shallow predictor on frozen features."""

    takes_folds = True

    shards: tuple[str, ...] = ()
    """Shard directories, of `ingest hear` for instance."""
    task: tuple[str, ...] = ()
    """The same as --shards."""
    piece: str | None = "whole"
    """As for the other tasks; here clips are whole where nothing else is said."""
    seed: int = 42
    """Seed of weights, order and dropout, at least 0; the kit's is 42."""
    seeds: int = 1
    """Times that everything is trained, at least 1: with --seed and those after it."""
    predictor: Literal["kit", "linear"] = "kit"
    """kit: networks of one and two hidden layers of 1024 units, the best of a grid on the
    validation split, as the HEAR benchmark has it; linear: one layer, as the ICASSP 2022 paper."""
    grid_points: int = 8
    """Points of the kit's grid of 16 that are tried, in its own order."""
    hidden_dim: int = 1024
    """Units of a hidden layer, at least 1."""
    lr: float = 1e-3
    """Learning rate of the linear predictor, above 0; the grid has its own."""
    max_epochs: int | None = None
    """Passes over the training split, at least 1; by default 500, and 250 for linear."""
    check_every: int | None = None
    """Epochs from one validation to the next, at least 1; by default 3, and 10 for dcase2016_task2,
    as in the kit."""
    patience: int = 20
    """Validations without a better score after which a point of the grid stops, at least 1."""
    train_split: str = "train"
    """Split that is learnt from; a set of folds has its own order."""
    valid_split: str = "valid"
    """Split on which epoch, point of the grid and post-processing are chosen."""
    hop: str = "50"
    """Sound events: milliseconds from one frame to the next, each a window of the clip; or network,
    the encoder's own frames of the whole clip in one pass."""
    window_ms: float = 960.0
    """Length of such a window in milliseconds, above 0."""
    stamps: Literal["centred", "ends"] = "centred"
    """Where --hop network stamps frames: in their middle, or evenly from the first to the last
    moment of the clip, as the public code of the ICASSP 2022 paper does."""
    threshold: float = 0.5
    """Sound events: a class is heard where its probability is greater; between 0 and 1."""
    median_filter_ms: float = 250.0
    """Length of the median filter over the frames, at least 0; 0 for none."""
    min_duration_ms: tuple[str, ...] = ()
    """Least durations in milliseconds, at least 0, of which the validation split chooses one; a
    single frame lasts 0. By default 125 and 250, as in the kit."""
    onset_ms: float = 200.0
    """How far from its reference an event may begin, at most; above 0."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "shards", tuple(dict.fromkeys((*self.shards, *self.task))))
        super().__post_init__()
        if not self.shards:
            raise ValueError("no set: give --task SHARDS, a directory that `ingest hear` has made")
        check_least(self, seeds=1, grid_points=1, hidden_dim=1, patience=1, median_filter_ms=0)
        for name in ("max_epochs", "check_every"):
            if getattr(self, name) is not None:
                check_least(self, **{name: 1})
        for name in ("lr", "window_ms", "onset_ms"):
            if not getattr(self, name) > 0:
                flag = "--" + name.replace("_", "-")
                raise ValueError(
                    f"{flag} {getattr(self, name)}: out of range; expected more than 0"
                )
        if not 0 < self.threshold < 1:
            raise ValueError(
                f"--threshold {self.threshold}: out of range; expected a number between 0 and 1"
            )
        assert self.least_ms  # both refuse what is no number
        assert self.hop_ms is None or self.hop_ms > 0

    @property
    def least_ms(self) -> tuple[float, ...]:
        """Milliseconds of `min_duration_ms`.

        Raises:
            ValueError: one is no number from 0 up.
        """
        try:
            least_ms = tuple(map(float, self.min_duration_ms)) or (125.0, 250.0)
        except ValueError:
            least_ms = (-1.0,)
        if not all(0 <= ms < float("inf") for ms in least_ms):
            given = " ".join(self.min_duration_ms)
            raise ValueError(f"--min-duration-ms {given}: expected milliseconds, 0 or more")
        return least_ms

    @property
    def hop_ms(self) -> float | None:
        """Milliseconds of `hop`; None for the network's own frames.

        Raises:
            ValueError: neither.
        """
        if self.hop == "network":
            return None
        try:
            hop_ms = float(self.hop.removesuffix("ms"))
        except ValueError:
            hop_ms = 0.0
        if not 1 <= hop_ms < float("inf"):
            raise ValueError(f"--hop {self.hop}: expected network, or milliseconds, 1 or more")
        return hop_ms
