"""Which reader a file goes to, by its first bytes, and what its container declares."""

import dataclasses
import functools
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import soundfile

from slvr.ingest.decode import mpeg, ogg
from slvr.ingest.decode.boxes import is_mp4, mp4_declaration
from slvr.ingest.decode.by_ffmpeg import open_ffmpeg
from slvr.ingest.decode.by_soundfile import Read, soundfile_format, soundfile_pieces
from slvr.ingest.decode.content import Bytes, Content
from slvr.ingest.decode.declaration import Declaration, cut_off
from slvr.ingest.decode.ebml import is_matroska, matroska_declaration
from slvr.ingest.decode.flac import flac_declaration, stream_info
from slvr.ingest.decode.foreign import refuse_foreign
from slvr.ingest.decode.format import Format
from slvr.ingest.decode.headers import (
    asf_declaration,
    au_declaration,
    caf_declaration,
    is_asf,
    nist_declaration,
)
from slvr.ingest.decode.riff import avi_declaration, is_avi, is_wave, wave_declaration
from slvr.ingest.decode.timeline import Piece
from slvr.ingest.recipe import ClipFailure

Pieces = Callable[[float, float | None], Iterator[Piece]]
"""Sound from a little before the first time on, to the second or a little beyond."""


@dataclass
class Sound:
    """A file of sound, open.

    Attributes:
        format: how it holds the sound.
        declaration: what its container says of length and end.
        pieces: reads it.
        expected_s: how long it will probably be.
        start_again: the same from a fresh start, where `pieces` may have gone to a wrong place.
        trims: what is decoded beyond the declared length fills the last frame.
        resets: its clock may be set anew in mid-stream.
        broken_end: whether the last packet, already read, could not be decoded.
    """

    format: Format
    declaration: Declaration
    pieces: Pieces
    expected_s: float | None = None
    start_again: Pieces | None = None
    trims: bool = False
    resets: bool = False
    broken_end: Callable[[], bool] = field(default=lambda: False)


@contextmanager
def open_sound(content: Content, checked: bool = True) -> Iterator[Sound]:
    """The file, ready to be read.

    Args:
        content: the file.
        checked: also hold checksums against the bytes, which reads all of them.

    Raises:
        ClipFailure: no sound can be read from it.
    """
    data = content.data
    refuse_foreign(data)
    at = mpeg.after_id3(data)
    with ExitStack() as stack:
        if data[:4] == b"OggS":
            yield _open_ogg(content, checked, stack)
        elif data[at : at + 4] == b"fLaC":
            yield _open_flac(content, at, stack)
        elif declare := _header_of(content):
            yield _open_wave(content, _asked(declare, data), stack)
        elif is_avi(data):
            yield _open_ffmpeg(content, _asked(avi_declaration, data), stack)
        elif is_asf(data):
            yield _open_ffmpeg(content, asf_declaration(data), stack)
        elif is_mp4(data):
            yield _open_ffmpeg(content, _asked(mp4_declaration, data), stack)
        elif is_matroska(data):
            yield _open_ffmpeg(content, _asked(matroska_declaration, data), stack)
        elif frames := mpeg.read_mpeg(data):
            yield _open_mpeg(content, frames, stack)
        else:
            yield _open_other(content, stack)


def _asked(declare: Callable[[Bytes], Declaration], data: Bytes) -> Declaration:
    """What a container declares; a fault is kept, so that the format is on record beside it."""
    try:
        return declare(data)
    except ClipFailure as fault:
        return Declaration(fault=fault)


def _header_of(content: Content) -> Callable[[Bytes], Declaration] | None:
    """What reads the header of a container of plain samples."""
    data = content.data
    if is_wave(data):
        return wave_declaration
    by_magic = {b".snd": au_declaration, b"dns.": au_declaration, b"caff": caf_declaration}
    by_magic[b"NIST"] = nist_declaration
    return by_magic.get(data[:4])


def _open_wave(content: Content, declaration: Declaration, stack: ExitStack) -> Sound:
    """Plain samples: by libsndfile, or by FFmpeg where it does not know the codec."""
    instead = declaration.instead
    if declaration.misread:
        return _open_ffmpeg(content, declaration, stack)
    try:
        sound = _soundfile(io.BytesIO(instead) if instead else content.for_soundfile(), stack)
    except soundfile.LibsndfileError:
        return _open_ffmpeg(content, declaration, stack)
    return _whole(sound, declaration)


def _soundfile(file: io.BytesIO | int, stack: ExitStack) -> soundfile.SoundFile:
    return stack.enter_context(soundfile.SoundFile(file, closefd=True))


def _whole(sound: soundfile.SoundFile, declaration: Declaration) -> Sound:
    """A file that libsndfile reads from its beginning to its end."""
    read = Read(sound.frames)

    def pieces(start_s: float, end_s: float | None) -> Iterator[Piece]:
        yield from soundfile_pieces(sound, start_s, end_s, read)
        if end_s is None and read.n < read.frames - 0.1 * sound.samplerate:
            n_s, declared_s = read.n / sound.samplerate, read.frames / sound.samplerate
            raise cut_off(f"{n_s:.3f} s, header says {declared_s:.3f} s")

    expected_s = sound.frames / sound.samplerate if sound.samplerate else None
    return Sound(soundfile_format(sound), declaration, pieces, expected_s)


def _open_flac(content: Content, at: int, stack: ExitStack) -> Sound:
    info = stream_info(content.data, at)
    declaration = _asked(functools.partial(flac_declaration, at=at, info=info), content.data)
    if not info.n_samples:  # libsndfile cannot read on without a length
        return _open_ffmpeg(content, declaration, stack, "flac")
    try:
        return _whole(_soundfile(content.for_soundfile(), stack), declaration)
    except soundfile.LibsndfileError as error:
        raise ClipFailure("corrupt", "undecodable", str(error)) from error


def _open_ogg(content: Content, checked: bool, stack: ExitStack) -> Sound:
    data = content.data
    links, trailing = ogg.links(data, checked)
    notes = (f"{trailing} bytes after the last Ogg page",) if trailing else ()
    if len(links) > 1:
        notes = (f"{len(links)} Ogg streams joined", *notes)
    length_s = sum(link.length_s for link in links)
    declaration = Declaration(ends=True, notes=notes)
    if len(links) == 1:
        try:
            if links[0].sound:
                return _whole(_soundfile(content.for_soundfile(), stack), declaration)
        except soundfile.LibsndfileError:  # of FLAC it knows one writer's form only
            pass
        return _open_ffmpeg(content, Declaration(length_s or None, True, notes), stack)

    def pieces(start_s: float, end_s: float | None) -> Iterator[Piece]:
        for link in links:
            with _open_link(data, link) as sound:
                for piece in sound.pieces(0.0, None):
                    yield dataclasses.replace(piece, at_s=None)  # follows the link before

    with _open_link(data, links[0]) as first:
        return Sound(first.format, declaration, pieces, length_s)


@contextmanager
def _open_link(data: Bytes, link: ogg.Link) -> Iterator[Sound]:
    """One of several Ogg files in one."""
    content = data[link.start : link.end]
    with ExitStack() as stack:
        yield _open_ogg(Content(content, content), False, stack)


def _open_mpeg(content: Content, frames: mpeg.Mpeg, stack: ExitStack) -> Sound:
    """MPEG audio; where the encoder left a count, its delay is left out."""
    data = content.data
    parts = frames.parts
    if not parts:
        raise ClipFailure("corrupt", "undecodable", "no whole MPEG frame")
    notes = []
    if len(parts) > 1:
        notes.append(f"{len(parts)} MPEG streams joined")
    if frames.lost_bytes:
        notes.append(f"{frames.lost_bytes} bytes between the frames are no sound")
    if frames.last_bytes:
        notes.append(f"the last frame is cut: {frames.last_bytes} bytes")
    for part in parts:
        _check_count(part)
    length_s = sum(part.length_s for part in parts)
    counted = all(part.declared_frames for part in parts)
    declaration = Declaration(length_s, ends=counted, notes=tuple(notes))
    if len(parts) == 1 and counted and not frames.lost_bytes:
        try:
            return _whole(_soundfile(content.for_soundfile(), stack), declaration)
        except soundfile.LibsndfileError:
            pass
    with open_ffmpeg(io.BytesIO(parts[0].content(data)), "mp3") as first:
        about = first.format

    def pieces(start_s: float, end_s: float | None) -> Iterator[Piece]:
        for part in parts:
            with open_ffmpeg(io.BytesIO(part.content(data)), "mp3") as source:
                yield from source.pieces()

    return Sound(about, declaration, pieces, length_s)


def _check_count(part: mpeg.Part) -> None:
    """Holds the frames that are there against the count that the encoder left."""
    if not part.declared_frames:
        return
    frame_s = part.n_samples / max(part.n_frames, 1) / part.rate_hz
    if (part.declared_frames - part.n_frames) * frame_s > 0.1:
        raise cut_off(f"{part.n_frames} MPEG frames, header says {part.declared_frames}")


def _open_ffmpeg(
    content: Content, declaration: Declaration, stack: ExitStack, name: str | None = None
) -> Sound:
    try:
        source = stack.enter_context(open_ffmpeg(content.stream(), name))
    except ClipFailure:
        if declaration.fault:  # which says more than FFmpeg does
            raise declaration.fault from None
        raise
    declared_s = declaration.length_s
    if declaration.by_decoder and not declared_s:
        declared_s = source.declared_s
    ends = declaration.ends or (declared_s is not None)
    declaration = dataclasses.replace(declaration, length_s=declared_s, ends=ends)
    latest = [source]

    def pieces(start_s: float, end_s: float | None) -> Iterator[Piece]:
        source.seek(start_s)
        yield from source.pieces()

    def start_again(start_s: float, end_s: float | None) -> Iterator[Piece]:
        with open_ffmpeg(content.stream(), name) as fresh:
            latest[0] = fresh
            yield from fresh.pieces()

    return Sound(
        source.format,
        declaration,
        pieces,
        declared_s,
        start_again,
        trims=source.timed,
        resets=source.resets,
        broken_end=lambda: latest[0].broken_end,
    )


def _open_other(content: Content, stack: ExitStack) -> Sound:
    """What has no reader of its own here: nobody has held its header against the file."""
    try:
        sound = _soundfile(content.for_soundfile(), stack)
    except soundfile.LibsndfileError:
        return _open_ffmpeg(content, Declaration(), stack)
    return _whole(sound, Declaration())
