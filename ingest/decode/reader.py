"""Any audio file -> 16 kHz mono, 16 bit; every fault is a status with a reason.

The rule: time counts from the container's start; what the container marks as priming is no sound;
silence where nothing was sent; the length that counts is what was decoded, held against what the
stream of sound itself declares.

Letters: T samples.
"""

import dataclasses
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import av.error
import numpy as np
import numpy.typing as npt

from slvr.ingest.decode.content import Encoded, n_bytes, opened
from slvr.ingest.decode.declaration import TOLERANCE_S, cut_off
from slvr.ingest.decode.format import Format
from slvr.ingest.decode.routes import Sound, open_sound
from slvr.ingest.decode.timeline import Heard, Timeline, too_long
from slvr.ingest.recipe import ClipFailure
from slvr.shards.audio import with_audio
from slvr.shards.clip import Clip
from slvr.shards.files import file_sha256

CANCELLED = 1e-4
"""Power of the average over the channels' own, 40 dB down: what a codec leaves of an inverse."""
CLIPPED_SHARE = 1e-3
"""So much beyond full scale is worth a word."""


@dataclass(frozen=True)
class Decoded:
    """Decoded samples.

    Attributes:
        pcm: (T,) int16 mono at 16 kHz.
        note: how the audio differs from what was asked for within the tolerance, or nothing.
    """

    pcm: npt.NDArray[np.int16]
    note: str = ""


def decode_file(
    file: Encoded, start_s: float | None = None, end_s: float | None = None, max_s: float = 3600.0
) -> Decoded:
    """The audio of a file, or its part from start_s to end_s.

    soundfile reads what it knows, FFmpeg (PyAV) the rest; channels are averaged; soxr HQ
    resamples; samples beyond full scale are clipped.

    Args:
        file: the file.
        start_s: beginning of the part; None for the whole file.
        end_s: end of the part; None for the whole file.
        max_s: a clip longer than this is refused before it fills the memory.

    Raises:
        ClipFailure: missing, empty, corrupt, truncated, silent, too short or too long.
    """
    with _told(), opened(file) as content, open_sound(content) as sound:
        return _decode(sound, start_s, end_s, max_s)


def decoded_clip(clip: Clip, file: Encoded, codec: str, max_s: float) -> Clip:
    """The planned clip with the audio of a file, or as the failure that decoding met.

    What is known of the file is kept either way.
    """
    known = clip
    with suppress(OSError):  # a file that cannot be read: decoding says so
        known = dataclasses.replace(clip, source_sha256=_sha256(file), source_bytes=n_bytes(file))
    try:
        with _told(), opened(file) as content, open_sound(content) as sound:
            known = dataclasses.replace(
                known,
                source_format=sound.format.container,
                source_codec=sound.format.codec,
                source_rate_hz=sound.format.rate_hz,
                source_channels=sound.format.channels,
            )
            decoded = _decode(sound, clip.source.start_s, clip.source.end_s, max_s)
            return dataclasses.replace(with_audio(known, decoded.pcm, codec), detail=decoded.note)
    except ClipFailure as fault:
        return known.failed(fault.status, fault.reason, fault.detail)


@dataclass(frozen=True)
class Probed:
    """What a file says of itself before it is decoded.

    Attributes:
        format: how it holds its sound.
        length_s: in seconds, as its header declares it or its frames count, or None.
    """

    format: Format
    length_s: float | None


def probe(file: Encoded) -> Probed:
    """What a file says of itself; nothing is decoded and no checksum is looked at.

    Raises:
        ClipFailure: it is missing, or no sound can be read from it.
    """
    with _told(), opened(file) as content, open_sound(content, checked=False) as sound:
        return Probed(sound.format, sound.declaration.length_s or sound.expected_s)


def declared_duration_s(file: Encoded) -> float | None:
    """The duration of a file as its header declares it or its frames count, else None."""
    try:
        return probe(file).length_s
    except ClipFailure:
        return None


@contextmanager
def _told() -> Iterator[None]:
    """Whatever a decoder raises, as the failure of this one clip.

    Raises:
        ClipFailure: something was raised.
        MemoryError: the machine has no more memory.
    """
    try:
        yield
    except ClipFailure:
        raise
    except av.error.FFmpegError as error:
        raise ClipFailure("corrupt", "undecodable", str(error.strerror)) from error
    except MemoryError:
        raise
    except Exception as error:
        detail = f"{type(error).__name__}: {error}"[:200]
        raise ClipFailure("corrupt", "decoder_error", detail) from error


def _sha256(file: Encoded) -> str:
    return hashlib.sha256(file).hexdigest() if isinstance(file, bytes) else file_sha256(file)


def _decode(sound: Sound, start_s: float | None, end_s: float | None, max_s: float) -> Decoded:
    if sound.declaration.fault:
        raise sound.declaration.fault
    declared_s = sound.declaration.length_s
    _refuse_too_long(declared_s, start_s, end_s, max_s)
    timeline = _timeline(sound, start_s or 0.0, end_s, max_s)
    whole = end_s is None
    trim_s = None
    if (
        whole
        and sound.trims
        and declared_s
        and declared_s < timeline.now_s < declared_s + TOLERANCE_S
    ):
        trim_s = declared_s
    heard = timeline.heard(trim_s)
    notes = [*sound.declaration.notes, *heard.notes] if whole else list(heard.notes)
    notes += _length_notes(sound, heard, start_s or 0.0, end_s)
    pcm = np.rint(heard.mono * np.float32(32768))
    if len(pcm) == 0:
        raise ClipFailure("too_short", "no_samples", "0 samples")
    n_clipped = 0
    if pcm.max() > 32767 or pcm.min() < -32768:
        n_clipped = int(np.count_nonzero(pcm > 32767) + np.count_nonzero(pcm < -32768))
        pcm = np.clip(pcm, -32768, 32767)
    _refuse_silent(heard, bool(pcm.any()))
    if n_clipped > CLIPPED_SHARE * len(pcm):
        notes.append(f"{100 * n_clipped / len(pcm):.1f} % of the samples are beyond full scale")
    return Decoded(pcm.astype(np.int16), "; ".join(notes))


def _timeline(sound: Sound, start_s: float, end_s: float | None, max_s: float) -> Timeline:
    """The sound of a part. Where seeking led beyond it, it is read from the file's beginning."""
    timeline = Timeline(start_s, end_s, max_s, sound.resets)
    timeline.take(sound.pieces(start_s, end_s))
    if start_s > 0 and sound.start_again and not (timeline.full and timeline.on_time):
        timeline = Timeline(start_s, end_s, max_s, sound.resets)
        timeline.take(sound.start_again(start_s, end_s))
    return timeline


def _refuse_too_long(
    declared_s: float | None, start_s: float | None, end_s: float | None, max_s: float
) -> None:
    last_s = min((s for s in (end_s, declared_s) if s is not None), default=0.0)
    if last_s - (start_s or 0.0) > max_s:
        raise too_long(last_s - (start_s or 0.0), max_s)


def _length_notes(sound: Sound, heard: Heard, start_s: float, end_s: float | None) -> list[str]:
    """Holds the length read against what the header and the caller say."""
    declared_s, found_s = sound.declaration.length_s, heard.end_s
    if sound.broken_end() and sound.declaration.ends and end_s is None:
        raise ClipFailure("corrupt", "undecodable", "the last packet")
    if end_s is None:
        if declared_s is not None and found_s < declared_s - TOLERANCE_S:
            raise cut_off(f"{found_s:.3f} s, header says {declared_s:.3f} s")
        if not sound.declaration.ends:
            return ["length_undeclared: the file declares neither its length nor its end"]
        return []
    missing_s = end_s - max(found_s, start_s) if heard.n_read else end_s - start_s
    if end_s - found_s <= 1e-4 or missing_s <= 1e-4:
        return []
    if declared_s is not None and found_s < min(declared_s, end_s) - TOLERANCE_S:
        raise cut_off(f"{found_s:.3f} s, header says {declared_s:.3f} s")
    if end_s - found_s > TOLERANCE_S:
        if sound.trims and declared_s and declared_s < found_s < declared_s + TOLERANCE_S:
            found_s = declared_s  # the rest fills the last frame
        detail = f"ends at {found_s:.3f} s, segment {start_s:.3f} to {end_s:.3f} s"
        raise ClipFailure("too_short", "source_ends_early", detail)
    return [f"source ends {end_s - found_s:.3f} s before the segment"]


def _refuse_silent(heard: Heard, sounds: bool) -> None:
    audible = heard.channels_power > 0.25 * 2**-30  # half of the smallest step
    if audible and heard.power < CANCELLED * heard.channels_power:
        level_db = 10 * np.log10(heard.channels_power)
        raise ClipFailure(
            "silent",
            "channels_cancel",
            f"the channels' average is silence, each has {level_db:.0f} dB",
        )
    if not sounds:
        raise ClipFailure("silent", "all_zero", f"{len(heard.mono)} samples")
