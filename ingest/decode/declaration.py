"""What a container says of its own length and end."""

from dataclasses import dataclass

from slvr.ingest.recipe import ClipFailure

TOLERANCE_S = 0.1
"""Codec delay and padding (AAC, Opus, MP3) make decoded lengths differ from declared ones."""


@dataclass(frozen=True)
class Declaration:
    """What a container says of its own length and end, as far as it was checked.

    Attributes:
        length_s: of the sound, or None where no field holds it.
        ends: it says where it ends, and that is where the file ends.
        notes: what the reader of the row should know.
        instead: bytes to decode in place of the file, where its header would mislead a decoder.
        fault: what is wrong with the file, known before anything is decoded.
    """

    length_s: float | None = None
    ends: bool = False
    notes: tuple[str, ...] = ()
    instead: bytes | None = None
    fault: ClipFailure | None = None


def cut_off(detail: str) -> ClipFailure:
    """A file that ends before its header says."""
    return ClipFailure("truncated", "cut_off", detail)


def inconsistent(detail: str) -> ClipFailure:
    """A file whose header contradicts itself: how long it is meant to be cannot be told."""
    return ClipFailure("corrupt", "inconsistent_header", detail)


def check_there(there: int, declared: int, bytes_per_s: float) -> tuple[str, ...]:
    """A note for some bytes of samples too few, nothing for enough.

    Raises:
        ClipFailure: more is missing than the tolerance.
    """
    missing = declared - there
    if missing <= 0:
        return ()
    if missing > TOLERANCE_S * bytes_per_s:
        raise cut_off(f"{there} bytes of samples, header says {declared}")
    return (f"header says {missing} bytes more than there are",)
