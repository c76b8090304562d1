"""Files as people really have them, and the right value of each."""

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from fuzz_decode import DECLARED, KINDS, by_ffmpeg, by_soundfile, without_count
from slvr.ingest.decode import Format, declared_duration_s, decode_file, decoded_clip, probe, reader
from slvr.ingest.recipe import ClipFailure
from slvr.shards.clip import Clip, Source

RATE = 48_000


def steps(seconds: float, rate: int = RATE, hz: float = 300.0) -> np.ndarray:
    """(T,): the tone of second n is hz + 100 n."""
    time_s = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(hz + 100 * np.floor(time_s)) / rate
    return (0.5 * np.sin(phase)).astype(np.float32)


class _Pipe(io.BytesIO):
    """What cannot go back to its beginning."""

    def seekable(self) -> bool:
        return False

    seek = None  # type: ignore[assignment]


def film(
    container: str,
    codec: str,
    pieces: list[tuple[float, np.ndarray]],
    rate: int = RATE,
    picture_s: float = 0.0,
    unseekable: bool = False,
    **options: str,
) -> bytes:
    """Sound that is sent in pieces, each at its time, with a picture if need be."""
    buffer = _Pipe() if unseekable else io.BytesIO()
    with av.open(buffer, "w", container, options=options) as out:
        if picture_s:
            picture = out.add_stream("mpeg4" if container != "webm" else "libvpx", rate=10)
            picture.width = picture.height = 32
            picture.pix_fmt = "yuv420p"
        sound = out.add_stream(codec, rate=rate, layout="mono")
        sound.codec_context.open()
        if picture_s:
            for n in range(round(picture_s * 10)):
                frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), n, np.uint8))
                frame.pts, frame.time_base = n, Fraction(1, 10)
                out.mux(picture.encode(frame))
            out.mux(picture.encode(None))
        size = sound.codec_context.frame_size or 1024
        for start_s, wave in pieces:
            for at in range(0, len(wave) - size + 1, size):
                block = np.ascontiguousarray(wave[at : at + size])[None]
                frame = av.AudioFrame.from_ndarray(block, format="flt", layout="mono")
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = round(start_s * rate) + at
                out.mux(sound.encode(_as(frame, sound.codec_context.format.name)))
        out.mux(sound.encode(None))
    return buffer.getvalue()


def _as(frame: av.AudioFrame, name: str) -> av.AudioFrame:
    if name == "flt":
        return frame
    (made,) = av.AudioResampler(name).resample(frame)
    made.pts, made.time_base = frame.pts, frame.time_base
    return made


def hz_at(pcm: np.ndarray, second: float) -> float:
    """Frequency of the strongest line in the 0.4 s from `second` on; 0 for silence."""
    part = pcm[round(second * 16_000) :][: round(0.4 * 16_000)].astype(float)
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 1 << 17))
    return float(np.argmax(spectrum) * 16_000 / (1 << 17))


def tones(pcm: np.ndarray) -> list[int]:
    """The step of every whole second, -3 for silence."""
    return [round((hz_at(pcm, n + 0.3) - 300) / 100) for n in range(len(pcm) // 16_000)]


def why(content: bytes | Path, *part: float, **options: float) -> tuple[str, str, str]:
    with pytest.raises(ClipFailure) as caught:
        decode_file(content, *part, **options)
    return caught.value.status, caught.value.reason, caught.value.detail


def length_s(content: bytes | Path, *part: float) -> float:
    return len(decode_file(content, *part).pcm) / 16_000


# --- what the clock says


@pytest.mark.parametrize("container", ["mpegts", "matroska", "flv"])
def test_time_counts_from_the_containers_start(container: str) -> None:
    content = film(container, "aac", [(0.0, steps(9))], output_ts_offset="100")
    assert abs(length_s(content) - 9) < 0.1
    for start_s in (0, 2, 5):
        decoded = decode_file(content, start_s, start_s + 3)
        assert len(decoded.pcm) == 48_000
        assert tones(decoded.pcm) == list(range(start_s, start_s + 3))


@pytest.mark.parametrize(
    ("container", "codec"),
    [("ipod", "aac"), ("webm", "libopus"), ("matroska", "aac"), ("mpegts", "aac")],
)
def test_silence_where_nothing_was_sent(container: str, codec: str) -> None:
    wave = steps(10)
    content = film(container, codec, [(0.0, wave[: 2 * RATE]), (5.0, wave[5 * RATE :])])
    decoded = decode_file(content)
    assert tones(decoded.pcm)[:9] == [0, 1, -3, -3, -3, *range(5, 9)]
    assert "of silence where nothing was sent" in decoded.note
    assert tones(decode_file(content, 5.0, 9.0).pcm) == list(range(5, 9))
    assert tones(decode_file(content, 3.0, 8.0).pcm) == [-3, -3, *range(5, 8)]


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_sound_that_begins_late_has_silence_before_it(container: str) -> None:
    content = film(container, "aac", [(2.0, steps(4.1)[2 * RATE :])], picture_s=4.0)
    decoded = decode_file(content)
    assert tones(decoded.pcm)[:4] == [-3, -3, 2, 3]
    assert "sound begins at 2.0" in decoded.note or "sound begins at 1.9" in decoded.note


def test_a_clock_that_is_set_anew_joins_the_sound() -> None:
    first = film("mpegts", "aac", [(0.0, steps(3))])
    second = film("mpegts", "aac", [(0.0, steps(3, hz=600.0))])
    decoded = decode_file(first + second)
    assert tones(decoded.pcm)[:6] == [0, 1, 2, 3, 4, 5]
    assert "set anew 1 time" in decoded.note and "length_undeclared" in decoded.note


@pytest.mark.parametrize(
    ("container", "codec"), [("mp4", "aac"), ("webm", "libopus"), ("matroska", "aac")]
)
def test_the_pictures_length_does_not_count(container: str, codec: str) -> None:
    content = film(container, codec, [(0.0, steps(3))], picture_s=4.0)
    assert abs(length_s(content) - 3) < 0.1
    assert abs(declared_duration_s(content) - 3) < 0.1


# --- what the length is


def test_mp3_frames_are_counted_not_guessed() -> None:
    quiet_then_loud = np.concatenate([steps(18, 44_100) * 1e-3, steps(2, 44_100)])
    buffer = io.BytesIO()
    soundfile.write(
        *(buffer, quiet_then_loud, 44_100, "MPEG_LAYER_III"),
        format="MP3",
        bitrate_mode="VARIABLE",
        compression_level=0.3,
    )
    content = without_count(buffer.getvalue())
    decoded = decode_file(content)
    assert abs(len(decoded.pcm) / 16_000 - 20) < 0.1 and "length_undeclared" in decoded.note
    assert abs(declared_duration_s(content) - 20) < 0.1
    tail = content + b"TAG" + bytes(125)
    assert len(decode_file(tail).pcm) == len(decoded.pcm)


@pytest.mark.parametrize("counted", [True, False])
def test_joined_mp3s_are_read_whole_each_at_its_rate(counted: bool) -> None:
    parts = [by_soundfile("MP3", "MPEG_LAYER_III", rate) for rate in (22_050, 44_100)]
    if not counted:
        parts = [without_count(part) for part in parts]
    id3 = b"ID3\x04\0\0\0\0\0\x0a" + bytes(10)
    decoded = decode_file(parts[0] + id3 + parts[1])
    assert abs(len(decoded.pcm) / 16_000 - 3) < (0.01 if counted else 0.15)
    assert abs(hz_at(decoded.pcm, 0.5) - 440) < 3 and abs(hz_at(decoded.pcm, 2.3) - 440) < 3
    assert "2 MPEG streams joined" in decoded.note
    assert ("length_undeclared" in decoded.note) is not counted
    assert len(decode_file(parts[0] + id3 + parts[1], 1.0, 2.5).pcm) == 24_000


@pytest.mark.parametrize("kinds", [("VORBIS", "VORBIS"), ("OPUS", "VORBIS"), ("OPUS", "OPUS")])
def test_chained_ogg_is_read_whole(kinds: tuple[str, str]) -> None:
    chain = by_soundfile("OGG", kinds[0], 48_000) + by_soundfile("OGG", kinds[1], 24_000, 2)
    decoded = decode_file(chain)
    assert abs(len(decoded.pcm) / 16_000 - 3) < 0.01 and "2 Ogg streams joined" in decoded.note
    assert abs(hz_at(decoded.pcm, 0.5) - 440) < 3 and abs(hz_at(decoded.pcm, 2.3) - 440) < 3
    assert abs(declared_duration_s(chain) - 3) < 0.01
    assert why(chain[:-10])[0] == "truncated"


@pytest.mark.parametrize("channels", [(1, 2), (2, 1), (6, 1)])
def test_channels_that_change_are_mixed_frame_by_frame(channels: tuple[int, int]) -> None:
    parts = [by_ffmpeg("adts", "aac", 44_100, n) for n in channels]
    decoded = decode_file(b"".join(parts))
    assert abs(len(decoded.pcm) / 16_000 - 3) < 0.1 and "length_undeclared" in decoded.note
    assert abs(hz_at(decoded.pcm, 0.5) - 440) < 3 and abs(hz_at(decoded.pcm, 2.3) - 440) < 3


def test_a_rate_that_changes_is_resampled_part_by_part() -> None:
    decoded = decode_file(by_ffmpeg("adts", "aac", 44_100) + by_ffmpeg("adts", "aac", 32_000))
    assert abs(len(decoded.pcm) / 16_000 - 3) < 0.15 and "the rate changes" in decoded.note
    assert abs(hz_at(decoded.pcm, 0.5) - 440) < 3 and abs(hz_at(decoded.pcm, 2.3) - 440) < 3


def test_a_guess_from_the_bit_rate_is_no_header() -> None:
    quiet_then_loud = np.concatenate([steps(8) * 1e-4, steps(4)])
    content = film("adts", "aac", [(0.0, quiet_then_loud)])
    assert abs(length_s(content) - 12) < 0.1 and declared_duration_s(content) is None


def test_a_flac_of_unknown_length_is_read_to_its_end() -> None:
    content = bytearray(DECLARED["flac"]())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    decoded = decode_file(bytes(content))
    np.testing.assert_array_equal(decoded.pcm, decode_file(DECLARED["flac"]()).pcm)
    assert "length_undeclared" in decoded.note
    assert length_s(bytes(content), 0.5, 1.0) == 0.5
    assert declared_duration_s(bytes(content)) is None


@pytest.mark.parametrize(
    ("size", "note"),
    [
        *((open_, "left the sizes open") for open_ in (0x7FFFF000, 0x7FFFFFFF, 0x80000000)),
        *((open_, "left the sizes open") for open_ in (0xFFFFFFFF, 0xFFFFFFDB, 0)),
        *((48_000 + more, f"{more} bytes more") for more in (2, 16)),
    ],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_sizes_of_wavs_from_pipes(size: int, note: str, order: str) -> None:
    buffer = io.BytesIO()
    endian = "LITTLE" if order == "<" else "BIG"
    soundfile.write(buffer, steps(1.5, 16_000), 16_000, "PCM_16", endian, "WAV")
    content = bytearray(buffer.getvalue())
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack(f"{order}I", size)
    decoded = decode_file(bytes(content))
    assert len(decoded.pcm) == 24_000 and note in decoded.note
    assert ("length_undeclared" in decoded.note) is ("open" in note)


def test_gsm_which_cannot_seek() -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, steps(3, 8000), 8000, format="WAV", subtype="GSM610")
    content = buffer.getvalue()
    assert length_s(content) == 3.04
    assert length_s(content, 1.0, 2.5) == 1.5


@pytest.mark.parametrize(
    ("container", "codec"),
    [("webm", "libopus"), ("ipod", "aac"), ("mpegts", "aac"), ("adts", "aac")],
)
def test_a_segment_beyond_the_end_says_where_the_end_is(container: str, codec: str) -> None:
    content = film(container, codec, [(0.0, steps(6))])
    for part in ((100.0, 110.0), (5.0, 15.0)):
        status, reason, detail = why(content, *part)
        assert (status, reason) == ("too_short", "source_ends_early")
        assert abs(float(detail.split()[2]) - 6) < 0.05, detail


def test_what_a_wav_holds_besides_is_said() -> None:
    loud = io.BytesIO()
    soundfile.write(loud, steps(1, 16_000) * 32767, 16_000, format="WAV", subtype="FLOAT")
    assert "of the samples are beyond full scale" in decode_file(loud.getvalue()).note
    one = DECLARED["wav"]()
    two = decode_file(one + one)
    assert len(two.pcm) == 24_000 and f"{len(one)} bytes after the last chunk" in two.note
    assert "a second file that is left out" in two.note
    assert decode_file(one).note == ""


# --- what is refused, with its reason


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        *(("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS")),
        *(("OGG", "OPUS"), ("ipod", "aac"), ("webm", "libopus"), ("matroska", "aac")),
        *(("adts", "aac"), ("mpegts", "aac"), ("wv", "wavpack"), ("avi", "mp3")),
    ],
)
def test_channels_that_cancel_are_silent_in_every_codec(container: str, codec: str) -> None:
    wave = steps(2, 44_100 if codec != "libopus" else 48_000)
    rate = 44_100 if codec not in ("libopus", "OPUS") else 48_000
    both = np.stack([wave, -wave], 1)
    buffer = io.BytesIO()
    if container.isupper():
        soundfile.write(buffer, both, rate, format=container, subtype=codec)
    else:
        with av.open(buffer, "w", container) as out:
            stream = out.add_stream(codec, rate=rate, layout="stereo")
            frame = av.AudioFrame.from_ndarray(both.reshape(1, -1), "flt", "stereo")
            frame.sample_rate = rate
            for piece in av.AudioResampler(stream.format.name, "stereo", rate).resample(frame):
                out.mux(stream.encode(piece))
            out.mux(stream.encode(None))
    status, reason, detail = why(buffer.getvalue())
    assert (status, reason) == ("silent", "channels_cancel") and "dB" in detail


@pytest.mark.parametrize("layout", ["7.1", "7.1(wide)", "hexadecagonal", "octagonal"])
@pytest.mark.parametrize("container", ["ipod", "matroska", "mpegts", "webm", "wav", "caf"])
def test_files_of_eight_channels_and_more(container: str, layout: str) -> None:
    codec = {"webm": "libopus", "wav": "pcm_s16le", "caf": "pcm_s16be"}.get(container, "aac")
    many = layout == "hexadecagonal"
    if (many or "7.1" not in layout) and codec in ("aac", "libopus"):
        codec, container = "pcm_s16le", "matroska"
    if layout == "7.1(wide)" and codec == "libopus":
        layout = "7.1"
    channels = 16 if many else 8
    wave = np.repeat(steps(1)[:, None], channels, 1)
    buffer = io.BytesIO()
    with av.open(buffer, "w", container) as out:
        stream = out.add_stream(codec, rate=RATE, layout=layout)
        frame = av.AudioFrame.from_ndarray(wave.reshape(1, -1), "flt", layout)
        frame.sample_rate = RATE
        for piece in av.AudioResampler(stream.format.name, layout, RATE).resample(frame):
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    made = decoded_clip(Clip("a", "train", Source("a")), buffer.getvalue(), "flac", 9.0)
    assert (made.status, made.source_channels) == ("ok", channels)
    assert abs(made.n_samples / 16_000 - 1) < 0.05


def test_a_git_lfs_pointer_says_what_to_type(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n"
    (tmp_path / "a.wav").write_bytes(pointer)
    for content in (pointer, tmp_path / "a.wav"):
        status, reason, detail = why(content)
        assert (status, reason) == ("missing", "git_lfs_pointer") and "git lfs pull" in detail


LISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.5,\nb.wav\n#EXT-X-ENDLIST\n",
    "m3u": "#EXTM3U\nb.wav\n",
    "concat": "ffconcat version 1.0\nfile b.wav\n",
    "spaced": "\ufeff\n\n  ffconcat version 1.0\nfile 'b.wav'\n",
    "pls": "[playlist]\nFile1=b.wav\nNumberOfEntries=1\n",
    "asx": "<asx version='3.0'><entry><ref href='b.wav'/></entry></asx>",
    "smil": "<smil><body><audio src='b.wav'/></body></smil>",
    "dash": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
    "xspf": '<?xml version="1.0"?><playlist version="1"><trackList/></playlist>',
    "sdp": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nm=audio 5004 RTP/AVP 0\r\n",
    "reference": "[Reference]\nRef1=http://127.0.0.1:9/b.wav\n",
    "url": "http://127.0.0.1:9/b.mp3\n",
}


@pytest.mark.parametrize("form", LISTS)
@pytest.mark.parametrize("ending", [".wav", ".m3u8", ".mp3"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_no_file_opens_another(tmp_path: Path, form: str, ending: str, encoding: str) -> None:
    (tmp_path / "b.wav").write_bytes(DECLARED["wav"]())
    path = tmp_path / f"a{ending}"
    path.write_text(LISTS[form], encoding=encoding)
    assert why(path)[:2] == ("corrupt", "playlist")


def test_a_playlist_behind_other_bytes_opens_nothing(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "b.wav").write_bytes(DECLARED["wav"]())
    monkeypatch.chdir(tmp_path)
    for content in (b"#comment\nfile b.wav\n", b"b.wav\n", b"\0" * 40 + LISTS["hls"].encode()):
        assert why(content)[0] == "corrupt"


@pytest.mark.parametrize("kind", ["m4a", "webm", "ts", "wav", "mp3"])
def test_a_name_is_a_name(tmp_path: Path, monkeypatch, kind: str) -> None:
    content = KINDS[kind]()
    expected = decode_file(content).pcm.tobytes()
    for name in ("12:30 talk", "http:", "concat:a|b", "pipe:0", "caf\udce9", "-"):
        folder = tmp_path / "http:" / "127.0.0.1:9"
        folder.mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(tmp_path)
        path = Path("http:", "127.0.0.1:9", f"{name}.{kind}")
        path.write_bytes(content)
        assert decode_file(path).pcm.tobytes() == expected


def test_tags_that_are_no_utf_8() -> None:
    for container, codec in (("matroska", "aac"), ("ipod", "aac"), ("flv", "aac")):
        buffer = io.BytesIO()
        with av.open(buffer, "w", container) as out:
            out.metadata["title"] = "TITLE_TITLE"
            stream = out.add_stream(codec, rate=RATE, layout="mono")
            frame = av.AudioFrame.from_ndarray(steps(1)[None], "fltp", "mono")
            frame.sample_rate = RATE
            for piece in av.AudioResampler(stream.format.name, "mono", RATE).resample(frame):
                out.mux(stream.encode(piece))
            out.mux(stream.encode(None))
        content = buffer.getvalue()
        assert b"TITLE_TITLE" in content
        content = content.replace(b"TITLE_TITLE", b"caf\xe9 \xff\xfe\x80 zz")
        assert abs(length_s(content) - 1) < 0.1
        assert declared_duration_s(content) is None or declared_duration_s(content) < 1.1


def test_headers_that_no_decoder_takes() -> None:
    wav = bytearray(DECLARED["wav"]())
    at = wav.index(b"fmt ") + 8
    unknown, still = wav.copy(), wav.copy()
    unknown[at : at + 2] = b"\x99\x99"
    still[at + 4 : at + 8] = bytes(4)
    assert why(bytes(unknown))[:2] == ("corrupt", "unknown_codec")
    assert why(bytes(still))[:2] == ("corrupt", "bad_rate")
    assert declared_duration_s(bytes(unknown)) is None
    assert declared_duration_s(bytes(still)) is None


def test_whatever_a_decoder_raises_is_a_row(tmp_path: Path, monkeypatch) -> None:
    def broken(error: BaseException):
        def raises(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(reader, "open_sound", raises)
        return decoded_clip(Clip("a", "train", Source("a")), b"x", "flac", 9.0)

    for error in (ValueError("odd"), RuntimeError(), UnicodeDecodeError("utf-8", b"", 0, 1, "x")):
        made = broken(error)
        assert (made.status, made.reason) == ("corrupt", "decoder_error")
        assert type(error).__name__ in made.detail and made.source_bytes == 1
    for error in (MemoryError(), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            broken(error)
    monkeypatch.undo()
    (tmp_path / "folder.wav").mkdir()
    assert why(tmp_path / "folder.wav")[:2] == ("missing", "no_file")


def test_a_probe_names_the_format_and_the_length() -> None:
    probed = probe(by_ffmpeg("ipod", "aac", 44_100, 2))
    assert probed.format == Format("mov,mp4,m4a,3gp,3g2,mj2", "aac", 44_100, 2)
    assert probed.length_s is not None and abs(probed.length_s - 1.5) < 0.05
    assert probe(by_ffmpeg("mpegts", "aac")).length_s is None
    with pytest.raises(ClipFailure, match="playlist"):
        probe(b"#EXTM3U\nb.wav\n")


# --- what writers of other programs do


def test_a_layout_of_quicktimes_own_does_not_corrupt_the_memory() -> None:
    """Eight channels in an order that has no name: PyAV frees the list of them twice."""
    content = by_ffmpeg("mov", "pcm_s16le", channels=8)
    for _ in range(20):
        assert len(decode_file(content).pcm) == 24_000


def test_flac_in_ogg_of_any_writer_also_in_a_chain() -> None:
    content = film("ogg", "flac", [(0.0, steps(1.6))])
    assert abs(length_s(content) - 1.6) < 0.1
    assert abs(length_s(content, 0.5, 1.0) - 0.5) < 0.01
    chain = content + KINDS["ogg"]() + content
    assert abs(length_s(chain) - 1.5 - 2 * length_s(content)) < 0.01
    assert why(content[: len(content) * 97 // 100])[0] in ("truncated", "corrupt")


def test_floats_of_an_extensible_wave64_are_no_integers() -> None:
    wave = steps(1.5)
    content = film("w64", "pcm_f32le", [(0.0, wave)])
    pcm = decode_file(content).pcm / 32768
    assert hz_at(pcm, 0.2) == pytest.approx(300, abs=2) and np.abs(pcm).max() < 0.6


@pytest.mark.parametrize(("container", "codec"), [("asf", "libmp3lame"), ("avi", "libmp3lame")])
def test_headers_that_a_pipe_left_open_declare_nothing(container: str, codec: str) -> None:
    wave = steps(4, 44_100)
    content = film(container, codec, [(0.0, wave)], 44_100)
    piped = film(container, codec, [(0.0, wave)], 44_100, unseekable=True)
    assert "length_undeclared" not in decode_file(content).note
    assert abs(length_s(piped) - 4) < 0.15
    assert "length_undeclared" in decode_file(piped).note


def test_an_rf64_that_a_pipe_left_open() -> None:
    content = bytearray(KINDS["rf64"]())
    at = content.index(b"ds64") + 8
    content[at : at + 24] = bytes(24)
    decoded = decode_file(bytes(content))
    assert len(decoded.pcm) == 24_000 and "left the sizes open" in decoded.note


def test_what_looks_like_frames_behind_the_frames_takes_no_time() -> None:
    """As recorders fill what they have reserved: a search byte by byte took a minute."""
    content = KINDS["mp3 without a count"]()
    for filler in (b"\xff", b"\xff\xfb", b"\xff\xfb\x90\x64"):
        assert abs(length_s(content + filler * (2**18 // len(filler))) - 1.5) < 0.1
