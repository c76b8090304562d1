"""Every damage of a shard directory, by name.

Every statement is compared with the others: manifest, table, `<key>.json`, audio, index, Croissant.
Nothing that a file holds ends the check: what cannot be read is a damage, too.
"""

import json
import tarfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from slvr.shards.audio import decode, pcm_sha256
from slvr.shards.clip import OK
from slvr.shards.columns import from_cells, record_of
from slvr.shards.croissant import CROISSANT, croissant
from slvr.shards.files import file_sha256
from slvr.shards.manifest import Manifest, ShardInfo
from slvr.shards.read import ShardDirectory
from slvr.shards.rows import CLIPS, COLUMNS, Row, read_table, sample_fields
from slvr.shards.write import index_line, index_text

MOST_SAMPLE_BYTES = 2**30
"""A member that is larger is not read: none of ours comes near."""


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong: in which file, and what."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


@dataclass(frozen=True)
class _Stored:
    """A member of a tar without its content."""

    name: str
    offset: int
    size: int


def verify(
    directory: ShardDirectory, on_shard: Callable[[str], None] = lambda name: None
) -> list[Damage]:
    """Reads and re-hashes everything; an empty list means intact.

    Args:
        directory: the directory to check.
        on_shard: called with the name of each shard before it is read.
    """
    manifest = directory.manifest
    damages, table = _read_table(directory)
    if table is not None:
        damages += _guarded(CLIPS, _check_table(manifest, table))
    damages += _check_croissant(directory)
    named = {shard.name for shard in manifest.shards}
    for tar in sorted(directory.path.glob("*.tar")):
        if tar.name not in named:
            damages.append(Damage(tar.name, "stale manifest: it does not name this shard"))
    placed = None if table is None else _Rows(table)
    for shard in manifest.shards:
        on_shard(shard.name)
        rows = None if placed is None else placed.of(shard.name)
        path = directory.path / shard.name
        damages += _guarded(shard.name, _check_shard(path, shard, manifest.codec, rows))
    return damages


def _guarded(file: str, damages: Iterator[Damage]) -> Iterator[Damage]:
    """The damages, and as the last one what kept the check from going on."""
    try:
        yield from damages
    except Exception as error:  # a damaged file may raise anything
        yield Damage(file, f"cannot be checked to its end: {type(error).__name__}: {error}")


def _read_table(directory: ShardDirectory) -> tuple[list[Damage], pa.Table | None]:
    """What is wrong with the file of the table, and the table where it can be read."""
    path = directory.path / CLIPS
    if not path.is_file():
        return [Damage(CLIPS, "missing")], None
    damages = []
    if file_sha256(path) != directory.manifest.clips_sha256:
        damages = [
            Damage(CLIPS, "stale manifest or changed table: its SHA-256 is not the manifest's")
        ]
    try:
        return damages, read_table(path)
    except ValueError as error:
        return [*damages, Damage(CLIPS, str(error).removeprefix(f"{path}: "))], None


def _check_table(manifest: Manifest, table: pa.Table) -> Iterator[Damage]:
    """The table in itself, and against the manifest; by column, so that millions take seconds."""
    counted = table.group_by(["split", "status"]).aggregate([([], "count_all")]).to_pylist()
    found: dict[str, dict[str, int]] = {}
    for row in sorted(counted, key=lambda row: (row["split"], row["status"])):
        found.setdefault(row["split"], {})[row["status"]] = row["count_all"]
    stated = {split: dict(counts) for split, counts in manifest.counts.items()}
    if found != stated:
        yield Damage(CLIPS, f"counts by status: manifest says {stated}, table holds {found}")
    for key, n in Counter(table["key"].to_pylist()).items():
        if n > 1:
            yield Damage(CLIPS, f"key {key} occurs {'twice' if n == 2 else f'{n} times'}")
    is_ok = pc.equal(table["status"], OK)
    for name in ("shard", "audio_offset_bytes", "audio_length_bytes"):
        has_place = pc.is_valid(table[name])
        for key in table.filter(pc.xor(is_ok, has_place))["key"].to_pylist():
            yield Damage(CLIPS, f"clip {key}: it is {OK} or it has no {name}, never both or none")
    there = table.filter(is_ok)
    placed = Counter(there["shard"].to_pylist())
    for shard in manifest.shards:
        n = placed.pop(shard.name, 0)
        if n != shard.n:
            yield Damage(CLIPS, f"{n} clips lie in {shard.name}, the manifest says {shard.n}")
    for name in sorted(str(name) for name in placed if name is not None):
        yield Damage(CLIPS, f"clips lie in {name}, which the manifest does not name")
    rates = set(there["sample_rate_hz"].to_pylist()) - {manifest.sample_rate_hz}
    if rates:
        yield Damage(
            CLIPS, f"clips of {sorted(rates)} Hz, the manifest says {manifest.sample_rate_hz} Hz"
        )
    used = set(pc.unique(pc.list_flatten(table["labels"])).to_pylist())
    unknown = sorted(used - set(manifest.labels))
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        named = f"{', '.join(map(repr, unknown[:5]))}{more}"
        yield Damage(CLIPS, f"labels that the manifest's vocabulary has not: {named}")


def _check_croissant(directory: ShardDirectory) -> Iterator[Damage]:
    path = directory.path / CROISSANT
    if not path.is_file():
        yield Damage(CROISSANT, "missing")
    elif path.read_bytes() != croissant(directory.manifest).encode():
        yield Damage(CROISSANT, "stale or changed: it is not what the manifest gives")


class _Rows:
    """The rows of the clips that are there, by shard; one sort, whatever the number of shards."""

    def __init__(self, table: pa.Table) -> None:
        there = table.filter(pc.and_(pc.equal(table["status"], OK), pc.is_valid(table["shard"])))
        self._sorted = there.sort_by("shard")
        names, counts = np.unique(self._sorted["shard"].to_numpy(), return_counts=True)
        ends = np.cumsum(counts)
        self._ranges = dict(zip(names, zip(ends - counts, counts, strict=True), strict=True))

    def of(self, shard: str) -> dict[str, dict[str, Any]]:
        """Key -> cells of the clips that the table puts into a shard."""
        first, n = self._ranges.get(shard, (0, 0))
        return {cells["key"]: cells for cells in self._sorted.slice(first, n).to_pylist()}


def _check_shard(
    path: Path, shard: ShardInfo, codec: str, rows: Mapping[str, dict[str, Any]] | None
) -> Iterator[Damage]:
    if not path.is_file():
        yield Damage(shard.name, "missing")
        return
    n_bytes = path.stat().st_size
    if n_bytes < shard.bytes:
        yield Damage(shard.name, f"truncated: {n_bytes} bytes, expected {shard.bytes}")
    elif n_bytes > shard.bytes:
        yield Damage(shard.name, f"too long: {n_bytes} bytes, expected {shard.bytes}")
    elif file_sha256(path) != shard.sha256:
        yield Damage(shard.name, "changed: its SHA-256 is not the manifest's (a flipped byte?)")

    whole: list[tuple[_Stored, _Stored]] = []
    n_samples = 0
    for key, members, damage in _samples(path, codec):
        if damage:
            yield Damage(shard.name, damage)
        if not key:
            continue
        n_samples += 1
        if set(members) != {codec, "json"}:
            found = ", ".join(sorted(members))
            yield Damage(
                shard.name,
                f"cut between members: clip {key} has {found}, expected {codec}, json",
            )
            continue
        (audio, pcm), (fields, text) = members[codec], members["json"]
        whole.append((audio, fields))
        row = None if rows is None else rows.get(key)
        if rows is not None and row is None:
            yield Damage(shard.name, f"clip without row: the shard has {key}, {CLIPS} has not")
        for what in _sample_damages(shard, audio, pcm, text, row):
            yield Damage(shard.name, f"clip {key}: {what}")
    if n_samples != shard.n:
        yield Damage(shard.name, f"holds {n_samples} clips, the manifest says {shard.n}")
    yield from _check_index(path.with_suffix(".idx"), whole)
    present = {audio.name.partition(".")[0] for audio, _ in whole}
    for key in sorted(set(rows or ()) - present):
        yield Damage(shard.name, f"row without clip: {CLIPS} has {key}, the shard has not")


def _samples(path: Path, codec: str) -> Iterator[tuple[str, dict[str, tuple[_Stored, bytes]], str]]:
    """Key, members by suffix, and a damage or nothing, of the samples of a tar, one at a time."""
    held: dict[str, tuple[_Stored, bytes]] = {}
    held_key = ""
    seen: set[str] = set()
    broken = ""
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                what = _member_damage(member, codec, seen)
                if what:
                    yield "", {}, f"member {member.name[:200]!r}: {what}"
                    continue
                seen.add(member.name)
                if held and key != held_key:
                    yield held_key, held, ""
                    held = {}
                file = tar.extractfile(member)
                content = b"" if file is None else file.read()
                held_key = key
                held[suffix] = _Stored(member.name, member.offset_data, member.size), content
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        broken = f"the tar cannot be read to its end: {error}"
    if held:
        yield held_key, held, ""
    if broken:
        yield "", {}, broken


def _member_damage(member: tarfile.TarInfo, codec: str, seen: Collection[str]) -> str:
    """Why a member is none of a shard, or nothing."""
    if not member.isreg() or member.issparse():
        return "no plain file (a link, a folder, a device?); a shard holds audio and json alone"
    if member.size > MOST_SAMPLE_BYTES:
        return f"{member.size:,} bytes, expected at most {MOST_SAMPLE_BYTES:,}"
    if member.name in seen:
        return "a second one of this name"
    key, _, suffix = member.name.partition(".")
    if suffix not in (codec, "json") or "/" in key:
        return f"expected <key>.{codec} or <key>.json"
    return ""


def _sample_damages(
    shard: ShardInfo, audio: _Stored, content: bytes, text: bytes, row: dict[str, Any] | None
) -> Iterator[str]:
    """What is wrong with a sample, in itself and against its row in the table."""
    try:
        stated = json.loads(text)
    except (ValueError, RecursionError) as error:
        yield f"its json cannot be read: {error}"
        return
    if not isinstance(stated, dict):
        yield f"its json is {type(stated).__name__}, expected an object"
        return
    try:
        pcm = decode(content)
    except ValueError as error:
        yield str(error)
    else:
        if len(pcm) != stated.get("n_samples"):
            yield f"{len(pcm)} samples, expected {stated.get('n_samples')}"
        elif pcm_sha256(pcm) != stated.get("pcm_sha256"):
            yield "its samples are not those of its SHA-256"
    if stated.get("split") != shard.split:
        yield f"its json says split {stated.get('split')!r}, the manifest {shard.split!r}"
    if row is None:
        return
    if (audio.offset, audio.size) != (row["audio_offset_bytes"], row["audio_length_bytes"]):
        yield f"not at the place that {CLIPS} gives"
    try:
        expected = sample_fields(record_of(Row, from_cells(COLUMNS, row)).clip)
    except (ValueError, TypeError, AttributeError, AssertionError, RecursionError) as error:
        yield f"its row in {CLIPS} is none: {error}"
        return
    for name in [*expected, *sorted(set(stated) - set(expected))]:
        here, there = stated.get(name), expected.get(name)
        if _text(here) != _text(there):
            yield f"{name} is {_short(here)} in its json, {_short(there)} in {CLIPS}"


def _text(value: Any) -> str:
    """Equal for equal values of equal types: a pitch of 60 is neither 60.0 nor "60"."""
    return json.dumps(value, sort_keys=True)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _check_index(path: Path, samples: list[tuple[_Stored, _Stored]]) -> Iterator[Damage]:
    if not path.is_file():
        yield Damage(path.name, "missing")
        return
    lines = [
        index_line(
            (member.name.partition(".")[2], member.offset, member.size, member.name)
            for member in sample
        )
        for sample in samples
    ]
    if path.read_bytes() != index_text(lines).encode():
        yield Damage(path.name, "stale: it is not the index of its shard")
