"""Finished shards taken apart again, for the sake of some of their clips."""

from collections.abc import Collection, Mapping
from pathlib import Path

from slvr.ingest.building.ledger import Ledger
from slvr.ingest.building.spool import Spool
from slvr.shards.clip import OK, Clip
from slvr.shards.manifest import Row, clip_of


def reopen(
    out: Path,
    dealt: Mapping[str, list[Clip]],
    finished: Collection[str],
    ledger: Ledger,
    spool: Spool,
    again: Collection[str],
) -> list[str]:
    """Names of the shards that hold a clip with a status in `again`; they are unfinished now.

    Args:
        out: the shard directory.
        dealt: planned clips by shard.
        finished: names of the intact tars.
        ledger: forgets the shards.
        spool: gets what else they hold, so that it is not fetched once more.
        again: statuses.
    """
    rows = {row["key"]: row for row in ledger.rows()}
    reopened = []
    for shard, clips in dealt.items():
        name = f"{shard}.tar"
        shard_rows = [rows[clip.key] for clip in clips if name in finished]
        if not any(row["status"] in again for row in shard_rows):
            continue
        for row in shard_rows:
            if row["status"] not in again:
                spool.put(clip_of(row, _member(out, row)))
        ledger.forget(name, [clip.key for clip in clips])
        reopened.append(name)
    return reopened


def _member(out: Path, row: Row) -> bytes | None:
    if row["status"] != OK:
        return None
    with (out / row["shard"]).open("rb") as tar:
        tar.seek(row["audio_offset_bytes"])
        member: bytes = tar.read(row["audio_length_bytes"])
    return member
