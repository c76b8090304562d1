"""What an evaluation had better not hold: a clip twice, and clips that a model was trained on.

Both are told by the hashes of samples: of the training shards from the tables that the model's
`run.json` names, of the evaluated set from its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slvr.command.record import RECORD, read_record
from slvr.eval.config import Compared, Models
from slvr.eval.sets import EvaluatedSet
from slvr.eval.tables import Table
from slvr.shards.common import pcm_hashes
from slvr.shards.copies import count_copies
from slvr.shards.files import is_remote
from slvr.shards.read import ShardDirectory

UNKNOWN = "?"


@dataclass(frozen=True)
class TrainedOn:
    """The clips in the training shards of a model.

    Attributes:
        hashes: of their samples; None where they cannot be told.
        unknown: what of it is not known, and why; a clause.
    """

    hashes: frozenset[str] | None
    unknown: str = ""


NOBODY_KNOWS = TrainedOn(None, "what it was trained on is not recorded")


@dataclass(frozen=True)
class Leaks:
    """What was found in one set, before anything is left out.

    Attributes:
        n_clips: of the split.
        n_equal: of them, those with the samples of another one.
        n_seen: model -> of them, those in its training shards; None where that is not known.
        n_evaluated: clips that are left.
    """

    n_clips: int
    n_equal: int
    n_seen: Mapping[str, int | None]
    n_evaluated: int

    def lines(self, name: str) -> list[str]:
        """What a user had better know before the numbers come."""
        found = []
        if self.n_equal:
            found.append(f"{self.n_equal:,} have the samples of another one")
        by_number: dict[int, list[str]] = {}
        for model, n in self.n_seen.items():
            by_number.setdefault(n or 0, []).append(model)
        found += [
            f"{n:,} are in the training shards of {' and of '.join(models)}"
            for n, models in by_number.items()
            if n
        ]
        if not found:
            return []
        left_out = self.n_clips - self.n_evaluated
        kept = f"; {left_out:,} left out" if left_out else ""
        return [f"{name}: of {self.n_clips:,} clips {', '.join(found)}{kept}"]


def trained_on(checkpoint: str, moved: str | None = None) -> TrainedOn:
    """The clips in the shards that a checkpoint was trained on, by the run.json beside it.

    Args:
        checkpoint: a run folder of `train`, or a checkpoint in one.
        moved: a shard directory that is looked at first: it may be what was trained on.
    """
    try:
        config = _training_of(checkpoint)
        hashes = _hashes(config, moved)
    except (ValueError, OSError) as error:
        return TrainedOn(None, str(error))
    if not (first := config.get("init")):
        return TrainedOn(hashes)
    before = trained_on(first, moved)
    unknown = f"of its first weights, {first}: {before.unknown}" if before.unknown else ""
    return TrainedOn(hashes | (before.hashes or frozenset()), unknown)


def _training_of(checkpoint: str) -> dict[str, Any]:
    """The configuration in the run.json of a training, and `fingerprints` of what it read.

    Raises:
        ValueError: there is none.
    """
    path = Path(checkpoint)
    record = (path if path.is_dir() else path.parent) / RECORD
    if not record.is_file():
        raise ValueError(f"{record} is not there, so it is not known what it was trained on")
    about = read_record(record.parent)
    if about["command"] != "train":
        raise ValueError(f"{record} is not that of a training")
    return {**about["config"], "fingerprints": [*about["datasets"].values()]}


def shards_moved_to(config: Models) -> str | None:
    """Where training shards may be that are not where they were; None where nobody says."""
    return config.calibrate_on if isinstance(config, Compared) else None


def _hashes(config: Mapping[str, Any], moved: str | None) -> frozenset[str]:
    """Of the samples of all clips in the training split, in `only` where there is one.

    Raises:
        ValueError: the shards are elsewhere, not there, or others now.
    """
    shards = str(config["shards"])
    if moved is not None and ShardDirectory.open(moved).fingerprint in config["fingerprints"]:
        shards = moved
    if is_remote(shards):
        raise ValueError(f"its training shards {shards} are not on this machine")
    try:
        directory = ShardDirectory.open(shards)
        only = None if config.get("only") is None else pcm_hashes(config["only"])
        hashes = frozenset(directory.clips(config.get("split", "train"), only)["pcm_sha256"])
    except (ValueError, OSError) as error:
        raise ValueError(f"its training shards cannot be read: {error}") from error
    if directory.fingerprint not in config["fingerprints"]:
        raise ValueError(f"its training shards {shards} have changed since")
    return hashes


def seen_by_any(config: Models) -> frozenset[str]:
    """Hashes of what `--drop-seen` leaves out: the clips in the training shards of any model.

    Raises:
        ValueError: of a model it is not known what it was trained on.
    """
    moved = shards_moved_to(config)
    found = {path: trained_on(path, moved) for path in config.checkpoint}
    found |= dict.fromkeys((*config.released, *config.encoder, *config.hear), NOBODY_KNOWS)
    for path, known in found.items():
        if known.unknown:
            raise ValueError(
                f"--drop-seen: {path}: {known.unknown}; put its training shards where they were "
                "or say with --calibrate-on where they are now, or leave --drop-seen out"
            )
    return frozenset().union(*(known.hashes or () for known in found.values()))


def leaks_of(data: EvaluatedSet, trained: Mapping[str, TrainedOn]) -> Leaks:
    """What there is in a set; `trained` is of each model by its name."""
    hashes = data.all_clips()["pcm_sha256"]
    n_seen = {
        name: None if known.hashes is None else int(hashes.isin(known.hashes).sum())
        for name, known in trained.items()
    }
    return Leaks(len(hashes), count_copies(hashes).n_equal, n_seen, len(data.clips()))


def leaks_table(found: Mapping[str, Leaks], trained: Mapping[str, TrainedOn]) -> Table:
    """One row a set: its clips, those that are there twice, and those each model has seen."""
    rows = []
    for name, leaks in found.items():
        seen = [UNKNOWN if n is None else f"{n:,}" for n in leaks.n_seen.values()]
        numbers = [f"{leaks.n_clips:,}", f"{leaks.n_equal:,}", *seen, f"{leaks.n_evaluated:,}"]
        rows.append([name, *numbers])
    return Table(
        "Clips whose samples another one has, or the training shards",
        ["set", "clips", "equal to another", *(f"seen by {name}" for name in trained), "evaluated"],
        rows,
        [f"{name}: {known.unknown}." for name, known in trained.items() if known.unknown],
    )
