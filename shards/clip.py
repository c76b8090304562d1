"""The record of one clip: the same frozen value from the plan to the reader."""

import dataclasses
import hashlib
import re
import unicodedata
from dataclasses import dataclass, field

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


@dataclass(frozen=True, slots=True)
class Source:
    """Where a clip comes from: a file name or URL, and the part of it in seconds."""

    uri: str
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip that was asked for, with what became of it.

    `audio` is the encoded member exactly as it lies in the shard (FLAC or WAV, 16 bit,
    `sample_rate_hz`, mono), or None while planned and after a failure. `n_samples` of a planned
    clip is what the plan expects, 0 for unknown. `source_format` is the site's name of the format
    that was chosen, `source_codec` FFmpeg's name of its audio codec; they and
    `source_bytes` are known of what came over a network.
    """

    key: str
    split: str
    source: Source
    labels: tuple[str, ...] = ()
    licence: str = ""
    status: str = PLANNED
    reason: str = ""
    detail: str = ""
    sample_rate_hz: int = SAMPLE_RATE_HZ
    n_samples: int = 0
    source_bytes: int = 0
    source_sha256: str = ""
    source_format: str = ""
    source_codec: str = ""
    pcm_sha256: str = ""
    audio: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise ValueError(
                f"clip key {self.key!r}: expected 1 to 64 characters of A-Z a-z 0-9 _ - that do "
                "not begin with '-'; make one with shards.clip.key_of(text)"
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
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    readable = re.sub(r"[^A-Za-z0-9]+", "_", ascii_text).strip("_")
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{readable[-55:]}_{digest}".lstrip("_")
