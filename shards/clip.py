"""The record of one clip: the same frozen value from the plan to the reader.

A field of `Clip` is declared here and nowhere else. Column of `clips.parquet`, `<key>.json`,
Croissant field, ledger and comparison follow from its type and metadata (`shards/columns.py`).
"""

import dataclasses
import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from anyascii import anyascii

from slvr.shards.columns import column

SAMPLE_RATE_HZ = 16_000

PLANNED = "planned"
OK = "ok"
STATUSES = (
    OK,
    "gone",  # removed or private for good
    "geo",  # not offered in this country
    "login",  # behind a login or an age check
    "blocked",  # the source refuses us for now: nothing is known about the clip
    "transient",  # a failure that a later run may not meet
    "missing",  # the file is not there
    "corrupt",  # cannot be decoded, or holds NaN or infinity
    "truncated",  # shorter than its own header declares
    "silent",  # every sample is zero
    "too_short",  # empty, or shorter than the part that was asked for
    "too_long",  # longer than the limit of the recipe
    "refused",  # a source too large, or a live stream, that we would not fetch
)
"""What can become of a clip that was asked for; all but `ok` are kept as rows with a reason."""
UNSETTLED = ("blocked", "transient")
"""Nothing is known about these clips: a later try may get them. Never to be counted as gone."""

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")

Attribute = int | float | str
"""What is known of a clip besides its labels: a pitch, a fold, a take, a speaker."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a clip comes from, and the part of it in seconds; None for the whole of it."""

    uri: str = field(metadata=column("File name or URL of the source.", name="source_uri"))
    start_s: float | None = field(
        default=None, metadata=column("Beginning of the part of the source, in seconds.")
    )
    end_s: float | None = field(
        default=None, metadata=column("End of the part of the source, in seconds.")
    )
    id: str = field(
        default="",
        metadata=column("Id at the place that the source comes from.", name="source_id"),
    )


@dataclass(frozen=True, slots=True)
class Event:
    """A stretch of a clip that carries a label; seconds count from the clip's own start."""

    label: str = field(metadata=column("Label of the event."))
    start_s: float = field(metadata=column("Seconds from the clip's start to the event's."))
    end_s: float = field(metadata=column("Seconds from the clip's start to the event's end."))

    def __post_init__(self) -> None:
        # the same number whether it was typed as 1 or as 1.0: the bytes of a sample depend on it
        object.__setattr__(self, "start_s", float(self.start_s))
        object.__setattr__(self, "end_s", float(self.end_s))
        if not 0 <= self.start_s <= self.end_s < math.inf:
            raise ValueError(
                f"event {self.label!r} from {self.start_s} to {self.end_s} s: expected seconds "
                "from 0 up, the end not before the start"
            )


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip that was asked for, with what became of it.

    `audio` is the encoded member exactly as it lies in the shard (FLAC or WAV, 16 bit,
    `sample_rate_hz`, mono), or None while planned and after a failure. `n_samples` of a planned
    clip is what the plan expects, 0 for unknown. What is known of the source's file is kept also
    where it gave no clip; 0 or empty text where nothing is known.
    """

    key: str = field(metadata=column("Name of the clip, unique in the directory."))
    split: str = field(metadata=column("Split that the clip is in.", compared=True))
    source: Source
    labels: tuple[str, ...] = field(
        default=(), metadata=column("Labels of the whole clip.", compared=True)
    )
    events: tuple[Event, ...] = field(
        default=(), metadata=column("Labels of stretches of the clip.", compared=True)
    )
    attributes: Mapping[str, Attribute] = field(
        default_factory=dict,
        hash=False,
        metadata=column("JSON object: name to number or text.", compared=True),
    )
    licence: str = field(default="", metadata=column("Licence of the clip."))
    status: str = field(
        default=PLANNED, metadata=column("ok, or why the clip is not there.", in_sample=False)
    )
    reason: str = field(
        default="", metadata=column("The status in more detail, one word.", in_sample=False)
    )
    detail: str = field(default="", metadata=column("What was found, for people.", in_sample=False))
    sample_rate_hz: int = field(
        default=SAMPLE_RATE_HZ, metadata=column("Sample rate in the shard, in Hz.")
    )
    n_samples: int = field(default=0, metadata=column("Number of samples in the shard."))
    source_bytes: int = field(default=0, metadata=column("Size of the source's file in bytes."))
    source_sha256: str = field(default="", metadata=column("SHA-256 of the source's file."))
    source_format: str = field(
        default="",
        metadata=column("Container of the source's file, or the site's name of the format."),
    )
    source_codec: str = field(
        default="", metadata=column("FFmpeg's name of the source's audio codec.")
    )
    source_rate_hz: int = field(default=0, metadata=column("Sample rate of the source, in Hz."))
    source_channels: int = field(default=0, metadata=column("Channels of the source."))
    pcm_sha256: str = field(
        default="", metadata=column("SHA-256 of the samples, 16-bit little-endian.")
    )
    audio: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise ValueError(
                f"clip key {self.key!r}: expected 1 to 64 characters of A-Z a-z 0-9 _ - that do "
                "not begin with '-'; make one with shards.clip.key_of(text)"
            )
        for name, value in self.attributes.items():
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                raise ValueError(
                    f"clip {self.key}: attribute {name} is {value!r}, expected a number or text"
                )
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(
                    f"clip {self.key}: attribute {name} is {value}, expected a finite number; "
                    "leave out what is not known"
                )
        assert self.status == PLANNED or self.status in STATUSES, self.status

    def failed(self, status: str, reason: str, detail: str = "") -> "Clip":
        """The same clip as a failure: a row, not an exception."""
        assert status != OK
        return dataclasses.replace(
            self, status=status, reason=reason, detail=detail, audio=None, n_samples=0
        )


def key_of(text: str) -> str:
    """A valid key for any text: readable where it can be, and distinct for distinct texts.

    Text that is a key already stays as it is. Other text is spelled in ASCII and gets eight hex
    digits of its SHA-256, so that `a b.wav` and `a_b.wav` do not meet.
    """
    if _KEY.fullmatch(text):
        return text
    readable = re.sub(r"[^A-Za-z0-9]+", "_", anyascii(text)).strip("_")
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{readable[-55:]}_{digest}".lstrip("_")
