import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from slvr.shards.audio import CODECS, decode, encode


def signal(kind: str, n_samples: int) -> np.ndarray:
    t = np.arange(n_samples)
    samples = {
        "noise": np.random.default_rng(n_samples).integers(-32768, 32768, n_samples),
        "silence": 0 * t,
        "full scale": 0 * t - 32768,
        "tone": np.round(8000 * np.sin(t / 20)),
    }[kind]
    return samples.astype(np.int16)


# around libFLAC's block of 4,096 samples, and below its least of 16
@pytest.mark.parametrize("n_samples", [1, 15, 16, 4095, 4096, 4097, 20_000])
@pytest.mark.parametrize("kind", ["noise", "silence", "full scale", "tone"])
@pytest.mark.parametrize("codec", CODECS)
def test_samples_come_back_bit_for_bit(codec: str, kind: str, n_samples: int) -> None:
    pcm = signal(kind, n_samples)
    member = encode(pcm, 16_000, codec)
    decoded = decode(member)
    assert decoded.dtype == np.int16
    np.testing.assert_array_equal(decoded, pcm)
    reference, _ = soundfile.read(io.BytesIO(member), dtype="int16")
    np.testing.assert_array_equal(decoded, reference)


FLAC = encode(signal("tone", 9000), 16_000, "flac")


@settings(max_examples=300)
@given(st.integers(0, len(FLAC) - 1), st.integers(0, 7))
def test_a_flipped_bit_never_gives_other_samples(byte: int, bit: int) -> None:
    damaged = bytearray(FLAC)
    damaged[byte] ^= 1 << bit
    try:
        decoded = decode(bytes(damaged))
    except ValueError:
        return
    np.testing.assert_array_equal(decoded, signal("tone", 9000))


@pytest.mark.parametrize("n_bytes", [0, 3, 8, 42, 43, len(FLAC) // 2, len(FLAC) - 1])
def test_a_cut_flac_is_no_shorter_clip(n_bytes: int) -> None:
    with pytest.raises(ValueError, match="not a readable FLAC"):
        decode(FLAC[:n_bytes])


def test_other_content_is_named() -> None:
    with pytest.raises(ValueError, match="not a readable FLAC or WAV member"):
        decode(b"no audio at all")
    with pytest.raises(ValueError, match="not a readable FLAC member"):
        decode(FLAC[:22] + b"\xff" * 4 + FLAC[26:42] + b"no audio")  # declares 2**32 samples
    for codec in CODECS:
        stereo = io.BytesIO()
        soundfile.write(stereo, np.zeros((50, 2)), 16_000, format=codec, subtype="PCM_16")
        with pytest.raises(ValueError, match=r"expected a mono member.*got 2"):
            decode(stereo.getvalue())
