"""What libsndfile reads: the WAV family, FLAC, Ogg, MP3."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soundfile

from slvr.ingest.decode.format import Format
from slvr.ingest.decode.timeline import Piece
from slvr.ingest.recipe import ClipFailure

SEEK_MARGIN_S = 1.0
"""Decoding starts this much before a part, so that overlapping frames have settled."""
BLOCK_SAMPLES = 1 << 20
"""Read at a time: a header may declare more than there is, or than fits the memory."""
_CONTAINERS = {"WAVEX": "wav", "RF64": "wav", "NIST": "nistsphere"}
_CODECS = {
    **{"PCM_16": "pcm_s16", "PCM_24": "pcm_s24", "PCM_32": "pcm_s32", "PCM_U8": "pcm_u8"},
    **{"PCM_S8": "pcm_s8", "FLOAT": "pcm_f32", "DOUBLE": "pcm_f64", "ULAW": "pcm_mulaw"},
    **{"ALAW": "pcm_alaw", "VORBIS": "vorbis", "OPUS": "opus", "MPEG_LAYER_III": "mp3"},
    **{"MPEG_LAYER_II": "mp2", "MPEG_LAYER_I": "mp1", "GSM610": "gsm_ms"},
    **{"MS_ADPCM": "adpcm_ms", "IMA_ADPCM": "adpcm_ima_wav"},
}
"""libsndfile's names -> FFmpeg's."""
_TWO_ORDERS = ("pcm_s16", "pcm_s24", "pcm_s32", "pcm_f32", "pcm_f64")
"""Names that FFmpeg ends with the order of the bytes."""
_BIG = ("aiff", "au", "caf")
"""Containers of big-endian samples, where their header does not say otherwise."""


@dataclass
class Read:
    """How far a file has been read: what its header promised, and what came."""

    frames: int
    n: int = 0


def soundfile_format(sound: soundfile.SoundFile) -> Format:
    """The format, its codec by FFmpeg's name."""
    container = _CONTAINERS.get(sound.format, sound.format.lower())
    if container == "flac":
        codec = "flac"
    else:
        codec = _CODECS.get(sound.subtype, sound.subtype.lower())
        if codec in _TWO_ORDERS:
            own = container not in _BIG
            codec += "le" if {"LITTLE": True, "BIG": False}.get(sound.endian, own) else "be"
    return Format(container, codec, sound.samplerate, sound.channels)


def soundfile_pieces(
    sound: soundfile.SoundFile, start_s: float, end_s: float | None, read: Read
) -> Iterator[Piece]:
    """The sound from a little before start_s on.

    Raises:
        ClipFailure: libsndfile meets something that it cannot decode.
    """
    rate_hz = sound.samplerate
    first = min(max(round((start_s - SEEK_MARGIN_S) * rate_hz), 0), read.frames)
    # 16 bits are scaled when mixed, in a fraction of the time that libsndfile takes
    dtype, scale = ("int16", 2**-15) if sound.subtype == "PCM_16" else ("float32", 1.0)
    try:
        if first and sound.subtype != "GSM610":  # which cannot seek
            sound.seek(first)
            read.n = first
        while True:
            n = min(BLOCK_SAMPLES, read.frames - read.n)
            if end_s is not None:
                n = max(min(n, round((end_s + SEEK_MARGIN_S) * rate_hz) - read.n), 0)
            stored = sound.read(n, dtype=dtype, always_2d=True)
            if len(stored):
                yield Piece(tuple(stored.T), rate_hz, read.n / rate_hz, scale)
                read.n += len(stored)
            elif read.n == first > 0:  # nothing so late: where the file ends is all there is to say
                yield Piece((np.zeros(0, np.float32),), rate_hz, first / rate_hz)
            if len(stored) < n or read.n >= read.frames:
                return
    except soundfile.LibsndfileError as error:
        raise ClipFailure("corrupt", "undecodable", str(error)) from error
