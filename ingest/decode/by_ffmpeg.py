"""What FFmpeg reads, through PyAV: packets and frames at their times.

No file opens another one, and none the network: containers that name others are not on the list
of those that are read, and a demuxer that asks for a second file is refused it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import BinaryIO, NoReturn

import av
import av.error
import numpy as np
import numpy.typing as npt

from slvr.ingest.decode.format import Format
from slvr.ingest.decode.timeline import GAP_S, Piece
from slvr.ingest.recipe import ClipFailure

READ = (
    *("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts", "mpeg", "asf", "flv", "avi", "ogg"),
    *("mp3", "aac", "ac3", "eac3", "dts", "dtshd", "truehd", "mlp", "flac", "wav", "w64", "aiff"),
    *("au", "caf", "nistsphere", "amr", "amrnb", "amrwb", "wv", "ape", "tta", "tak", "mpc", "mpc8"),
    *("voc", "dsf", "shn", "nut", "rm", "gsm", "ircam", "pvf", "sox", "avr", "ast", "loas"),
    *("mxf", "latm", "oma", "xwma", "rso", "wsd", "qcp", "xa", "vqf", "adx", "aea", "ac4"),
)
"""Containers that are read. Not playlists, lists of pictures and texts; nor WTV and IFF (8SVX), of
which FFmpeg gives other sound than was encoded without a word."""
_TIMED = ("mov", "matroska", "mpegts", "mpeg", "asf", "flv", "ogg", "nut", "mxf")
"""Containers whose time stamps are their own; others' are counted by FFmpeg."""
_RESETTING = ("mpegts", "mpeg")
"""Containers whose clock may be set anew in mid-stream."""
_SEEKABLE = ("mov", "matroska")
"""Containers with an index by time."""
_SEEK_MARGIN_S = 1.0
_PRIMING_S = 1.0
"""A clock that begins this much before 0 does so for codec delay; at less it is set otherwise."""
_BATCH_SAMPLES = 1 << 17
_SCALES = {"flt": 1.0, "dbl": 1.0, "s16": 2**-15, "s32": 2**-31, "u8": 2**-7}
_DTYPES = {"flt": "f4", "dbl": "f8", "s16": "i2", "s32": "i4", "u8": "u1"}
_MAX_PLANES = 7
"""PyAV looks for the end of a frame's planes behind the eighth, which is outside its memory."""


def _refuse_other_files(name: str, *_: object) -> NoReturn:
    raise PermissionError(f"the file names another one, which is not opened: {name[:80]!a}")


@contextmanager
def open_ffmpeg(file: BinaryIO, format_name: str | None = None) -> Iterator["Source"]:
    """A file, open for reading.

    Raises:
        ClipFailure: FFmpeg cannot read it, or finds no sound in it.
    """
    try:
        with (
            file,
            av.open(
                *(file, "r", format_name),
                options={"format_whitelist": ",".join(READ), "protocol_whitelist": "none"},
                metadata_errors="replace",
                io_open=_refuse_other_files,
            ) as container,
        ):
            yield Source(container)
    except PermissionError as error:
        if "names another one" not in str(error):
            raise
        raise ClipFailure("corrupt", "playlist", str(error)) from error
    except av.error.FFmpegError as error:
        raise ClipFailure("corrupt", "undecodable", error.strerror or "") from error


class Source:
    """The first stream of sound of an open container."""

    def __init__(self, container: av.container.InputContainer) -> None:
        """Looks for it.

        Raises:
            ClipFailure: there is none, or no decoder of it.
        """
        self.container = container
        self.name: str = container.format.name
        self._short_name = self.name.split(",")[0]
        if not container.streams.audio:
            raise ClipFailure("corrupt", "no_audio", self.name)
        self.stream = container.streams.audio[0]
        context = self.stream.codec_context
        if context is None:
            raise ClipFailure("corrupt", "unknown_codec", self.name)
        _forget_positions(context)
        self._tick_s = float(self.stream.time_base or Fraction(1))
        start_s = (container.start_time or 0) / av.time_base
        # a little before 0 lies what the container marks as priming
        self.origin_s = start_s if start_s > 0 or start_s < -_PRIMING_S else 0.0
        codec = context.codec.canonical_name  # not that of the decoder, as mp3float
        self.format = Format(self.name, codec, context.sample_rate, context.channels)
        self.timed = self._short_name in _TIMED
        self.resets = self._short_name in _RESETTING
        self.broken_end = False
        """Whether the last packet could not be decoded."""

    @property
    def declared_s(self) -> float | None:
        """Where the container says that this stream ends; FFmpeg's guesses are not asked."""
        stream = self.stream
        if self._short_name == "matroska":
            return self._matroska_s()
        if self._short_name in ("asf", "flv") and len(self.container.streams) == 1:
            length = self.container.duration
            return length / av.time_base if length and self._short_name == "asf" else None
        if self._short_name not in ("mov", "avi", "wv", "ape", "tta", "tak", "mpc8", "dsf"):
            return None
        if stream.duration is None:
            return None
        begin = stream.start_time or 0
        return (begin + stream.duration) * self._tick_s - self.origin_s

    def _matroska_s(self) -> float | None:
        """The end by the stream's own tag; else by the header, where no picture shares it."""
        try:
            hours, minutes, seconds = self.stream.metadata.get("DURATION", "").split(":")
            end_s = int(hours) * 3600 + int(minutes) * 60 + float(seconds) - self.origin_s
            if end_s > 0:
                return end_s
        except ValueError:
            pass
        length = self.container.duration
        if not length or len(self.container.streams) > 1:
            return None
        end_s = length / av.time_base - self.origin_s
        return end_s if end_s > 0 else None

    def seek(self, start_s: float) -> bool:
        """Goes to a little before start_s where the container has an index."""
        if start_s <= _SEEK_MARGIN_S or self._short_name not in _SEEKABLE:
            return False
        try:
            self.container.seek(int((start_s - _SEEK_MARGIN_S + self.origin_s) * av.time_base))
        except av.error.FFmpegError:
            return False
        return True

    def pieces(self) -> Iterator[Piece]:
        """The sound from here on, many frames at a time.

        Raises:
            ClipFailure: a packet in the middle cannot be decoded.
        """
        batch = _Batch()
        for frame in self._frames():
            at_s = None
            if self.timed and frame.pts is not None:
                at_s = frame.pts * self._tick_s - self.origin_s
            if batch.n and not batch.goes_on(frame, at_s):
                yield batch.piece()
                batch = _Batch()
            batch.add(frame, at_s)
        if batch.n:
            yield batch.piece()

    def _frames(self) -> Iterator[av.AudioFrame]:
        fault: av.error.FFmpegError | None = None
        for packet in self.container.demux(self.stream):
            try:
                frames = packet.decode()
            except av.error.EOFError:
                break
            except av.error.FFmpegError as error:
                fault = fault or error
                continue
            if fault and frames:
                break
            yield from frames
        else:
            self.broken_end = fault is not None
            return
        if fault:
            raise ClipFailure("corrupt", "undecodable", fault.strerror or "") from fault


def _forget_positions(context: av.AudioCodecContext) -> None:
    """Leaves of a layout of a file's own (QuickTime, CAF) the number of channels.

    PyAV copies it without its list of positions, and frees that with every frame anew. So the
    list goes with this one copy, and frames have none.
    """
    layout = context.layout
    if "(" in layout.name:
        context.layout = f"{layout.nb_channels}C"


class _Batch:
    """Frames of one kind that follow each other."""

    def __init__(self) -> None:
        self.n = 0
        self._planes: list[list[npt.NDArray[np.generic]]] = []
        self._packed: list[npt.NDArray[np.generic]] = []
        self._kind: tuple[str, int, int] = ("", 0, 0)
        self._at_s: float | None = None
        self._to_packed: av.AudioResampler | None = None

    def goes_on(self, frame: av.AudioFrame, at_s: float | None) -> bool:
        """Whether a frame is of the same kind, comes next and has room."""
        if self.n >= _BATCH_SAMPLES or _kind(frame) != self._kind:
            return False
        if at_s is None or self._at_s is None:
            return True
        return abs(at_s - self._at_s - self.n / self._kind[1]) <= GAP_S

    def add(self, frame: av.AudioFrame, at_s: float | None) -> None:
        """Takes a frame."""
        if not self.n:
            self._kind, self._at_s = _kind(frame), at_s
            self._planes = [[] for _ in range(self._kind[2])]
        self.n += frame.samples
        name, _, channels = self._kind
        packed = name.removesuffix("p")
        if packed not in _DTYPES or (packed != name and channels > _MAX_PLANES):
            self._to_packed = self._to_packed or av.AudioResampler(format="flt")
            for converted in self._to_packed.resample(frame):
                self._add_packed(converted, "flt", channels)
        elif packed != name:
            for kept, plane in zip(self._planes, frame.planes, strict=True):
                kept.append(np.frombuffer(memoryview(plane), _DTYPES[packed], frame.samples))
        else:
            self._add_packed(frame, packed, channels)

    def _add_packed(self, frame: av.AudioFrame, name: str, channels: int) -> None:
        stored = memoryview(frame.planes[0])
        self._packed.append(np.frombuffer(stored, _DTYPES[name], frame.samples * channels))

    def piece(self) -> Piece:
        """What was taken."""
        name, rate_hz, n_channels = self._kind
        packed = name.removesuffix("p")
        scale = 1.0 if self._to_packed else _SCALES[packed]
        if self._packed:  # taken apart at once: a frame of an AVI may hold a single sample
            planes = list(np.concatenate(self._packed).reshape(-1, n_channels).T)
        else:
            planes = [np.concatenate(kept) for kept in self._planes]
        channels = []
        for stored in planes:
            channel = stored if packed == "s16" else stored.astype(np.float32, copy=False)
            channels.append(channel - np.float32(128) if packed == "u8" else channel)
        return Piece(tuple(channels), rate_hz, self._at_s, scale)


def _kind(frame: av.AudioFrame) -> tuple[str, int, int]:
    return frame.format.name, frame.sample_rate, frame.layout.nb_channels
