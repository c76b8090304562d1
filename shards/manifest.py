"""`dataset.json`: what a shard directory says about itself."""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from slvr.shards.audio import CODECS
from slvr.shards.clip import STATUSES

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
            ValueError: no JSON, another schema, missing or unknown fields, or a field that cannot
                be: of another type, a shard outside the directory or named twice.
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
            manifest = cls(shards=shards, **fields)
        except (json.JSONDecodeError, RecursionError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{location}: fields are missing or unknown: {error}; make the directory anew "
                "with `ingest ...`"
            ) from error
        fault = next(manifest._faults(), None)
        if fault is not None:
            raise ValueError(
                f"{location}: {fault}; take another copy, or make the directory anew with "
                "`ingest ...`"
            )
        return manifest

    def _faults(self) -> Iterator[str]:
        """What cannot be, whoever wrote it; the rest is for `ingest verify` to compare."""
        yield from _wrong_types(self, _FIELDS)
        for shard in self.shards:
            yield from _wrong_types(shard, _SHARD_FIELDS, "a shard's ")
        if self.codec not in CODECS:
            yield f"codec is {self.codec!r}, expected {' or '.join(CODECS)}"
        if self.sample_rate_hz < 1:
            yield f"sample_rate_hz is {self.sample_rate_hz}, expected 1 or more"
        names = set()
        for shard in self.shards:
            if not _is_inside(shard.split) or shard.name != _numbered(shard):
                yield (
                    f"a shard is named {_shown(shard.name)}, expected SPLIT-NNNNNN.tar in the "
                    "directory itself"
                )
            if shard.name in names:
                yield f"shard {shard.name} is named twice"
            names.add(shard.name)
            if not _SHA256.fullmatch(shard.sha256):
                yield f"sha256 of {shard.name} is {_shown(shard.sha256)}, expected 64 hex digits"


_SHA256 = re.compile(r"[0-9a-f]{64}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _is_counts(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(counts, dict)
        and set(counts) <= set(STATUSES)
        and all(map(_is_number, counts.values()))
        for counts in value.values()
    )


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str),
    "a whole number from 0 up": _is_number,
    "a JSON object": lambda value: isinstance(value, dict),
    "a JSON object of texts": _is_texts,
    "split -> status -> a whole number from 0 up": _is_counts,
}
_TEXT, _NUMBER, _OBJECT, _TEXTS, _COUNTS = _KINDS
_FIELDS = (
    {each.name: _TEXT for each in dataclasses.fields(Manifest) if each.name != "shards"}
    | {"options": _OBJECT, "extra": _OBJECT, "tool_versions": _TEXTS, "labels": _TEXTS}
    | {"derived_from": _TEXTS, "sample_rate_hz": _NUMBER, "counts": _COUNTS}
)
_SHARD_FIELDS = {each.name: _TEXT for each in dataclasses.fields(ShardInfo)} | {
    "bytes": _NUMBER,
    "n": _NUMBER,
}
"""Field -> what its value is, in words."""


def _wrong_types(record: Any, expected: Mapping[str, str], prefix: str = "") -> Iterator[str]:
    for name, kind in expected.items():
        value = getattr(record, name)
        if not _KINDS[kind](value):
            yield f"{prefix}{name} is {_shown(value)}, expected {kind}"


def _shown(value: Any) -> str:
    """A value from a file, cut to what fits into a sentence."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _is_inside(name: str) -> bool:
    """Whether a name stays in its directory, on any system."""
    return bool(name) and not name.startswith(".") and not set(name) & set("/\\:\0")


def _numbered(shard: ShardInfo) -> str:
    """The name of a shard, as far as its split tells it."""
    digits = shard.name.removeprefix(f"{shard.split}-").removesuffix(".tar")
    return f"{shard.split}-{digits}.tar" if re.fullmatch(r"[0-9]{6,9}", digits) else ""


def of_schema_1(location: str) -> str:
    """The sentence that refuses what an older version has made."""
    return (
        f"{location}: made with schema 1 of the shard directory, expected schema {SCHEMA}; make "
        "it anew: run the same `ingest ...` with another --out, or remove the directory first"
    )
