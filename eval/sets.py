"""The labelled sets that are evaluated, and which of their clips."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from slvr.eval.config import Models
from slvr.eval.pieces import Cutting, n_pieces
from slvr.eval.protocol import PROTOCOLS, piece_s
from slvr.pipeline.short import Short
from slvr.shards.clip import SAMPLE_RATE_HZ
from slvr.shards.common import pcm_hashes
from slvr.shards.read import ClipDataset, ShardDirectory


@dataclass(frozen=True)
class EvaluatedSet:
    """A split of a shard directory.

    Attributes:
        directory: the shards.
        split: one of their splits.
        piece_s: length in seconds of the pieces that clips are cut into; None for whole clips.
        only: hashes of the samples of the clips that are evaluated; None for all.
        cutting: where pieces lie.
        short: what fills clips shorter than a piece.
        seen: hashes of the samples of clips that are left out.
        distinct: of several clips with equal samples only the first is evaluated.
    """

    directory: ShardDirectory
    split: str
    piece_s: float | None
    only: frozenset[str] | None = None
    cutting: Cutting = "spread"
    short: Short = "loop"
    seen: frozenset[str] = frozenset()
    distinct: bool = False

    @property
    def name(self) -> str:
        """Name in the tables."""
        return self.directory.name

    def __str__(self) -> str:
        return f"{self.directory.path}, split {self.split!r}"

    @property
    def samples(self) -> int | None:
        """Samples of a piece; None for whole clips."""
        return None if self.piece_s is None else round(self.piece_s * SAMPLE_RATE_HZ)

    def n_pieces(self) -> NDArray[np.int64]:
        """Pieces of each clip."""
        n_samples = self.clips()["n_samples"].to_numpy()
        if self.samples is None:
            return np.ones_like(n_samples)
        return n_pieces(n_samples, self.samples, self.cutting)

    def clips(self) -> pd.DataFrame:
        """The rows of the clips that are evaluated, in the order of `dataset`.

        Raises:
            ValueError: no such split, none of its clips is in `only`, or none is left.
        """
        there = clips = self.all_clips()
        if self.seen:
            clips = clips[~clips["pcm_sha256"].isin(self.seen)]
        if self.distinct:
            clips = clips.drop_duplicates("pcm_sha256")
        if clips.empty and len(there):
            raise ValueError(
                f"{self}: all {len(there)} clips have been trained on; leave out "
                "--drop-seen, or choose another set"
            )
        return clips.reset_index(drop=True)

    def all_clips(self) -> pd.DataFrame:
        """The rows of the split's clips, in `only` where there is one.

        Raises:
            ValueError: no such split, or none of its clips is in `only`.
        """
        return self.directory.clips(self.split, self.only)

    @property
    def is_part(self) -> bool:
        """Whether clips of the split may be left out."""
        return self.only is not None or bool(self.seen) or self.distinct

    def labels(self) -> list[list[str]]:
        """The labels of each clip."""
        return list(self.clips()["labels"])

    def dataset(self) -> ClipDataset:
        """The clips, by position."""
        return ClipDataset(self.directory.path, self.clips())

    def of_split(self, split: str) -> "EvaluatedSet":
        """The same of another split.

        Raises:
            ValueError: no such split, or no clips in it.
        """
        other = dataclasses.replace(self, split=split)
        if other.clips().empty:
            path = self.directory.path
            raise ValueError(f"{path}, split {split!r}: no clips; see {path}/clips.parquet")
        return other


def open_sets(config: Models, seen: frozenset[str] = frozenset()) -> list[EvaluatedSet]:
    """The shard directories of `--shards`, each with the split that is evaluated.

    Args:
        config: which, and which of their clips.
        seen: hashes of the samples of clips that are left out.

    Raises:
        ValueError: a directory that cannot be read, two of one name, no such split, or no clips.
    """
    protocol = PROTOCOLS[config.protocol]
    piece = config.piece or protocol.piece
    only = None if config.only is None else pcm_hashes(config.only)
    sets: dict[str, EvaluatedSet] = {}
    for path in config.shards:
        directory = ShardDirectory.open(path)
        if directory.name in sets:
            other = sets[directory.name].directory.path
            raise ValueError(
                f"--shards: {other} and {path} both hold the set {directory.name!r}; give one"
            )
        length_s = piece_s(piece, directory.manifest.recipe)
        split = config.split or _default_split(directory, config.takes_folds)
        data = EvaluatedSet(
            directory,
            split,
            length_s,
            only,
            protocol.cutting,
            config.short,
            seen,
            config.drop_duplicates,
        )
        sets[directory.name] = data.of_split(split)
    return list(sets.values())


def set_columns(data: EvaluatedSet) -> dict[str, Any]:
    """What a set is made of: columns of `results.csv`."""
    clips = data.clips()
    durations_s = clips["n_samples"] / SAMPLE_RATE_HZ
    return {
        "piece": "whole clips" if data.piece_s is None else f"{data.piece_s:g} s",
        "cutting": data.cutting,
        "short": data.short,
        "set_clips": len(clips),
        "set_pieces": int(data.n_pieces().sum()),
        "set_classes": len({label for labels in clips["labels"] for label in labels}),
        "set_shortest_s": float(durations_s.min()),
        "set_median_s": float(durations_s.median()),
        "set_longest_s": float(durations_s.max()),
    }


def clip_labels(data: EvaluatedSet) -> list[str]:
    """The one label of each clip, in the order of the features.

    Raises:
        ValueError: a clip with no label or with several.
    """
    labels = data.labels()
    n_without = sum(not of_clip for of_clip in labels)
    if n_without:
        others = ", ".join(data.directory.splits)
        raise ValueError(
            f"{data}: {n_without} of {len(labels)} clips have no label, and each needs one; choose "
            f"another of the splits {others} with --split, or ingest the set with labels"
        )
    n_several = sum(len(of_clip) > 1 for of_clip in labels)
    if n_several:
        raise ValueError(
            f"{data}: {n_several} of {len(labels)} clips have several labels, and few-shot tasks "
            "need clips of one class; choose a single-label set"
        )
    return [label for (label,) in labels]


def _default_split(directory: ShardDirectory, takes_folds: bool) -> str:
    for split in ("eval", "test"):
        if split in directory.splits:
            return split
    if takes_folds and all(split.startswith("fold") for split in directory.splits):
        return directory.splits[0]
    if len(directory.splits) != 1:
        raise ValueError(
            f"{directory.path}: neither a split 'eval' nor 'test'; choose one of "
            f"{', '.join(directory.splits)} with --split"
        )
    return directory.splits[0]
