"""Matroska and WebM by their outer elements (RFC 9559): what is cut."""

from slvr.ingest.decode.content import Bytes
from slvr.ingest.decode.declaration import Declaration, cut_off

_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_MAGIC = b"\x1a\x45\xdf\xa3"


def is_matroska(data: Bytes) -> bool:
    """Whether a file begins with an EBML header."""
    return data[:4] == _MAGIC


def matroska_declaration(data: Bytes) -> Declaration:
    """What the sizes of the elements say.

    Raises:
        ClipFailure: an element ends beyond the file.
    """
    header = _element(data, 0)
    segment = _element(data, header[2]) if header and header[2] is not None else None
    if segment is None or segment[0] != _SEGMENT:
        return Declaration()
    _, at, end = segment
    if end is not None and end > len(data):
        raise cut_off(f"{len(data)} bytes, header says {end}")
    place: int | None = at
    while place is not None and place < len(data) and (child := _element(data, place)):
        place = child[2]
        if place is not None and place > len(data):
            raise cut_off(f"the element at byte {child[1]} ends beyond the file")
    notes: tuple[str, ...] = ()
    if end is not None and end < len(data):
        notes = (f"{len(data) - end} bytes after the last element",)
    return Declaration(ends=end is not None, notes=notes)


def _element(data: Bytes, at: int) -> tuple[int, int, int | None] | None:
    """Id, first byte of the body and the byte behind it (None where the size is unknown)."""
    head = data[at : at + 12]
    if len(head) < 2 or not head[0] & 0xF0:
        return None
    id_bytes = 9 - head[0].bit_length()
    if len(head) <= id_bytes or not head[id_bytes]:
        return None
    size_bytes = 9 - head[id_bytes].bit_length()
    field = head[id_bytes : id_bytes + size_bytes]
    if len(field) < size_bytes:
        return None
    size = int.from_bytes(field, "big") & ((1 << 7 * size_bytes) - 1)
    body = at + id_bytes + size_bytes
    unknown = size == (1 << 7 * size_bytes) - 1
    return int.from_bytes(head[:id_bytes], "big"), body, None if unknown else body + size
