"""Clips that two shard directories have in common, by the hash of their samples."""

from pathlib import Path

import pyarrow.parquet as pq

from slvr.shards.read import ShardDirectory


def common_keys(directory: ShardDirectory, split: str, other: str | Path) -> frozenset[str]:
    """Keys of the clips of a split whose samples another table has too, under whatever key."""
    hashes = set(pq.read_table(other, columns=["pcm_sha256"])["pcm_sha256"].to_pylist())
    rows = directory.clips(split)
    return frozenset(rows["key"][rows["pcm_sha256"].isin(hashes)])
