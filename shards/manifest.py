"""`dataset.json` and `clips.parquet`: what a shard directory says about itself."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from slvr.shards.clip import Clip, Source
from slvr.shards.files import AtomicFile

SCHEMA_VERSION = 1
MANIFEST = "dataset.json"
CLIPS = "clips.parquet"

CLIPS_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("split", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("source_uri", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("licence", pa.string()),
        ("sample_rate_hz", pa.int32()),
        ("n_samples", pa.int64()),
        ("source_bytes", pa.int64()),
        ("source_sha256", pa.string()),
        ("source_format", pa.string()),
        ("source_codec", pa.string()),
        ("pcm_sha256", pa.string()),
        ("shard", pa.string()),
        ("audio_offset_bytes", pa.int64()),
        ("audio_length_bytes", pa.int64()),
    ]
)
"""One row for every clip that was asked for; the last three are null for a failed one."""

Row = dict[str, Any]


@dataclass(frozen=True)
class ShardInfo:
    """A finished tar: its file name, split, size, SHA-256 and number of clips."""

    name: str
    split: str
    bytes: int
    sha256: str
    n: int


@dataclass(frozen=True)
class Manifest:
    """The content of `dataset.json`."""

    name: str
    recipe: str
    recipe_version: str
    options: Mapping[str, Any]
    tool_versions: Mapping[str, str]
    licence: str
    citation: str
    homepage: str
    codec: str
    sample_rate_hz: int
    labels: Mapping[str, str]
    """Label vocabulary: label -> name for people, in the order of the class index."""
    counts: Mapping[str, Mapping[str, int]]
    """Split -> status -> number of clips."""
    shards: tuple[ShardInfo, ...]
    clips_sha256: str
    """SHA-256 of clips.parquet."""
    schema_version: int = SCHEMA_VERSION
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What a recipe adds, for example class splits."""

    def to_json(self) -> str:
        """The text of `dataset.json`; equal manifests give equal text."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """The manifest of a `dataset.json` text.

        Raises:
            ValueError: no JSON, another schema version, or missing or unknown fields.
        """
        fields = json.loads(text)
        version = fields.get("schema_version") if isinstance(fields, dict) else None
        if version != SCHEMA_VERSION:
            raise ValueError(f"schema_version is {version!r}, expected {SCHEMA_VERSION}")
        try:
            shards = tuple(ShardInfo(**shard) for shard in fields.pop("shards"))
            return cls(shards=shards, **fields)
        except (KeyError, TypeError) as error:
            raise ValueError(f"fields are missing or unknown: {error}") from error


def clip_fields(clip: Clip) -> Row:
    """What is known of a clip without its shard: its `<key>.json`, and its row less the place."""
    return {
        "key": clip.key,
        "split": clip.split,
        "labels": list(clip.labels),
        "source_uri": clip.source.uri,
        "start_s": clip.source.start_s,
        "end_s": clip.source.end_s,
        "licence": clip.licence,
        "sample_rate_hz": clip.sample_rate_hz,
        "n_samples": clip.n_samples,
        "source_bytes": clip.source_bytes,
        "source_sha256": clip.source_sha256,
        "source_format": clip.source_format,
        "source_codec": clip.source_codec,
        "pcm_sha256": clip.pcm_sha256,
    }


def clip_row(clip: Clip) -> Row:
    """The row of a clip in `clips.parquet`, without its place in a shard."""
    return clip_fields(clip) | {
        "status": clip.status,
        "reason": clip.reason,
        "detail": clip.detail,
        "shard": None,
        "audio_offset_bytes": None,
        "audio_length_bytes": None,
    }


def clip_of(row: Row, audio: bytes | None) -> Clip:
    """The clip of a row; `audio` is its member."""
    known = {f.name: row[f.name] for f in dataclasses.fields(Clip) if f.name in row}
    source = Source(row["source_uri"], row["start_s"], row["end_s"])
    return Clip(**known | {"labels": tuple(row["labels"]), "source": source, "audio": audio})


def write_clips(path: Path, rows: Iterable[Row]) -> None:
    """Writes `clips.parquet`, sorted by split and key, atomically."""
    ordered = sorted(rows, key=lambda row: (row["split"], row["key"]))
    table = pa.Table.from_pylist(ordered, schema=CLIPS_SCHEMA)
    with AtomicFile(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
