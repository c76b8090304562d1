"""What a container says of its own length and end."""

from dataclasses import dataclass

from slvr.ingest.recipe import ClipFailure

TOLERANCE_S = 0.1
"""Codec delay and padding (AAC, Opus, MP3) make decoded lengths differ from declared ones."""
_OTHER_RATES_HZ = frozenset(
    {5512, 7350, 8012, 8013, 9600, 11127, 12500, 18900, 19200, 22254, 22255, 24414, 25600, 31250}
    | {37800, 38400, 44056, 44144, 47952, 48048, 51200, 62500, 76800, 153600, 195312, 312500}
)
"""Besides whole kHz and multiples of 11,025 Hz: pull-ups, old Macs, CD-ROM XA, ultrasound."""


@dataclass(frozen=True)
class Declaration:
    """What a container says of its own length and end, as far as it was checked.

    Attributes:
        length_s: of the sound, or None where no field holds it.
        ends: it says where it ends, and that is where the file ends.
        notes: what the reader of the row should know.
        instead: bytes to decode in place of the file, where its header would mislead a decoder.
        by_decoder: FFmpeg may be asked for the length; it does not declare what it only found.
        misread: libsndfile takes the samples for others (floats of an extensible Wave64 for
            integers), FFmpeg does not.
        fault: what is wrong with the file, known before anything is decoded.
    """

    length_s: float | None = None
    ends: bool = False
    notes: tuple[str, ...] = ()
    instead: bytes | None = None
    by_decoder: bool = True
    misread: bool = False
    fault: ClipFailure | None = None


def cut_off(detail: str) -> ClipFailure:
    """A file that ends before its header says."""
    return ClipFailure("truncated", "cut_off", detail)


def inconsistent(detail: str) -> ClipFailure:
    """A file whose header contradicts itself: how long it is meant to be cannot be told."""
    return ClipFailure("corrupt", "inconsistent_header", detail)


def check_rate(rate_hz: float) -> None:
    """Holds a rate against those that are used, in headers that say nothing else of the length.

    Raises:
        ClipFailure: nobody records at that rate.
    """
    if rate_hz < 1:
        raise ClipFailure("corrupt", "bad_rate", "0 samples a second")
    usual = rate_hz % 1000 == 0 or rate_hz % 11025 == 0 or rate_hz in _OTHER_RATES_HZ
    if not usual or rate_hz > 1_000_000:
        raise ClipFailure(
            "corrupt", "unusual_rate", f"{rate_hz:g} samples a second, which no recorder has"
        )


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
