"""Two shard directories side by side, from their tables alone: no audio is read."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from slvr.shards.clip import OK
from slvr.shards.rows import CLIPS, COLUMNS, read_table

ONLY_A, ONLY_B = "only in A", "only in B"
SAME_PCM, DIFFERENT_PCM = "same PCM", "different PCM"
SAME_FAILURE = "same failure"
DIFFERENT_STATUS = "different status or reason"
_COMPARED = [each for each in COLUMNS if each.compared]
*_OTHERS, _LAST = (each.name for each in _COMPARED)
DIFFERENT_WORDS = f"different {', '.join(_OTHERS)} or {_LAST}"
KINDS = (
    SAME_PCM,
    SAME_FAILURE,
    ONLY_A,
    ONLY_B,
    DIFFERENT_STATUS,
    DIFFERENT_PCM,
    DIFFERENT_WORDS,
)
"""What can be said of a key; each key that A or B asked for is of exactly one kind."""

_READ = ["key", "status", "reason", "pcm_sha256", *(each.name for each in _COMPARED)]


@dataclass(frozen=True)
class Comparison:
    """What two directories have in common, and what not.

    Attributes:
        counts: kind -> number of keys, all of `KINDS` in their order.
        reasons: one row for each kind, status and reason in A and in B that occurs, with the
            number of keys `n`, most frequent first; empty text where a side has no row.
        differences: one row for each key that is not the same: `key`, `kind`, and `status`,
            `reason` and `pcm_sha256` with the suffixes `_a` and `_b`, sorted by key.
    """

    counts: dict[str, int]
    reasons: pd.DataFrame
    differences: pd.DataFrame

    @property
    def same(self) -> bool:
        """Whether A and B hold the same audio under the same keys and miss the same clips."""
        return self.differences.empty

    @property
    def verdict(self) -> str:
        """The comparison in one line."""
        parts = {kind: f"{n} {kind}" for kind, n in self.counts.items() if n}
        alike = ", ".join(parts.pop(kind) for kind in (SAME_PCM, SAME_FAILURE) if kind in parts)
        if self.same:
            return f"the same: {alike}"
        return f"different: {', '.join(parts.values())} (besides {alike or 'none alike'})"

    def lines(self) -> list[str]:
        """One line for each kind and reason that occurs, most frequent first."""
        lines = []
        for row in self.reasons.to_dict("records"):
            a, b = (
                f"{row[f'status_{side}']}: {row[f'reason_{side}']}".rstrip(": ") for side in "ab"
            )
            became = f"{a} -> {b}" if a and b and a != b else a or b
            lines.append(f"{row['n']} {row['kind']} ({became})")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """All of it for `json.dumps`."""
        return {
            "same": self.same,
            "verdict": self.verdict,
            "counts": self.counts,
            "reasons": self.reasons.to_dict("records"),
            "differences": self.differences.to_dict("records"),
        }


def compare(a: Path, b: Path) -> Comparison:
    """What the tables of two shard directories say of each other's clips, matched by key.

    Raises:
        ValueError: a directory has no readable `clips.parquet`, or one with a key twice.
    """
    rows = _rows(a).merge(
        _rows(b), on="key", how="outer", suffixes=("_a", "_b"), indicator="side", sort=True
    )
    ok_a, ok_b = rows["status_a"] == OK, rows["status_b"] == OK
    same_reason = (rows["status_a"] == rows["status_b"]) & (rows["reason_a"] == rows["reason_b"])
    same_words = np.logical_and.reduce(
        [rows[f"{each.name}_a"] == rows[f"{each.name}_b"] for each in _COMPARED]
    )
    # the first that holds
    rules = {
        ONLY_A: rows["side"] == "left_only",
        ONLY_B: rows["side"] == "right_only",
        DIFFERENT_STATUS: (ok_a != ok_b) | (~ok_a & ~same_reason),
        DIFFERENT_PCM: ok_a & (rows["pcm_sha256_a"] != rows["pcm_sha256_b"]),
        DIFFERENT_WORDS: ~same_words,
        SAME_PCM: ok_a,
    }
    conditions = [np.asarray(rule, bool) for rule in rules.values()]
    rows["kind"] = np.select(conditions, list(rules), SAME_FAILURE)
    texts = [f"{name}_{side}" for side in "ab" for name in ("status", "reason")]
    rows[texts] = rows[texts].fillna("")
    counts = rows["kind"].value_counts()
    differs = ~rows["kind"].isin([SAME_PCM, SAME_FAILURE])
    hashes = ["pcm_sha256_a", "pcm_sha256_b"]
    differences = rows.loc[differs, ["key", "kind", *texts, *hashes]]
    return Comparison(
        counts={kind: int(counts.get(kind, 0)) for kind in KINDS},
        reasons=rows.value_counts(["kind", *texts]).rename("n").reset_index(),
        differences=differences.fillna("").reset_index(drop=True),
    )


def _rows(directory: Path) -> pd.DataFrame:
    """One row a key, what is compared as text, which compares fast."""
    path = directory / CLIPS
    try:
        table = read_table(path, _READ)
    except FileNotFoundError as error:
        raise ValueError(
            f"{path}: no such file; give a finished shard directory, or run its `ingest ...` "
            "command again to finish it"
        ) from error
    for each in _COMPARED:
        if pa.types.is_list(each.type):
            place = table.column_names.index(each.name)
            table = table.set_column(place, each.name, _text(table[each.name]))
    rows: pd.DataFrame = table.to_pandas()
    repeated = rows["key"][rows["key"].duplicated()]
    if len(repeated):
        raise ValueError(
            f"{path}: key {repeated.iloc[0]} occurs twice; see `ingest verify {directory}`"
        )
    return rows


def _text(lists: pa.ChunkedArray) -> pa.Array:
    """A text for each list, equal for equal ones."""
    if lists.type.value_type == pa.string():
        return pc.binary_join(lists, "\n")  # no label holds a line break
    return pa.array([json.dumps(items) if items else "" for items in lists.to_pylist()])
