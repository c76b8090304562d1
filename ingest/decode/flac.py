"""FLAC by its first block and its last frame (RFC 9639)."""

from dataclasses import dataclass

from slvr.ingest.decode.content import Bytes
from slvr.ingest.decode.declaration import Declaration, cut_off, inconsistent
from slvr.ingest.recipe import ClipFailure

_RATES_HZ = (0, 88200, 176400, 192000, 8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000)
_BITS = (0, 8, 12, 0, 16, 20, 24, 32)
_LARGEST_FRAME_BYTES = 1 << 20


@dataclass(frozen=True)
class StreamInfo:
    """The first block; `n_samples` is 0 where the writer did not know."""

    min_block: int
    max_block: int
    rate_hz: int
    channels: int
    n_bits: int
    n_samples: int


@dataclass(frozen=True)
class _Frame:
    """A frame's header: its first sample and how many it has."""

    first: int
    n_samples: int


def stream_info(data: Bytes, at: int) -> StreamInfo:
    """The first block of a FLAC that begins at byte `at`.

    Raises:
        ClipFailure: it is not there, or its rate is 0.
    """
    block = data[at + 8 : at + 26]
    if len(block) < 18 or data[at + 4] & 127:
        raise ClipFailure("corrupt", "undecodable", "no STREAMINFO in the FLAC")
    about = int.from_bytes(block[10:18], "big")
    info = StreamInfo(
        min_block=int.from_bytes(block[0:2], "big"),
        max_block=int.from_bytes(block[2:4], "big"),
        rate_hz=about >> 44,
        channels=(about >> 41 & 7) + 1,
        n_bits=(about >> 36 & 31) + 1,
        n_samples=about % 2**36,
    )
    if info.rate_hz == 0:
        raise ClipFailure("corrupt", "bad_rate", "0 samples a second")
    return info


def flac_declaration(data: Bytes, at: int, info: StreamInfo) -> Declaration:
    """What the first block of the FLAC at byte `at` says, held against the last frame.

    Raises:
        ClipFailure: the last frame ends elsewhere than declared.
    """
    if not info.n_samples:
        return Declaration(notes=("the writer did not know the length",))
    first, last = _frame(*_first_frame(data, at), info), _last_frame(data, info)
    if first and last:
        # a FLAC cut out of another one counts on from there
        n = last.first + last.n_samples - first.first
        if n > info.n_samples:
            raise inconsistent(f"frames for {n} samples, header says {info.n_samples}")
        if n < info.n_samples:
            raise cut_off(f"frames for {n} samples, header says {info.n_samples}")
    return Declaration(info.n_samples / info.rate_hz, ends=True)


def _first_frame(data: Bytes, at: int) -> tuple[bytes, int]:
    """Bytes that begin with the first frame, behind all blocks, and 0."""
    at += 4
    while len(head := data[at : at + 4]) == 4:
        at += 4 + int.from_bytes(head[1:], "big")
        if head[0] & 128:
            break
    return data[at : at + 16], 0


def _last_frame(data: Bytes, info: StreamInfo) -> _Frame | None:
    """The last frame of a file, found from its end, or None."""
    begin = max(len(data) - _LARGEST_FRAME_BYTES, 0)
    tail = data[begin:]
    at = len(tail)
    while (at := tail.rfind(b"\xff", 0, at)) >= 0:
        if (tail[at + 1 : at + 2] in (b"\xf8", b"\xf9")) and (frame := _frame(tail, at, info)):
            return frame
    return None


def _frame(tail: bytes, at: int, info: StreamInfo) -> _Frame | None:
    """The frame whose header is at `at`, or None where none of this stream's is."""
    head = tail[at : at + 16]
    if len(head) < 16 or head[0] != 255 or not head[2] >> 4 or head[3] & 1:
        return None
    channels, n_bits = head[3] >> 4, _BITS[head[3] >> 1 & 7]
    if channels > 10 or (channels < 8 and channels + 1 != info.channels):
        return None
    if (channels >= 8 and info.channels != 2) or n_bits not in (0, info.n_bits):
        return None
    n_number = max(8 - (head[4] ^ 255).bit_length(), 1)
    if n_number > 7:
        return None
    number = head[4] & (127 if n_number == 1 else 127 >> n_number)
    for byte in head[5 : 4 + n_number]:
        number = number << 6 | byte & 63
    place = 4 + n_number
    block, rate = head[2] >> 4, head[2] & 15
    if block == 1:
        n_samples = 192
    elif block < 6:
        n_samples = 576 << (block - 2)
    elif block > 7:
        n_samples = 256 << (block - 8)
    else:
        n_samples = int.from_bytes(head[place : place + block - 5], "big") + 1
        place += block - 5
    place += {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if rate == 15 or _crc_8(head[:place]) != head[place]:
        return None
    if 0 < rate < 12 and _RATES_HZ[rate] != info.rate_hz:
        raise inconsistent(f"{info.rate_hz} samples a second, frames say {_RATES_HZ[rate]}")
    fixed = not head[1] & 1
    return _Frame(number * info.max_block if fixed else number, n_samples)


def _crc_8(content: bytes) -> int:
    """CRC-8 of the polynomial x^8 + x^2 + x + 1."""
    crc = 0
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 7 if crc & 128 else crc << 1) & 255
    return crc
