"""The WAV family: RIFF, RIFX, RF64, BW64, Sony Wave64 and AIFF, by their chunks.

https://www.rfc-editor.org/rfc/rfc2361 (WAVE), EBU Tech 3306 (RF64), Apple's AIFF-C draft of 1991.
"""

import dataclasses
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from slvr.ingest.decode.content import Bytes
from slvr.ingest.decode.declaration import (
    Declaration,
    check_rate,
    check_there,
    cut_off,
    inconsistent,
)
from slvr.ingest.recipe import ClipFailure

_W64_GUID_TAIL = bytes.fromhex("2e91cf11a5d628db04c10000")
_W64_RIFF = b"riff" + _W64_GUID_TAIL
_USUAL_RATES_HZ = frozenset(
    {8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 176400, 192000}
)
_PLAIN = (1, 3, 6, 7, 0xFFFE)
"""Format tags: integers, floats, A-law, mu-law, extensible. Others' bytes a second are a guess."""
_PACKED_BYTES_PER_S = 640
"""Of the codecs with the fewest; so little may be missing of those whose bytes differ."""


@dataclass(frozen=True)
class _Chunk:
    """A chunk: its name, where its body begins, and the body's size as declared."""

    name: bytes
    at: int
    size: int


@dataclass(frozen=True)
class _Form:
    """How one member of the family writes chunks.

    Attributes:
        kind: name for people.
        first: where the first chunk is.
        end: where the outermost chunk says that the file ends, None where it was left open.
        order: of bytes, as in `struct`.
        wide: names are GUIDs, and sizes have 64 bits and include the header.
    """

    kind: str
    first: int
    end: int | None
    order: str
    wide: bool = False


def is_wave(data: Bytes) -> bool:
    """Whether a file is one of the family."""
    head = data[:40]
    return (
        (head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE")
        or (head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"))
        or head[:16] == _W64_RIFF
    )


def is_avi(data: Bytes) -> bool:
    """Whether a file is an AVI."""
    return data[:4] == b"RIFF" and data[8:12] == b"AVI "


def avi_declaration(data: Bytes) -> Declaration:
    """What the outermost chunks of an AVI say; one beyond 1 GB has several.

    Raises:
        ClipFailure: the last one is cut.
    """
    at = 0
    while data[at : at + 4] == b"RIFF" and len(head := data[at : at + 8]) == 8:
        size = struct.unpack_from("<I", head, 4)[0]
        if _left_open(size, 32):
            return Declaration(notes=("the writer left the sizes open",), by_decoder=False)
        if at + 8 + size > len(data):
            raise cut_off(f"{len(data)} bytes, header says {at + 8 + size}")
        at += 8 + size + size % 2
    trailing = len(data) - at
    notes = (f"{trailing} bytes after the last chunk",) if trailing > 0 else ()
    return Declaration(ends=True, notes=notes)


def wave_declaration(data: Bytes) -> Declaration:
    """What the chunks say.

    Raises:
        ClipFailure: samples are missing, or the chunks contradict each other.
    """
    form = _form(data)
    sizes_64: dict[bytes, int] = {}
    layout = _Layout(0, 0)
    for chunk in _chunks(data, form):
        body = data[chunk.at : chunk.at + min(chunk.size, 64)]
        if chunk.name == b"ds64" and len(body) >= 16:
            sizes_64[b"data"] = struct.unpack_from("<Q", body, 8)[0]
        elif chunk.name == b"fmt ":
            layout = _wave_layout(body, form.order)
        elif chunk.name == b"COMM":
            layout = _aiff_layout(body)
        elif chunk.name in (b"data", b"SSND"):
            size = chunk.size
            if b"data" in sizes_64 and size == 0xFFFFFFFF:
                size = sizes_64[b"data"]
            found = _samples(data, form, _Chunk(chunk.name, chunk.at, size), layout)
            return dataclasses.replace(found, misread=form.wide and layout.is_extensible)
    raise cut_off("the file ends before its samples begin")


@dataclass(frozen=True)
class _Layout:
    """Rate and bytes as the format chunk says; 0 for unknown, as in packed codecs."""

    rate_hz: int
    bytes_per_s: int
    n_bytes: int = 0
    is_extensible: bool = False


def _form(data: Bytes) -> _Form:
    head = data[:24]
    if head[:16] == _W64_RIFF:
        size = struct.unpack_from("<Q", head, 16)[0] if len(head) == 24 else 0
        return _Form("Wave64", 40, None if _left_open(size, 64) else size, "<", wide=True)
    order = ">" if head[:4] in (b"RIFX", b"FORM") else "<"
    size = struct.unpack_from(f"{order}I", head, 4)[0]
    kind = "AIFF" if head[:4] == b"FORM" else "WAV"
    return _Form(kind, 12, None if _left_open(size, 32) else size + 8, order)


def _left_open(size: int, n_bits: int) -> bool:
    """Whether a size is what a writer leaves that cannot go back to fill it in.

    0; all ones, less a header (FFmpeg, GStreamer); 2 GB, less a page (SoX) or a bit (arecord).
    """
    if n_bits == 64:
        return size == 0 or size >= 2**62
    return size == 0 or 0x7FFFEF00 <= size <= 0x80000100 or size >= 0xFFFFEF00


def _chunks(data: Bytes, form: _Form, at: int | None = None) -> Iterator[_Chunk]:
    """Every chunk from `at` on; the last one may be longer than the file."""
    at = form.first if at is None else at
    header = 24 if form.wide else 8
    while at + header <= len(data):
        head = data[at : at + header]
        if form.wide:
            size = max(struct.unpack_from("<Q", head, 16)[0] - 24, 0)
            yield _Chunk(head[:4] if head[4:16] else b"", at + 24, size)
            at += 24 + size + -size % 8
        else:
            size = struct.unpack_from(f"{form.order}I", head, 4)[0]
            yield _Chunk(head[:4], at + 8, size)
            at += 8 + size + size % 2


def _wave_layout(body: bytes, order: str) -> _Layout:
    if len(body) < 16:
        raise inconsistent(f"the format chunk has {len(body)} bytes, expected 16")
    tag, _, rate_hz, bytes_per_s, block, _ = struct.unpack_from(f"{order}HHIIHH", body)
    if rate_hz == 0:
        raise ClipFailure("corrupt", "bad_rate", "0 samples a second")
    implied_hz = bytes_per_s // block if block else 0
    if implied_hz != rate_hz and implied_hz in _USUAL_RATES_HZ and rate_hz not in _USUAL_RATES_HZ:
        raise inconsistent(f"{rate_hz} samples a second, but bytes for {implied_hz}")
    return _Layout(rate_hz, rate_hz * block if tag in _PLAIN else 0, is_extensible=tag == 0xFFFE)


def _aiff_layout(body: bytes) -> _Layout:
    if len(body) < 18:
        raise inconsistent(f"the common chunk has {len(body)} bytes, expected 18")
    channels, frames, bits, exponent, mantissa = struct.unpack_from(">HIHHQ", body)
    rate_hz = int(mantissa * 2.0 ** ((exponent & 0x7FFF) - 16383 - 63)) if exponent < 16500 else 0
    check_rate(rate_hz)
    block = channels * ((bits + 7) // 8)
    return _Layout(rate_hz, rate_hz * block, frames * block)


def _samples(data: Bytes, form: _Form, chunk: _Chunk, layout: _Layout) -> Declaration:
    """What follows from the size of the samples' chunk."""
    there = len(data) - chunk.at
    n_bits = 64 if form.wide else 32
    size = chunk.size + 24 if form.wide and chunk.size else chunk.size
    if _left_open(size, n_bits) and not (chunk.size == 0 and _tiles(data, form, chunk.at)):
        notes: tuple[str, ...] = ("the writer left the sizes open",) if there else ()
        instead = None
        if chunk.size == 0 and not form.wide and 0 < there < 2**31:
            filled = struct.pack(f"{form.order}I", there)
            # as a plain WAV: of an RF64 libsndfile asks ds64, which is empty, too
            magic = b"RIFF" if data[:4] in (b"RF64", b"BW64") else data[:4]
            instead = magic + data[4 : chunk.at - 4] + filled + data[chunk.at :]
        return Declaration(notes=notes, instead=instead)
    notes = check_there(there, chunk.size, layout.bytes_per_s or _PACKED_BYTES_PER_S)
    if data[8:12] == b"AIFF" and abs(layout.n_bytes + 8 - chunk.size) > 0.1 * layout.bytes_per_s:
        raise inconsistent(f"frames of {layout.n_bytes} bytes, a chunk of {chunk.size}")
    after = chunk.at + chunk.size
    end = form.end if form.end is not None and after <= form.end else after
    if not notes and after < end and not _tiles(data, form, after, end):
        raise inconsistent(f"{min(end, len(data)) - after} bytes after the samples are no chunk")
    trailing = len(data) - max(end, after + chunk.size % 2)
    instead = None
    if trailing > 0:
        second = data[end : end + 4] in (b"RIFF", b"RF64", b"FORM")
        what = ", a second file that is left out" if second else ""
        notes = (*notes, f"{trailing} bytes after the last chunk{what}")
        if form.end is not None and not form.wide:
            instead = data[:end]
    length_s = chunk.size / layout.bytes_per_s if layout.bytes_per_s else None
    return Declaration(length_s, ends=True, notes=notes, instead=instead)


def _tiles(data: Bytes, form: _Form, at: int, end: int | None = None) -> bool:
    """Whether chunks follow each other from `at` to the end, with or without a pad byte."""
    end = min(len(data), len(data) if end is None else end)
    if end - at < 8:
        return True  # a pad byte, or what is too short to be a chunk
    header = 24 if form.wide else 8
    for start in (at + (-at % 8 if form.wide else 0), at + 1):
        place, sound = start, True
        for chunk in _chunks(data, form, start):
            if chunk.at - header >= end:
                break
            sound = sound and chunk.name.isascii() and chunk.name.decode().isprintable()
            place = chunk.at + chunk.size
        if sound and place > start and place <= len(data) + 1:
            return True
    return False
