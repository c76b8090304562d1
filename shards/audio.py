"""Samples in and out of shard members: FLAC or WAV, 16 bit, mono.

Letters: T samples.
"""

import dataclasses
import hashlib
import io

import numpy as np
import numpy.typing as npt
import soundfile

from shards.clip import OK, Clip

CODECS = ("flac", "wav")


def encode(pcm: npt.NDArray[np.int16], sample_rate_hz: int, codec: str) -> bytes:
    """The bytes of a shard member for pcm (T,) int16; the same samples give the same bytes."""
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, sample_rate_hz, format=codec.upper(), subtype="PCM_16")
    return buffer.getvalue()


def decode(member: bytes) -> npt.NDArray[np.int16]:
    """The samples (T,) int16 of a shard member.

    Raises:
        ValueError: the bytes are no mono FLAC or WAV.
    """
    try:
        pcm, _ = soundfile.read(io.BytesIO(member), dtype="int16", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"not a readable FLAC or WAV member: {error}") from error
    if pcm.shape[1] != 1:
        raise ValueError(f"expected a mono member, got {pcm.shape[1]} channels")
    return np.ascontiguousarray(pcm[:, 0])


def pcm_sha256(pcm: npt.NDArray[np.int16]) -> str:
    """SHA-256 (hex) of the samples as little-endian 16-bit integers, whatever the codec."""
    return hashlib.sha256(pcm.astype("<i2", copy=False).tobytes()).hexdigest()


def with_audio(clip: Clip, pcm: npt.NDArray[np.int16], codec: str) -> Clip:
    """The clip as `ok`, holding the encoded samples pcm (T,) int16 at `clip.sample_rate_hz`."""
    return dataclasses.replace(
        clip,
        status=OK,
        n_samples=len(pcm),
        pcm_sha256=pcm_sha256(pcm),
        audio=encode(pcm, clip.sample_rate_hz, codec),
    )
