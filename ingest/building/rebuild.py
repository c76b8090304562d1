"""A lost ledger made anew from what the finished shards prove."""

import dataclasses
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from slvr.ingest.building.ledger import Ledger
from slvr.ingest.building.spool import Spool
from slvr.shards.clip import OK, Clip
from slvr.shards.columns import record_of
from slvr.shards.files import file_sha256
from slvr.shards.manifest import MANIFEST, Manifest, ShardInfo
from slvr.shards.rows import CLIPS, Row, read_rows

Dealt = Mapping[str, Sequence[Clip]]


def rebuild(out: Path, dealt: Dealt, ledger: Ledger, spool: Spool | None) -> int:
    """How many shards of the plan stand finished in the ledger again.

    Table and manifest of a finished directory prove whole shards, failures included. Without them
    a tar proves the clips in it, and nothing of those that failed: they go to the spool, so that
    nothing is fetched twice.

    Args:
        out: the shard directory.
        dealt: planned clips by shard.
        ledger: a new one.
        spool: of a recipe that fetches; None for one that makes clips of local files as fast.

    Raises:
        ValueError: the directory holds clips of another plan.
    """
    proven = _finished(out)
    if proven is None:
        if spool is not None:
            for shard, clips in dealt.items():
                planned = {clip.key: clip for clip in clips}
                for clip in _samples(out / f"{shard}.tar"):
                    _check(out, planned.get(clip.key), clip)
                    spool.put(clip)
        return 0
    infos, rows = proven
    n = 0
    for shard, clips in dealt.items():
        found = [rows.get(clip.key) for clip in clips]
        for clip, row in zip(clips, found, strict=True):
            _check(out, clip, None if row is None else row.clip)
        of_shard = [row for row in found if row is not None]
        name = f"{shard}.tar"
        info = infos.get(name, ShardInfo(name, clips[0].split, 0, "", 0))
        n_ok = sum(row.clip.status == OK for row in of_shard)
        whole = not n_ok or ((out / name).is_file() and file_sha256(out / name) == info.sha256)
        if info.n == n_ok and whole:
            ledger.commit(info, of_shard)
            n += 1
    return n


def _finished(out: Path) -> tuple[dict[str, ShardInfo], dict[str, Row]] | None:
    """Shards and rows of a finished directory; None where it is none."""
    try:
        text = (out / MANIFEST).read_text(encoding="utf-8")
        manifest = Manifest.from_json(text, str(out / MANIFEST))
        if manifest.clips_sha256 != file_sha256(out / CLIPS):
            return None
        rows = {row.clip.key: row for row in read_rows(out / CLIPS)}
    except (ValueError, FileNotFoundError):
        return None
    return {shard.name: shard for shard in manifest.shards}, rows


def _samples(tar: Path) -> Iterator[Clip]:
    """The clips of a tar, as far as it is whole."""
    try:
        with tarfile.open(tar, "r:") as opened:
            audio = b""
            for member in opened:
                file = opened.extractfile(member)
                content = b"" if file is None else file.read()
                if not member.name.endswith(".json"):
                    audio = content
                    continue
                known = {**json.loads(content), "status": OK, "reason": "", "detail": ""}
                yield dataclasses.replace(record_of(Clip, known), audio=audio)
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError):
        return  # its clips are made again


def _check(out: Path, planned: Clip | None, found: Clip | None) -> None:
    asked, there = (
        None if clip is None else (clip.key, clip.split, clip.labels, clip.source)
        for clip in (planned, found)
    )
    if asked != there:
        raise ValueError(
            f"{out}: its ledger is lost, and clip {(asked or there or ('none',))[0]} of its shards "
            "is not what this command asks for; give another --out, or remove the directory to "
            "build it anew"
        )
