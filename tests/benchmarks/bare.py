"""What shards need at the least of one file: the work that an ingest is measured against."""

import hashlib
import io
import tarfile

import numpy as np
import soundfile
import soxr


def add_clip(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Decodes, resamples, hashes twice, encodes, and adds FLAC and hashes to a tar."""
    samples, rate_hz = soundfile.read(io.BytesIO(content), dtype="float32")
    mono = soxr.resample(samples, rate_hz, 16_000, quality="HQ")
    pcm = np.clip(np.rint(mono * 32768), -32768, 32767).astype(np.int16)
    hashes = [hashlib.sha256(data).hexdigest() for data in (content, pcm.tobytes())]
    flac = io.BytesIO()
    soundfile.write(flac, pcm, 16_000, format="FLAC", subtype="PCM_16")
    for suffix, data in (("flac", flac.getvalue()), ("txt", "\n".join(hashes).encode())):
        info = tarfile.TarInfo(f"{name}.{suffix}")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
