"""`dataset.json`: what a shard directory says about itself."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA = 2
"""Of the whole directory: manifest, table, samples and ledger."""
MANIFEST = "dataset.json"


@dataclass(frozen=True)
class ShardInfo:
    """A finished tar: its file name, split, size, SHA-256 and number of clips."""

    name: str
    split: str
    bytes: int
    sha256: str
    n: int


@dataclass(frozen=True, kw_only=True)
class Description:
    """What whoever makes a shard directory says of it."""

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
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What a recipe adds, for example class splits."""
    derived_from: Mapping[str, str] = field(default_factory=dict)
    """What the clips were computed from: what it is (`shards`, `separator`) -> its SHA-256, of a
    shard directory its fingerprint. Empty where the clips come from the outside."""


@dataclass(frozen=True, kw_only=True)
class Manifest(Description):
    """The content of `dataset.json`: the description, and what the directory holds."""

    counts: Mapping[str, Mapping[str, int]]
    """Split -> status -> number of clips."""
    shards: tuple[ShardInfo, ...]
    clips_sha256: str
    """SHA-256 of clips.parquet."""

    @classmethod
    def of(
        cls,
        about: Description,
        counts: Mapping[str, Mapping[str, int]],
        shards: tuple[ShardInfo, ...],
        clips_sha256: str,
    ) -> "Manifest":
        """The manifest of a directory with this description."""
        described = {each.name: getattr(about, each.name) for each in dataclasses.fields(about)}
        return cls(**described, counts=counts, shards=shards, clips_sha256=clips_sha256)

    def to_json(self) -> str:
        """The text of `dataset.json`; equal manifests give equal text."""
        return json.dumps({"schema": SCHEMA} | asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, location: str) -> "Manifest":
        """The manifest of a `dataset.json` text.

        Args:
            text: its content.
            location: where it is, for the messages.

        Raises:
            ValueError: no JSON, another schema, or missing or unknown fields.
        """
        try:
            fields = json.loads(text)
            schema = fields.pop("schema", None)
            if schema is None and fields.get("schema_version") == 1:
                raise ValueError(of_schema_1(location))
            if schema != SCHEMA:
                raise ValueError(
                    f"{location}: schema is {schema!r}, expected {SCHEMA}; read it with the "
                    "version of slvr that wrote it, or make it anew with `ingest ...`"
                )
            shards = tuple(ShardInfo(**shard) for shard in fields.pop("shards"))
            return cls(shards=shards, **fields)
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{location}: fields are missing or unknown: {error}; make the directory anew "
                "with `ingest ...`"
            ) from error


def of_schema_1(location: str) -> str:
    """The sentence that refuses what an older version has made."""
    return (
        f"{location}: made with schema 1 of the shard directory, expected schema {SCHEMA}; make "
        "it anew: run the same `ingest ...` with another --out, or remove the directory first"
    )
