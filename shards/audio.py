"""Samples in and out of shard members: FLAC or WAV, 16 bit, mono.

Letters: T samples.
"""

import dataclasses
import hashlib
import io

import av
import numpy as np
import numpy.typing as npt
import soundfile

from slvr.shards.clip import OK, Clip

CODECS = ("flac", "wav")
_FLAC_HEAD = b"fLaC\0\0\0\x22"
"""Of every FLAC, and the header of its first block: STREAMINFO, 34 bytes."""
_FLAC_HEAD_BYTES = 42


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
    if member[:8] == _FLAC_HEAD and len(member) > _FLAC_HEAD_BYTES:
        return _decode_flac(member)
    try:
        pcm, _ = soundfile.read(io.BytesIO(member), dtype="int16", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"not a readable FLAC or WAV member: {error.error_string}") from error
    if pcm.shape[1] != 1:
        raise ValueError(f"expected a mono member, got {pcm.shape[1]} channels")
    return np.ascontiguousarray(pcm[:, 0])


def _decode_flac(member: bytes) -> npt.NDArray[np.int16]:
    """The samples of a FLAC, by FFmpeg's decoder: 1.2 to 1.6 times as fast as libsndfile's.

    Without container and parser: the decoder takes the file whole, as one packet, and finds the
    frames itself.
    """
    # https://www.rfc-editor.org/rfc/rfc9639#name-streaminfo: rate 20 bits, channels - 1: 3 bits,
    # bits per sample - 1: 5 bits, samples: 36 bits
    about = int.from_bytes(member[18:26], "big")
    n_channels, n_bits, n_samples = (about >> 41 & 7) + 1, (about >> 36 & 31) + 1, about % 2**36
    if n_channels != 1 or n_bits != 16:
        raise ValueError(f"expected a mono member of 16 bits, got {n_channels} of {n_bits}")
    decoder = av.CodecContext.create("flac", "r")
    decoder.thread_count = 1
    decoder.options = {"err_detect": "crccheck+explode"}
    try:
        frames = [*decoder.decode(av.Packet(member)), *decoder.decode(None)]
    except (av.FFmpegError, ValueError) as error:
        raise ValueError(f"not a readable FLAC member: {error}") from error
    parts = [
        np.frombuffer(memoryview(frame.planes[0]), np.int16, frame.samples) for frame in frames
    ]
    pcm = np.concatenate([np.empty(0, np.int16), *parts])
    if len(pcm) != n_samples:
        raise ValueError(f"not a readable FLAC member: {len(pcm)} of {n_samples} samples")
    return pcm


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
