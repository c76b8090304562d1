"""Ogg by its pages (RFC 3533): links, checksums, the last page."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from slvr.ingest.decode.content import Bytes
from slvr.ingest.decode.declaration import cut_off
from slvr.ingest.recipe import ClipFailure

_BEGINS, _ENDS = 2, 4
"""Bits of a page's header type."""
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class Page:
    """One page: where it is, its flags, granule position, stream and number, and its body."""

    at: int
    end: int
    flags: int
    granule: int
    serial: int
    number: int
    body_at: int


@dataclass
class LogicalStream:
    """One stream of a link: how its first packet begins, and where its time goes from and to."""

    head: bytes
    number: int
    first_granule: int | None = None
    last_granule: int = 0
    ended: bool = False


@dataclass
class Link:
    """One link of a chain: its bytes, and the streams that are multiplexed in it."""

    start: int
    end: int = 0
    streams: dict[int, LogicalStream] = field(default_factory=dict)
    has_data: bool = False

    @property
    def sound(self) -> "LogicalStream | None":
        """The stream, where it is the only one and one that libsndfile decodes."""
        if len(self.streams) != 1:
            return None
        (stream,) = self.streams.values()
        return stream if _clock(stream.head) else None

    @property
    def length_s(self) -> float:
        """Length by the granule positions of the first stream that holds sound."""
        for stream in self.streams.values():
            if clock := _clock(stream.head):
                rate_hz, skipped = clock
                first = stream.first_granule or 0
                # a stream that was joined in its middle counts on from there
                begin = first if first > 10 * rate_hz else 0
                return max(stream.last_granule - begin - skipped, 0) / rate_hz
        return 0.0


def _clock(head: bytes) -> tuple[int, int] | None:
    """Granules a second and granules of priming, or None for what libsndfile does not decode."""
    if head[:8] == b"OpusHead" and len(head) >= 12:
        return 48_000, int.from_bytes(head[10:12], "little")
    if head[:7] == b"\x01vorbis" and len(head) >= 16:
        return int.from_bytes(head[12:16], "little") or 1, 0
    if head[:5] == b"\x7fFLAC" and len(head) >= 30:
        return int.from_bytes(head[27:30], "big") >> 4 or 1, 0
    return None


def _checksum(page: bytes) -> int:
    """CRC-32 of a page whose checksum field counts as 0.

    Ogg's polynomial is zlib's, with the bits of every byte the other way around.
    """
    zeroed = page[:22] + b"\0\0\0\0" + page[26:]
    backward = zlib.crc32(zeroed.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(backward.to_bytes(4, "little").translate(_REVERSED), "big")


def pages(data: Bytes, checked: bool) -> Iterator[Page]:
    """The pages from the first byte on, up to bytes that are no page.

    Raises:
        ClipFailure: the file ends inside a page, or a page's checksum is another.
    """
    at, n = 0, len(data)
    while data[at : at + 4] == b"OggS":
        head = data[at : at + 27]
        n_segments = head[26] if len(head) == 27 else 0
        table = data[at + 27 : at + 27 + n_segments]
        end = at + 27 + n_segments + sum(table)
        if len(head) < 27 or len(table) < n_segments or end > n:
            raise cut_off(f"the Ogg page at byte {at} ends beyond the file")
        _, flags, granule, serial, number, crc = struct.unpack_from("<BBqIII", head, 4)
        if checked and _checksum(data[at:end]) != crc:
            raise ClipFailure("corrupt", "damaged_page", f"checksum of the Ogg page at byte {at}")
        yield Page(at, end, flags, granule, serial, number, at + 27 + n_segments)
        at = end


def links(data: Bytes, checked: bool = True) -> tuple[list[Link], int]:
    """The links of a chain, and how many bytes follow the last page.

    Raises:
        ClipFailure: a page is damaged, cut or missing, or the last one is not there.
    """
    found: list[Link] = []
    end = 0
    for page in pages(data, checked):
        end = page.end
        if page.flags & _BEGINS:
            if not found or found[-1].has_data:
                found.append(Link(page.at))
            head = data[page.body_at : min(page.end, page.body_at + 64)]
            found[-1].streams[page.serial] = LogicalStream(head, page.number)
        elif not found or page.serial not in found[-1].streams:
            raise ClipFailure(
                "corrupt", "damaged_page", f"no stream for the page at byte {page.at}"
            )
        else:
            found[-1].has_data = True
        _add(found[-1], page)
    trailing = data[end:]
    if b"OggS" in trailing or (found and _unended(found[-1]) and trailing):
        raise ClipFailure("corrupt", "damaged_page", f"no Ogg page at byte {end}")
    if not found or _unended(found[-1]):
        raise cut_off("no last Ogg page")
    return found, len(trailing)


def _add(link: Link, page: Page) -> None:
    link.end = page.end
    stream = link.streams[page.serial]
    if page.number != stream.number:
        raise ClipFailure(
            "corrupt", "damaged_page", f"Ogg page {stream.number} is missing at byte {page.at}"
        )
    stream.number = (page.number + 1) % 2**32
    if page.granule > 0:
        if stream.first_granule is None:
            stream.first_granule = page.granule
        stream.last_granule = page.granule
    stream.ended = stream.ended or bool(page.flags & _ENDS)


def _unended(link: Link) -> bool:
    """Whether a stream of sound has no last page (pictures and tracks of text often have none)."""
    sound = [stream for stream in link.streams.values() if _clock(stream.head)]
    return not all(stream.ended for stream in sound or link.streams.values())
