"""Two shard directories side by side, from their tables alone: no audio is read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from slvr.shards.clip import OK
from slvr.shards.manifest import CLIPS

ONLY_A, ONLY_B = "only in A", "only in B"
SAME_PCM, DIFFERENT_PCM = "same PCM", "different PCM"
SAME_FAILURE = "same failure"
DIFFERENT_STATUS = "different status or reason"
DIFFERENT_PLACE = "different labels or split"
KINDS = (
    SAME_PCM,
    SAME_FAILURE,
    ONLY_A,
    ONLY_B,
    DIFFERENT_STATUS,
    DIFFERENT_PCM,
    DIFFERENT_PLACE,
)
"""What can be said of a key; each key that A or B asked for is of exactly one kind."""

_COLUMNS = ["key", "split", "labels", "status", "reason", "pcm_sha256"]


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
    same_place = (rows["split_a"] == rows["split_b"]) & (rows["labels_a"] == rows["labels_b"])
    # the first that holds
    rules = {
        ONLY_A: rows["side"] == "left_only",
        ONLY_B: rows["side"] == "right_only",
        DIFFERENT_STATUS: (ok_a != ok_b) | (~ok_a & ~same_reason),
        DIFFERENT_PCM: ok_a & (rows["pcm_sha256_a"] != rows["pcm_sha256_b"]),
        DIFFERENT_PLACE: ~same_place,
        SAME_PCM: ok_a,
    }
    conditions = [rule.to_numpy(bool) for rule in rules.values()]
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
    path = directory / CLIPS
    try:
        table = pq.read_table(path, columns=_COLUMNS)
    except FileNotFoundError as error:
        raise ValueError(
            f"{path}: no such file; give a finished shard directory, or run its `ingest ...` "
            "command again to finish it"
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: unreadable: {error}; see `ingest verify {directory}`") from error
    place = table.column_names.index("labels")
    # joined to one text a row, which compares fast; no label holds a line break
    table = table.set_column(place, "labels", pc.binary_join(table["labels"], "\n"))
    rows: pd.DataFrame = table.to_pandas()
    repeated = rows["key"][rows["key"].duplicated()]
    if len(repeated):
        raise ValueError(
            f"{path}: key {repeated.iloc[0]} occurs twice; see `ingest verify {directory}`"
        )
    return rows
