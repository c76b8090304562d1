"""Finished shards taken apart again, for the sake of some of their clips."""

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path

from slvr.ingest.building.ledger import Ledger
from slvr.ingest.building.spool import Spool
from slvr.shards.clip import Clip
from slvr.shards.rows import Place


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
    rows = {row.clip.key: row for row in ledger.rows()}
    reopened = []
    for shard, clips in dealt.items():
        name = f"{shard}.tar"
        shard_rows = [rows[clip.key] for clip in clips if name in finished]
        if not any(row.clip.status in again for row in shard_rows):
            continue
        for row in shard_rows:
            if row.clip.status not in again:
                audio = None if row.place is None else _member(out, row.place)
                spool.put(dataclasses.replace(row.clip, audio=audio))
        ledger.forget(name, [clip.key for clip in clips])
        reopened.append(name)
    return reopened


def _member(out: Path, place: Place) -> bytes:
    with (out / place.shard).open("rb") as tar:
        tar.seek(place.audio_offset_bytes)
        return tar.read(place.audio_length_bytes)
