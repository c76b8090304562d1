"""MPEG audio (MP1, MP2, MP3) frame by frame: only counting them tells the length."""

import re
from dataclasses import dataclass, field

from slvr.ingest.decode.content import Bytes

_RATES_HZ = ((11025, 12000, 8000), (), (22050, 24000, 16000), (44100, 48000, 32000))
"""By the version's two bits: 2.5, none, 2, 1."""
_KBPS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""(version 1 or 2, layer) -> kbit/s by the index from 1 on."""
_SOUGHT_BYTES = 1 << 16
"""How far from the beginning the first frame may be, behind its tags."""
_FRAMES_SOUGHT = 8
"""So many in a row are no accident, in a file that does not begin with one."""
_TAIL_FRAMES = 2
"""Encoders count the frame that holds the count, or not."""

_MARK = re.compile(rb"\xff[\xe2-\xff][\x10-\xef]|TAG|APETAGEX|ID3")
"""What frames and tags begin with."""


@dataclass(frozen=True)
class Header:
    """A frame's header: bytes and samples of the frame, and what stays the same in a stream."""

    n_bytes: int
    n_samples: int
    rate_hz: int
    layer: int


@dataclass
class Part:
    """Frames of one rate that follow each other: one MP3 of those that were joined.

    Attributes:
        spans: first and last byte of each run of whole frames.
        rate_hz: of every frame.
        layer: 1, 2 or 3.
        n_frames: how many hold sound: that with the count does not.
        n_samples: in these.
        declared_frames: the count that the encoder left, or None.
        skipped: samples of encoder delay and padding, as the encoder noted them.
    """

    rate_hz: int
    layer: int
    spans: list[tuple[int, int]] = field(default_factory=list)
    n_frames: int = 0
    n_samples: int = 0
    declared_frames: int | None = None
    skipped: int = 0

    @property
    def length_s(self) -> float:
        """Seconds of sound without delay and padding."""
        return max(self.n_samples - self.skipped, 0) / self.rate_hz

    def content(self, data: Bytes) -> bytes:
        """The frames alone."""
        return b"".join(data[start:end] for start, end in self.spans)


@dataclass(frozen=True)
class Mpeg:
    """A file of frames.

    Attributes:
        parts: MP3s that were joined, usually one.
        lost_bytes: between the frames, neither frame nor tag.
        last_bytes: of a frame that the file's end cuts.
    """

    parts: tuple[Part, ...]
    lost_bytes: int
    last_bytes: int


class _Headers:
    """Headers by their first three bytes: a stream has few."""

    def __init__(self, data: Bytes) -> None:
        self._data = data
        self._known: dict[bytes, Header | None] = {}

    def at(self, place: int) -> Header | None:
        """The header at a place, or None."""
        four = self._data[place : place + 4]
        key = four[:3]
        if key not in self._known:
            self._known[key] = _header(key + four[3:]) if len(four) == 4 else None
        return self._known[key]


def _header(head: bytes) -> Header | None:
    if head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version_bits, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    kbps, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version_bits == 1 or layer == 4 or kbps in (0, 15) or rate == 3:
        return None
    first = version_bits == 3
    rate_hz = _RATES_HZ[version_bits][rate]
    bits = _KBPS[1 if first else 2, layer][kbps - 1] * 1000
    if layer == 1:
        return Header((12 * bits // rate_hz + padding) * 4, 384, rate_hz, 1)
    n_samples = 1152 if layer == 2 or first else 576
    return Header(n_samples // 8 * bits // rate_hz + padding, n_samples, rate_hz, layer)


def is_mpeg(data: Bytes, at: int, least: int = 1) -> bool:
    """Whether three frames of one kind follow each other from `at` on; `least` at the file's end.

    Behind bytes of another kind `least` is more: any three bytes may look like a header.
    """
    headers = _Headers(data)
    first = headers.at(at)
    place, header, n = at, first, 0
    while header is not None and first is not None and n < max(least, 3):
        if (header.rate_hz, header.layer) != (first.rate_hz, first.layer):
            return False
        place += header.n_bytes
        n += 1
        header = headers.at(place)
    return n >= max(least, 3) or (n >= least and place >= len(data))


def after_id3(data: Bytes, at: int = 0) -> int:
    """The first byte behind ID3v2 tags at `at`."""
    while data[at : at + 3] == b"ID3" and len(head := data[at : at + 10]) == 10:
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        at += 10 + size + (10 if head[5] & 16 else 0)
    return at


def read_mpeg(data: Bytes) -> Mpeg | None:
    """The frames of a file, or None where it does not begin with any."""
    at = after_id3(data)
    if is_mpeg(data, at):
        return _Walk(data).run(at)
    start = at
    while (at := data.find(b"\xff", at + 1, start + _SOUGHT_BYTES)) >= 0:
        if is_mpeg(data, at, _FRAMES_SOUGHT):
            return _Walk(data).run(at)
    return None


class _Walk:
    """One walk over a file."""

    def __init__(self, data: Bytes) -> None:
        self._data = data
        self._headers = _Headers(data)
        self._parts: list[Part] = []
        self._lost = 0

    def run(self, at: int) -> Mpeg:
        """Every frame from `at` on."""
        data, n, headers = self._data, len(self._data), self._headers
        begin, part = at, None
        while at < n:
            header = headers.at(at)
            if header is None or at + header.n_bytes > n or self._strays(part, header, at):
                self._close(part, begin, at)
                if header is not None and at + header.n_bytes > n and _is_end(data, at):
                    return Mpeg(tuple(self._parts), self._lost, n - at)
                begin = at = self._next(at)
                continue
            if (
                part is None
                or header.rate_hz != part.rate_hz
                or header.layer != part.layer
                or self._starts_another(part, at, header)
            ):
                self._close(part, begin, at)
                part, begin = self._open(header, at), at
                at += header.n_bytes
                continue
            part.n_frames += 1
            part.n_samples += header.n_samples
            at += header.n_bytes
        self._close(part, begin, min(at, n))
        return Mpeg(tuple(part for part in self._parts if part.n_frames), self._lost, 0)

    def _strays(self, part: Part | None, header: Header, at: int) -> bool:
        """Whether bytes of another kind only look like a header."""
        same = part is not None and (header.rate_hz, header.layer) == (part.rate_hz, part.layer)
        return not same and not is_mpeg(self._data, at)

    def _starts_another(self, part: Part, at: int, header: Header) -> bool:
        """Whether a file that was joined begins here: by its own note, or behind the count."""
        if part.n_frames == 0 and part.declared_frames is None:
            return False
        if part.declared_frames and part.n_frames > part.declared_frames + _TAIL_FRAMES:
            return True
        if self._data[at + 8 : at + 12] != b"\0\0\0\0":  # a note's frame is silent
            return False
        return _note(self._data[at : at + min(header.n_bytes, 200)]) is not None

    def _open(self, header: Header, at: int) -> Part:
        part = Part(header.rate_hz, header.layer)
        self._parts.append(part)
        note = _note(self._data[at : at + min(header.n_bytes, 200)])
        if note is None:
            part.n_frames, part.n_samples = 1, header.n_samples
        else:
            part.declared_frames, part.skipped = note
        return part

    def _close(self, part: Part | None, begin: int, end: int) -> None:
        if part is not None and end > begin:
            part.spans.append((begin, end))

    def _next(self, at: int) -> int:
        """The next place where a frame or the end is; counts what is lost on the way."""
        data, n = self._data, len(self._data)
        if data[at : at + 3] == b"TAG":
            return min(at + 128, n)
        if data[at : at + 8] == b"APETAGEX":
            size = int.from_bytes(data[at + 12 : at + 16], "little")
            footer_only = not data[at + 23 : at + 24] or not data[at + 23] & 0x20
            return min(at + 32 + (0 if footer_only else size), n)
        if data[at : at + 11] == b"LYRICSBEGIN":
            end = data.find(b"LYRICS200", at)
            return n if end < 0 else end + 9
        if data[at : at + 3] == b"ID3":
            return min(max(after_id3(data, at), at + 1), n)
        place = at
        while True:
            place = _nearest(data, place + 1)
            if place >= n or data[place] != 0xFF or is_mpeg(data, place):
                break
        if any(data[at:place]):  # zeros are padding
            self._lost += place - at
        return place


def _nearest(data: Bytes, at: int) -> int:
    """The next byte that may begin a frame or a tag, or the end.

    One search for all: several, byte by byte, take minutes where a recorder filled up
    with ff.
    """
    found = _MARK.search(data, at)
    return found.start() if found else len(data)


def _is_end(data: Bytes, at: int) -> bool:
    """Whether no frame follows a header whose frame the file's end cuts."""
    place = at
    while (place := data.find(b"\xff", place + 1)) >= 0:
        if is_mpeg(data, place):
            return False
    return True


def _note(frame: bytes) -> tuple[int | None, int] | None:
    """Frames, and samples of delay and padding, of a frame that holds a Xing or Info note."""
    at = max(frame.find(b"Xing", 0, 48), frame.find(b"Info", 0, 48))
    if at < 0:
        at = 36 if frame[36:40] == b"VBRI" else -1
        return None if at < 0 else (int.from_bytes(frame[50:54], "big") or None, 0)
    flags = int.from_bytes(frame[at + 4 : at + 8], "big")
    frames = int.from_bytes(frame[at + 8 : at + 12], "big") if flags & 1 else 0
    place = at + 8 + 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1)
    place += 4 * (flags >> 3 & 1)
    lame = frame[place : place + 24]
    skipped = 0
    if len(lame) == 24 and lame[:4] in (b"LAME", b"Lavf", b"Lavc", b"L3.9"):
        both = int.from_bytes(lame[21:24], "big")
        skipped = (both >> 12) + (both & 0xFFF)
    return frames or None, skipped
