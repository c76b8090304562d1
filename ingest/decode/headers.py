"""AU, CAF, NIST Sphere and ASF (Windows Media), by their headers."""

import math
import re
import struct

from slvr.ingest.decode.content import Bytes
from slvr.ingest.decode.declaration import (
    TOLERANCE_S,
    Declaration,
    check_rate,
    check_there,
    cut_off,
    inconsistent,
)

_AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
"""Encoding -> bytes of a sample; others are packed."""
_AU_CHANNELS = (1, 2, 4, 6, 8, 12, 16)
"""The header holds nothing that a wrong number would contradict."""
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def au_declaration(data: Bytes) -> Declaration:
    """What the header of Sun's .au says.

    Raises:
        ClipFailure: samples are missing, or there are more than declared.
    """
    order = ">" if data[:4] == b".snd" else "<"
    if len(data) < 24:
        raise cut_off("the file ends inside its header")
    at, size, encoding, rate_hz, channels = struct.unpack(f"{order}5I", data[4:24])
    check_rate(rate_hz)
    if channels not in _AU_CHANNELS:
        raise inconsistent(f"{channels} channels")
    if size == 0xFFFFFFFF:
        return Declaration(notes=("the writer left the sizes open",))
    bytes_per_s = rate_hz * channels * _AU_BYTES.get(encoding, 1)
    return _exact(len(data) - at, size, bytes_per_s)


def _exact(there: int, size: int, bytes_per_s: float) -> Declaration:
    """Nothing may follow the samples: a header that says less than there is was damaged."""
    notes = check_there(there, size, bytes_per_s)
    if there - size > TOLERANCE_S * bytes_per_s:
        raise inconsistent(f"{there} bytes of samples, header says {size}")
    if there > size:
        notes = (*notes, f"{there - size} bytes after the samples")
    return Declaration(size / bytes_per_s if bytes_per_s else None, ends=True, notes=notes)


def caf_declaration(data: Bytes) -> Declaration:
    """What the chunks of Apple's Core Audio Format say.

    Raises:
        ClipFailure: samples are missing, or something else than chunks is there.
    """
    at, bytes_per_s, found = 8, 176_400.0, False
    notes: tuple[str, ...] = ()
    while at + 12 <= len(data):
        name, size = struct.unpack(">4sq", data[at : at + 12])
        at += 12
        if name == b"data" and size == -1:
            return Declaration(notes=("the writer left the sizes open",))
        if size < 0 or not name.isascii():
            raise inconsistent(f"{len(data) - at + 12} bytes at {at - 12} are no chunk")
        if name == b"desc":
            bytes_per_s = _caf_bytes_per_s(data[at : at + 32])
        if name == b"data":
            notes, found = check_there(len(data) - at, size, bytes_per_s), True
        elif at + size > len(data):
            raise cut_off(f"chunk {name.decode()} has {len(data) - at} of {size} bytes")
        at += size
    if not found:
        raise cut_off("the file ends before its samples begin")
    return Declaration(ends=True, notes=notes)


def _caf_bytes_per_s(description: bytes) -> float:
    """Bytes a second of a CAF; few where its packets have no fixed size.

    Raises:
        ClipFailure: the description is cut, or its fields contradict each other.
    """
    if len(description) < 32:
        raise cut_off("the file ends inside its description")
    rate_hz, kind, _, packet, frames, channels, bits = struct.unpack(">d4sIIIII", description)
    check_rate(rate_hz if math.isfinite(rate_hz) else 0)
    if kind == b"lpcm" and (bits % 8 or packet * 8 < channels * bits * frames or not packet):
        raise inconsistent(f"{bits} bits of {channels} channels in {packet} bytes")
    return rate_hz * packet / frames if packet and frames else 1000.0


def nist_declaration(data: Bytes) -> Declaration:
    """What the header of NIST Sphere says.

    Raises:
        ClipFailure: samples are missing, or there are more than declared.
    """
    header_bytes = int(match[1]) if (match := re.match(rb"NIST_1A\s+(\d{1,8})", data[:32])) else 0
    fields = dict(re.findall(rb"(\w+) -i (\d{1,15})\s", data[:header_bytes]))
    n = int(fields.get(b"sample_count", 0))
    rate_hz = int(fields.get(b"sample_rate", 0))
    if rate_hz:
        check_rate(rate_hz)
    block = int(fields.get(b"channel_count", 1)) * int(fields.get(b"sample_n_bytes", 2))
    if not (n and rate_hz) or b"shorten" in data[:header_bytes]:
        return Declaration()
    return _exact(len(data) - header_bytes, n * block, rate_hz * block)


def is_asf(data: Bytes) -> bool:
    """Whether a file is of Windows Media."""
    return data[:16] == _ASF


def asf_declaration(data: Bytes) -> Declaration:
    """Whether the header of an ASF was filled in, so that FFmpeg may be asked for the length.

    Of one that was written to a pipe FFmpeg makes up a length by the bit rate.
    """
    at = data.find(_ASF_PROPERTIES, 0, 1 << 16)
    fields = data[at + 64 : at + 92]  # lengths of playing and sending, preroll, flags
    if at < 0 or len(fields) < 28:
        return Declaration(by_decoder=False)
    length, _, _, flags = struct.unpack("<QQQI", fields)
    if not length or flags & 1:
        return Declaration(notes=("the writer left the sizes open",), by_decoder=False)
    return Declaration()
