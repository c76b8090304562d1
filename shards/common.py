"""The same clips across groups: those of which two directories hold the same samples.

Two groups that fetch one list from YouTube miss different clips. Each trains on what both have,
told from the tables alone: nothing is copied, no shard is rewritten.
"""

import hashlib
from pathlib import Path

import pyarrow.compute as pc

from slvr.shards.clip import OK
from slvr.shards.files import is_remote, open_file
from slvr.shards.read import ShardDirectory
from slvr.shards.rows import CLIPS, read_table


def table_location(other: str | Path) -> str:
    """Where the table of a shard directory lies, or a table itself; a path or a URL."""
    location = str(other).rstrip("/")
    is_table = location.endswith(".parquet") and (is_remote(location) or not Path(other).is_dir())
    return location if is_table else f"{location}/{CLIPS}"


def table_sha256(other: str | Path) -> str:
    """SHA-256 of the table that `pcm_hashes` reads, for the record of a run."""
    with open_file(table_location(other)) as file:
        return hashlib.sha256(file.read()).hexdigest()


def pcm_hashes(other: str | Path) -> frozenset[str]:
    """SHA-256 of the samples of every clip that a table has; for `only` of `ShardDirectory`.

    Args:
        other: a clips.parquet, or a shard directory; a path or a URL.

    Raises:
        ValueError: there is none, it is no such table, or no clip in it is ok.
    """
    location = table_location(other)
    try:
        table = read_table(location, ["status", "pcm_sha256"])
    except FileNotFoundError as error:
        raise ValueError(
            f"{location}: no such file; give the {CLIPS} of another shard directory"
        ) from error
    hashes = table.filter(pc.equal(table["status"], OK))["pcm_sha256"]
    if not len(hashes):
        raise ValueError(f"{location}: no clip in it is {OK}; give another directory's table")
    return frozenset(hashes.to_pylist())


def common_keys(directory: ShardDirectory, split: str, other: str | Path) -> frozenset[str]:
    """Keys of the clips of a split whose samples another table has too, under whatever key.

    Raises:
        ValueError: as `pcm_hashes`, no such split, or there is none.
    """
    return frozenset(directory.clips(split, pcm_hashes(other))["key"])
