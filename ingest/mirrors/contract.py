"""What the readers of mirrors share: a copy of a clip, and the clips that are still wanted.

A mirror is somebody's copy of AudioSet. It holds files; a reader goes through one of them from its
beginning to its end and gives back the clips that are wanted. Names in a mirror are looked at and
never used as paths, its labels not at all.
"""

import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from slvr.ingest.recipe import ClipFailure
from slvr.shards.clip import Clip

AUDIO_ENDINGS = frozenset({".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav", ".webm"})
MAX_CLIP_BYTES = 256 * 10**6
"""No clip of AudioSet is as large: ten seconds of 192 kHz in eight channels have 61 * 10^6."""
_PART = re.compile(r"Y?([A-Za-z0-9_-]{11})(?:_(\d{1,9}(?:\.\d+)?)(?:_\d{1,9}(?:\.\d+)?)?)?")


class Part(NamedTuple):
    """What a name says: the id of a video and, where it is told, where in it the part begins."""

    youtube_id: str
    start: float | None


def part_of(name: str) -> Part | None:
    """What the name of a file says, or None: `<id>`, `Y<id>`, `<id>_<start>`, `<id>_<start>_<end>`.

    The start is in seconds or in milliseconds; both are in use.
    """
    path = PurePosixPath(name)
    for text in (path.stem, path.name):  # an id in a column has no ending
        if match := _PART.fullmatch(text):
            return Part(match[1], float(match[2]) if match[2] else None)
    return None


def is_audio(name: str) -> bool:
    """Whether the name is that of an audio file."""
    return PurePosixPath(name).suffix.lower() in AUDIO_ENDINGS


@dataclass(frozen=True)
class Span:
    """Bytes of a file that are read where they are decoded: the one who finds them moves on.

    Attributes:
        path: the file.
        offset: where they begin.
        n_bytes: how many.
        crc: CRC-32 of the content, or None.
        inflated_bytes: size of the content where they are deflated, else None.
    """

    path: Path
    offset: int
    n_bytes: int
    crc: int | None = None
    inflated_bytes: int | None = None

    def read(self) -> bytes:
        """The content.

        Raises:
            ClipFailure: the file ends before them, or they are damaged.
        """
        with self.path.open("rb") as file:
            file.seek(self.offset)
            content = file.read(self.n_bytes)
        if len(content) < self.n_bytes:
            raise damaged(f"{len(content)} of {self.n_bytes} bytes are there")
        if self.inflated_bytes is not None:
            content = _inflated(content, self.inflated_bytes)
        if self.crc is not None and zlib.crc32(content) != self.crc:
            raise damaged("its checksum is another one")
        return content


def _inflated(packed: bytes, n_bytes: int) -> bytes:
    """So many bytes and no more, whatever would come out."""
    try:
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, n_bytes + 1)
    except zlib.error as error:
        raise damaged(str(error)) from error
    if len(content) != n_bytes:
        raise damaged(f"it inflates to {len(content)} bytes or more in place of {n_bytes}")
    return content


def damaged(what: str) -> ClipFailure:
    """Why a member of a mirror cannot be had, although it is there."""
    return ClipFailure("corrupt", "damaged_mirror", what)


Content = bytes | Span | ClipFailure
"""A copy's audio file: its content, where that lies, or why it cannot be had."""


def loaded(content: Content) -> bytes | ClipFailure:
    """The content of a copy, read from where it lies."""
    if not isinstance(content, Span):
        return content
    try:
        return content.read()
    except ClipFailure as failure:
        return failure


class Copy(NamedTuple):
    """A clip that was found.

    Attributes:
        clip: as planned.
        member: its name in the file it was found in, or empty where it is the whole file.
        content: its audio file.
    """

    clip: Clip
    member: str
    content: Content


class Wanted:
    """Planned clips that were not found yet; each is found once."""

    def __init__(self, clips: Iterable[Clip]) -> None:
        self._clips: dict[str, list[Clip]] = {}
        for clip in clips:
            self._clips.setdefault(clip.source.id, []).append(clip)

    def __bool__(self) -> bool:
        return bool(self._clips)

    def has(self, part: Part | None) -> bool:
        """Whether a clip of this part of a video is wanted."""
        return self._which(part) is not None

    def take(self, part: Part | None) -> Clip | None:
        """The wanted clip of a part, which is then wanted no more."""
        clip = self._which(part)
        if clip is not None:
            left = self._clips[clip.source.id]
            left.remove(clip)
            if not left:
                del self._clips[clip.source.id]
        return clip

    def _which(self, part: Part | None) -> Clip | None:
        clips = self._clips.get(part.youtube_id, []) if part else []
        if part is None or not clips:
            return None
        if part.start is None:  # of several parts of one video nobody knows which it is
            return clips[0] if len(clips) == 1 else None
        for clip in clips:
            start_s = clip.source.start_s or 0.0
            # a whole number of seconds is how many round a start
            if part.start in (start_s, float(int(start_s)), float(round(start_s * 1000))):
                return clip
        return None


class Reader(Protocol):
    """Goes through one file of a mirror."""

    def __call__(self, paths: tuple[Path, ...], wanted: Wanted) -> Iterator[Copy]:
        """The wanted clips of a file, in its order.

        Args:
            paths: the file; of a split zip all its parts.
            wanted: loses what is found.

        Raises:
            ValueError: the file is damaged from here on.
        """
        ...
