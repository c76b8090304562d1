"""Every damage of a shard directory, by name."""

import json
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from slvr.shards.audio import decode, pcm_sha256
from slvr.shards.clip import OK, STATUSES
from slvr.shards.columns import from_cells
from slvr.shards.croissant import CROISSANT, croissant
from slvr.shards.files import file_sha256
from slvr.shards.manifest import ShardInfo
from slvr.shards.read import ShardDirectory
from slvr.shards.rows import CLIP_COLUMNS, CLIPS, COLUMNS, read_table
from slvr.shards.write import index_line, index_text

Samples = dict[str, dict[str, tuple[int, bytes]]]
"""Key -> member suffix -> byte offset and content."""


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong: in which file, and what."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


def verify(
    directory: ShardDirectory, on_shard: Callable[[str], None] = lambda name: None
) -> list[Damage]:
    """Reads and re-hashes everything; an empty list means intact.

    Args:
        directory: the directory to check.
        on_shard: called with the name of each shard before it is read.
    """
    damages = list(_check_table(directory))
    table = None
    if not any(damage.file == CLIPS for damage in damages):
        table = read_table(directory.path / CLIPS)
        damages += _check_counts(directory, table)
    damages += _check_croissant(directory)
    named = {shard.name for shard in directory.manifest.shards}
    for tar in sorted(directory.path.glob("*.tar")):
        if tar.name not in named:
            damages.append(Damage(tar.name, "stale manifest: it does not name this shard"))
    for shard in directory.manifest.shards:
        on_shard(shard.name)
        damages += _check_shard(directory.path / shard.name, shard, directory.manifest.codec, table)
    return damages


def _check_table(directory: ShardDirectory) -> Iterator[Damage]:
    path = directory.path / CLIPS
    if not path.is_file():
        yield Damage(CLIPS, "missing")
        return
    if file_sha256(path) != directory.manifest.clips_sha256:
        yield Damage(CLIPS, "stale manifest or changed table: its SHA-256 is not the manifest's")
        try:
            read_table(path)
        except ValueError as error:
            yield Damage(CLIPS, str(error).removeprefix(f"{path}: "))


def _check_counts(directory: ShardDirectory, table: pa.Table) -> Iterator[Damage]:
    rows = table.select(["key", "split", "status"]).to_pandas()
    found = {split: dict(Counter(part["status"])) for split, part in rows.groupby("split")}
    stated = {split: dict(counts) for split, counts in directory.manifest.counts.items()}
    if found != stated:
        yield Damage(CLIPS, f"counts by status: manifest says {stated}, table holds {found}")
    for status in sorted(set(rows["status"]) - set(STATUSES)):
        yield Damage(CLIPS, f"unknown status {status!r}")
    for key in rows["key"][rows["key"].duplicated()]:
        yield Damage(CLIPS, f"key {key} occurs twice")


def _check_croissant(directory: ShardDirectory) -> Iterator[Damage]:
    path = directory.path / CROISSANT
    if not path.is_file():
        yield Damage(CROISSANT, "missing")
    elif path.read_bytes() != croissant(directory.manifest).encode():
        yield Damage(CROISSANT, "stale or changed: it is not what the manifest gives")


def _check_shard(
    path: Path, shard: ShardInfo, codec: str, table: pa.Table | None
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

    samples: Samples = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                content = tar.extractfile(member)
                assert content is not None, member.name
                key, _, suffix = member.name.partition(".")
                samples.setdefault(key, {})[suffix] = (member.offset_data, content.read())
    except (tarfile.TarError, OSError, EOFError) as error:
        yield Damage(shard.name, f"the tar cannot be read to its end: {error}")
    if len(samples) != shard.n:
        yield Damage(shard.name, f"holds {len(samples)} clips, the manifest says {shard.n}")

    whole = {}
    for key, members in samples.items():
        if set(members) == {codec, "json"}:
            whole[key] = members
            damage = _sample_damage(members[codec][1], members["json"][1])
            if damage:
                yield Damage(shard.name, f"clip {key}: {damage}")
        else:
            found = ", ".join(sorted(members))
            yield Damage(
                shard.name,
                f"cut between members: clip {key} has {found}, expected {codec}, json",
            )
    yield from _check_index(path.with_suffix(".idx"), whole, codec)
    if table is not None:
        yield from _check_rows(shard.name, whole, codec, table)


def _sample_damage(audio: bytes, fields: bytes) -> str:
    """What is wrong with a sample in itself, or nothing."""
    try:
        stated = json.loads(fields)
        if not isinstance(stated, dict):
            return "its .json holds no object"
        pcm = decode(audio)
    except ValueError as error:
        return str(error)
    if len(pcm) != stated.get("n_samples"):
        return f"{len(pcm)} samples, expected {stated.get('n_samples')}"
    if pcm_sha256(pcm) != stated.get("pcm_sha256"):
        return "its samples are not those of its SHA-256"
    return ""


def _check_index(path: Path, samples: Samples, codec: str) -> Iterator[Damage]:
    if not path.is_file():
        yield Damage(path.name, "missing")
        return
    lines = [
        index_line((s, members[s][0], len(members[s][1]), f"{key}.{s}") for s in (codec, "json"))
        for key, members in samples.items()
    ]
    if path.read_bytes() != index_text(lines).encode():
        yield Damage(path.name, "stale: it is not the index of its shard")


def _check_rows(name: str, samples: Samples, codec: str, table: pa.Table) -> Iterator[Damage]:
    of_shard = pc.and_(pc.equal(table["shard"], name), pc.equal(table["status"], OK))
    expected = {cells["key"]: cells for cells in table.filter(of_shard).to_pylist()}
    for key in sorted(expected.keys() - samples.keys()):
        yield Damage(name, f"row without clip: {CLIPS} has {key}, the shard has not")
    for key, members in samples.items():
        if key not in expected:
            yield Damage(name, f"clip without row: the shard has {key}, {CLIPS} has not")
            continue
        row = expected[key]
        offset, audio = members[codec]
        if (offset, len(audio)) != (row["audio_offset_bytes"], row["audio_length_bytes"]):
            yield Damage(name, f"clip {key} is not at the place that {CLIPS} gives")
        if other := _other_fields(members["json"][1], row):
            yield Damage(name, f"clip {key} has other {', '.join(other)} in {CLIPS}")


def _other_fields(fields: bytes, row: dict[str, Any]) -> list[str]:
    """Names of the fields that a sample and its row say different things of."""
    try:
        stated = dict(json.loads(fields))
        known = from_cells(COLUMNS, row)
    except (ValueError, TypeError) as error:
        return [f"words, one of them no JSON ({error}),"]
    names = (each.name for each in CLIP_COLUMNS if each.in_sample)
    return [name for name in names if _text(stated.get(name)) != _text(known[name])]


def _text(value: Any) -> str:
    """Equal for equal values of equal types: a pitch of 60 is neither 60.0 nor "60"."""
    return json.dumps(value, sort_keys=True)
