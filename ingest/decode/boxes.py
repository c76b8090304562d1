"""MP4 and QuickTime by their boxes (ISO/IEC 14496-12): what is cut, what contradicts itself."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from slvr.ingest.decode.content import Bytes
from slvr.ingest.decode.declaration import TOLERANCE_S, Declaration, cut_off, inconsistent

_WITH_BOXES = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"mvex")


@dataclass(frozen=True)
class _Box:
    """A box: its name, and first and last byte of its body."""

    name: bytes
    at: int
    end: int


@dataclass
class _Track:
    """Durations of one track in seconds, None where they are not known."""

    is_sound: bool = False
    header: int | None = None
    edits: int | None = None
    media_s: float | None = None
    media_rate: int = 0
    samples: int | None = None


def is_mp4(data: Bytes) -> bool:
    """Whether a file begins with a box of the family."""
    return data[4:8] in (b"ftyp", b"moov", b"mdat", b"styp", b"wide", b"free", b"skip", b"moof")


def mp4_declaration(data: Bytes) -> Declaration:
    """What the boxes say.

    Raises:
        ClipFailure: the last box is cut, or durations contradict each other.
    """
    boxes = list(_boxes(data, 0, len(data)))
    names = {box.name for box in boxes}
    if boxes and boxes[-1].end > len(data):
        last = boxes[-1]
        raise cut_off(
            f"box {_word(last.name)} has {len(data) - last.at} of {last.end - last.at} bytes"
        )
    movie = next((box for box in boxes if box.name == b"moov"), None)
    if movie is None:
        raise cut_off("no moov box")
    notes: tuple[str, ...] = ()
    if boxes and (left := len(data) - boxes[-1].end) > 0:
        notes = (f"{left} bytes after the last box",)
    fragments_s = _movie(data, movie)
    if fragments_s is None:
        return Declaration(ends=True, notes=notes)
    indexes = [box for box in boxes if box.name == b"sidx"]
    length_s = fragments_s or (_indexed_s(data, indexes[0]) if len(indexes) == 1 else None)
    return Declaration(length_s, ends=b"mfra" in names, notes=notes, by_decoder=False)


def _boxes(data: Bytes, at: int, end: int) -> Iterator[_Box]:
    """The boxes of a stretch; the last one may end beyond it."""
    while at + 8 <= end:
        size, name = struct.unpack(">I4s", data[at : at + 8])
        body = at + 8
        if size == 1 and at + 16 <= end:
            size, body = struct.unpack(">Q", data[at + 8 : at + 16])[0], at + 16
        if size == 0:
            size = end - at
        if size < body - at or not name.replace(b"\xa9", b"c").isascii():
            return
        yield _Box(name, body, at + size)
        at += size


def _word(name: bytes) -> str:
    return name.decode("ascii", "replace")


def _movie(data: Bytes, movie: _Box) -> float | None:
    """The length of all fragments in seconds: 0 for unknown, None without fragments.

    Raises:
        ClipFailure: the durations of a track of sound contradict each other.
    """
    scale, fragments = 1, None
    tracks: list[_Track] = []
    for box in _deep(data, movie):
        body = data[box.at : min(box.end, box.at + 32)]
        wide = bool(body[:1] == b"\1")
        if box.name == b"mvhd":
            scale = int.from_bytes(body[20:24] if wide else body[12:16], "big") or 1
        elif box.name == b"mvex":
            fragments = fragments or 0
        elif box.name == b"mehd":
            fragments = int.from_bytes(body[4:12] if wide else body[4:8], "big")
        elif box.name == b"trak":
            tracks.append(_Track())
        elif tracks:
            _note(tracks[-1], data, box, body, wide)
    for track in tracks:
        if track.is_sound:
            _check(track, scale)
    return None if fragments is None else fragments / scale


def _deep(data: Bytes, outer: _Box) -> Iterator[_Box]:
    for box in _boxes(data, outer.at, outer.end):
        yield box
        if box.name in _WITH_BOXES:
            yield from _deep(data, box)


def _note(track: _Track, data: Bytes, box: _Box, body: bytes, wide: bool) -> None:
    """Takes what a box says of a track."""
    if box.name == b"hdlr":
        track.is_sound = track.is_sound or body[8:12] == b"soun"
    elif box.name == b"tkhd":
        more = data[box.at + 20 : box.at + 36]
        track.header = int.from_bytes(more[8:16] if wide else more[:4], "big")
    elif box.name == b"mdhd":
        track.media_rate = int.from_bytes(body[20:24] if wide else body[12:16], "big")
        ticks = int.from_bytes(body[24:32] if wide else body[16:20], "big")
        track.media_s = ticks / track.media_rate if track.media_rate else None
    elif box.name == b"elst":
        n, width = int.from_bytes(body[4:8], "big"), 20 if wide else 12
        entries = data[box.at + 8 : min(box.end, box.at + 8 + n * width)]
        size = 8 if wide else 4
        track.edits = sum(
            int.from_bytes(entries[at : at + size], "big") for at in range(0, len(entries), width)
        )
    elif box.name == b"stts":
        n = int.from_bytes(body[4:8], "big")
        entries = data[box.at + 8 : min(box.end, box.at + 8 + n * 8)]
        pairs = struct.iter_unpack(">II", entries[: len(entries) // 8 * 8])
        track.samples = sum(count * ticks for count, ticks in pairs)


def _check(track: _Track, scale: int) -> None:
    if track.header and track.edits and abs(track.header - track.edits) > TOLERANCE_S * scale:
        raise inconsistent(
            f"the track lasts {track.header / scale:.3f} s, its edits {track.edits / scale:.3f} s"
        )
    if track.samples and track.media_s and track.media_rate:
        samples_s = track.samples / track.media_rate
        if abs(samples_s - track.media_s) > TOLERANCE_S:
            raise inconsistent(f"{samples_s:.3f} s of samples, header says {track.media_s:.3f} s")


def _indexed_s(data: Bytes, box: _Box) -> float | None:
    """The length of all fragments that an index (sidx) lists."""
    body = data[box.at : box.end]
    if len(body) < 24:
        return None
    scale = int.from_bytes(body[8:12], "big")
    at = 28 if body[0] else 20
    n = int.from_bytes(body[at + 2 : at + 4], "big")
    entries = body[at + 4 : at + 4 + 12 * n]
    ticks = sum(int.from_bytes(entries[i + 4 : i + 8], "big") for i in range(0, len(entries), 12))
    return ticks / scale if scale else None
