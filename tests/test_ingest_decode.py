import hashlib
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr

from slvr.ingest.decode import declared_duration_s, decode_file, decoded_clip
from slvr.ingest.recipe import ClipFailure
from slvr.shards.clip import Clip, Source

SOUNDFILE = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_24"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".aiff": ("AIFF", "PCM_16"),
}
FFMPEG = {".m4a": "aac", ".webm": "libopus"}


def tone(seconds: float, rate: int, channels: int, hz: float = 440.0) -> np.ndarray:
    """(T, channels): the tone steps up by 100 Hz every second, so that a cut can be told."""
    time_s = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(hz + 100 * np.floor(time_s)) / rate
    return np.repeat(0.5 * np.sin(phase)[:, None], channels, axis=1).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int) -> Path:
    if path.suffix in SOUNDFILE:
        kind, subtype = SOUNDFILE[path.suffix]
        soundfile.write(path, samples, rate, format=kind, subtype=subtype)
        return path
    with av.open(str(path), "w") as container:
        layout = "stereo" if samples.shape[1] == 2 else "mono"
        stream = container.add_stream(FFMPEG[path.suffix], rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.T), format="fltp", layout=layout
        )
        frame.sample_rate = rate
        fifo = av.AudioResampler(format=stream.format.name, layout=layout, rate=rate)
        for piece in fifo.resample(frame):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path


def hz_at(pcm: np.ndarray, second: float) -> float:
    """Frequency of the strongest line in the 0.4 s from `second` on."""
    part = pcm[round(second * 16_000) :][: round(0.4 * 16_000)].astype(float)
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 1 << 17))
    return float(np.argmax(spectrum) * 16_000 / (1 << 17))


def fault(path: Path, *args: float, **options: float) -> ClipFailure:
    with pytest.raises(ClipFailure) as caught:
        decode_file(path, *args, **options)
    return caught.value


FORMATS = [*SOUNDFILE, *FFMPEG]
KINDS = [
    *(
        (kind, subtype)
        for kind in ("WAV", "WAVEX", "AIFF", "AU", "RF64", "W64", "CAF")
        for subtype in ("PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
    ),
    *(("WAV", "PCM_U8"), ("AIFF", "PCM_S8"), ("AIFF", "PCM_U8"), ("FLAC", "PCM_16")),
    *(("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")),
]


@pytest.mark.parametrize(("kind", "subtype"), KINDS)
@pytest.mark.parametrize("channels", [1, 2])
def test_codecs_have_one_name_whoever_reads_the_file(
    tmp_path: Path, kind: str, subtype: str, channels: int
) -> None:
    path = tmp_path / "a"
    soundfile.write(path, tone(0.5, 24_000, channels), 24_000, format=kind, subtype=subtype)
    made = decoded_clip(Clip("a", "train", Source("a")), path, "flac", 9.0)
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert made.source_codec == stream.codec_context.codec.canonical_name
        assert made.source_format in container.format.name.split(",")
    assert (made.source_rate_hz, made.source_channels) == (24_000, channels)


@pytest.mark.parametrize("kind", ["AIFF", "CAF"])
def test_the_order_of_bytes_is_the_headers(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    soundfile.write(path, tone(0.5, 24_000, 1), 24_000, "PCM_16", endian="LITTLE", format=kind)
    made = decoded_clip(Clip("a", "train", Source("a")), path, "flac", 9.0)
    with av.open(str(path)) as container:
        codec = container.streams.audio[0].codec_context.codec.canonical_name
    assert made.source_codec == codec == "pcm_s16le"


@pytest.mark.parametrize(("suffix", "codec"), [(".m4a", "aac"), (".webm", "opus")])
def test_formats_that_ffmpeg_reads_are_on_record(tmp_path: Path, suffix: str, codec: str) -> None:
    path = write(tmp_path / f"a{suffix}", tone(1.5, 48_000, 2), 48_000)
    made = decoded_clip(Clip("a", "train", Source("a")), path, "flac", 9.0)
    assert suffix[1:] in made.source_format.split(",")
    assert (made.source_codec, made.source_rate_hz, made.source_channels) == (codec, 48_000, 2)


def test_what_is_known_of_a_file_that_gives_no_clip_is_kept(tmp_path: Path) -> None:
    silent, broken = tmp_path / "silent.wav", tmp_path / "broken.mp3"
    soundfile.write(silent, np.zeros((800, 2)), 44_100)
    broken.write_bytes(b"no audio at all")
    long = write(tmp_path / "long.m4a", tone(4, 48_000, 1), 48_000)
    made = {
        path.stem: decoded_clip(Clip("a", "train", Source("a")), path, "flac", 2.0)
        for path in (silent, broken, long, tmp_path / "none.wav")
    }
    assert [clip.status for clip in made.values()] == ["silent", "corrupt", "too_long", "missing"]
    for path in (silent, broken, long):
        clip = made[path.stem]
        content = path.read_bytes()
        assert clip.source_bytes == len(content) and clip.audio is None and not clip.n_samples
        assert clip.source_sha256 == hashlib.sha256(content).hexdigest()
    about = made["silent"]
    assert (about.source_format, about.source_codec) == ("wav", "pcm_s16le")
    assert (about.source_rate_hz, about.source_channels) == (44_100, 2)
    assert made["long"].source_codec == "aac" and made["broken"].source_codec == ""
    assert made["none"].source_sha256 == "" and made["none"].source_bytes == 0


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(("rate", "channels"), [(48_000, 2), (16_000, 1), (8_000, 2)])
def test_every_format_rate_and_channel_count(
    tmp_path: Path, suffix: str, rate: int, channels: int
) -> None:
    path = write(tmp_path / f"a{suffix}", tone(2.5, rate, channels), rate)
    pcm = decode_file(path).pcm
    assert pcm.dtype == np.int16 and pcm.ndim == 1
    delay_s = 1024 / rate if suffix == ".m4a" else 0.0  # AAC's, which this file does not signal
    assert abs(len(pcm) / 16_000 - 2.5 - delay_s) < 0.05
    assert abs(declared_duration_s(path) - 2.5 - delay_s) < 0.05
    for second, hz in ((0.3, 440), (1.3, 540), (2.05, 640)):
        assert abs(hz_at(pcm, second) - hz) < 2
    assert abs(np.sqrt(np.mean((pcm / 32768.0) ** 2)) - 0.5 / np.sqrt(2)) < 0.03


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_samples_are_those_of_soundfile_and_soxr(
    tmp_path: Path, subtype: str, channels: int
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, (44_100, channels))
    soundfile.write(tmp_path / "a.wav", noise, 44_100, subtype=subtype)
    samples, _ = soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)
    expected = soxr.resample(samples.mean(axis=1), 44_100, 16_000, quality="HQ")
    # the order in which more than two channels are added moves a float's last bit
    bound = 0 if channels <= 2 else 1
    difference = decode_file(tmp_path / "a.wav").pcm - np.rint(expected * 32768)
    assert np.abs(difference).max() <= bound


def test_16_khz_mono_16_bit_is_untouched(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    np.testing.assert_array_equal(decode_file(tmp_path / "a.wav").pcm, samples)


def test_resampling_keeps_what_fits_and_removes_what_does_not(tmp_path: Path) -> None:
    """6 kHz survives 44.1 -> 16 kHz within 0.1 dB; 10 kHz, beyond Nyquist, is 60 dB down."""
    time_s = np.arange(44_100) / 44_100
    levels = []
    for hz in (6000, 10_000):
        wave = 0.5 * np.sin(2 * np.pi * hz * time_s)
        wave[::4410] += 1e-3  # not quite silent
        soundfile.write(tmp_path / "a.wav", wave, 44_100, subtype="FLOAT")
        pcm = decode_file(tmp_path / "a.wav").pcm[1000:-1000] / 32768.0
        levels.append(20 * np.log10(np.sqrt(2 * np.mean(pcm**2)) / 0.5))
    assert abs(levels[0]) < 0.1
    assert levels[1] < -55


def test_loud_samples_are_clipped_not_wrapped(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([2.0, -2.0, 0.5]), 16_000, subtype="FLOAT")
    assert decode_file(tmp_path / "a.wav").pcm.tolist() == [32767, -32768, 16384]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_part_is_cut_where_it_was_asked_for(tmp_path: Path, suffix: str) -> None:
    samples = tone(12, 48_000, 2)
    samples *= np.repeat(np.random.default_rng(0).uniform(0.2, 1, 1200), 480)[:, None]
    path = write(tmp_path / f"a{suffix}", samples.astype(np.float32), 48_000)
    decoded = decode_file(path, 6.5, 9.25)
    assert len(decoded.pcm) == 2.75 * 16_000 and decoded.note == ""
    whole = decode_file(path).pcm[round(6.5 * 16_000) : round(9.25 * 16_000)]
    delays = np.correlate(decoded.pcm[8000:24_000].astype(float), whole[8400:23_600], "valid")
    assert abs(int(np.argmax(delays)) - 400) <= 0.008 * 16_000  # webm counts milliseconds
    for second, hz in ((0.02, 1040), (0.55, 1140), (1.55, 1240)):
        assert abs(hz_at(decoded.pcm, second) - hz) < 5


@pytest.mark.parametrize("suffix", [".wav", ".m4a", ".webm"])
def test_a_source_shorter_than_the_segment_is_too_short(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", tone(4, 48_000, 1), 48_000)
    found = fault(path, 2.0, 12.0)
    assert (found.status, found.reason) == ("too_short", "source_ends_early")
    assert "segment 2.000 to 12.000 s" in found.detail
    assert fault(path, 20.0, 30.0).status == "too_short"


def test_a_missing_instant_is_noted_not_silent(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(9.95, 16_000, 1), 16_000)
    decoded = decode_file(path, 0.0, 10.0)
    assert len(decoded.pcm) == round(9.95 * 16_000)
    assert decoded.note == "source ends 0.050 s before the segment"


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_cut_off_file_is_no_clip(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", tone(6, 48_000, 2), 48_000)
    content = path.read_bytes()
    path.write_bytes(content[: int(0.6 * len(content))])
    assert fault(path).status in ("truncated", "corrupt")
    if suffix not in (".m4a", ".flac"):  # those cannot be read at all
        assert fault(path, 1.0, 5.9).status == "truncated"


def test_streamed_wavs_without_a_length_are_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(1, 16_000, 1), 16_000)
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(content)
    assert len(decode_file(path).pcm) == 16_000


def test_faults_have_a_status_and_a_reason(tmp_path: Path) -> None:
    def made(samples: np.ndarray, subtype: str = "FLOAT") -> Path:
        soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype=subtype)
        return tmp_path / "a.wav"

    def why(path: Path, **options: float) -> tuple[str, str]:
        found = fault(path, **options)
        return found.status, found.reason

    assert why(tmp_path / "none.wav") == ("missing", "no_file")
    (tmp_path / "empty.wav").touch()
    assert why(tmp_path / "empty.wav") == ("too_short", "empty_file")
    assert why(made(np.zeros(0))) == ("too_short", "no_samples")
    assert why(made(np.zeros(800))) == ("silent", "all_zero")
    assert why(made(np.array([0.1, np.nan, 0.2]))) == ("corrupt", "not_finite")
    assert why(made(np.array([0.1, np.inf, 0.2]))) == ("corrupt", "not_finite")
    assert why(made(tone(3, 16_000, 1)), max_s=2.0) == ("too_long", "too_long")
    (tmp_path / "text.mp3").write_text("no audio at all " * 100)
    assert why(tmp_path / "text.mp3")[0] == "corrupt"


def test_a_film_without_sound_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert fault(path).reason == "no_audio"
