"""Zips of audio files, also in the parts that `zip -s` makes."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from zipfile import ZIP_DEFLATED

from slvr.ingest.archives.volume import ArchiveError, Volume
from slvr.ingest.archives.zips import ZipReader
from slvr.ingest.mirrors.contract import (
    MAX_CLIP_BYTES,
    Content,
    Copy,
    Span,
    Wanted,
    damaged,
    is_audio,
    part_of,
)


def read_zip(paths: tuple[Path, ...], wanted: Wanted) -> Iterator[Copy]:
    """See `Reader`; members come in the order in which they lie in the zip."""
    with closing(_opened(paths)) as zipped:
        for name in sorted(zipped.infos, key=lambda name: zipped.infos[name].header_offset):
            if not is_audio(name) or (clip := wanted.take(part_of(name))) is None:
                continue
            try:
                yield Copy(clip, name, _content(zipped, name))
            except ArchiveError as error:
                # rows are the same wherever the copy lies
                told = str(error).replace(f"{paths[0].parent}/", "")
                yield Copy(clip, name, damaged(told[:200]))


def _content(zipped: ZipReader, name: str) -> Content:
    info = zipped.infos[name]
    if info.file_size > MAX_CLIP_BYTES:
        return damaged(f"{info.file_size} bytes, expected {MAX_CLIP_BYTES} or fewer")
    (path, *others) = zipped.volume.paths
    if others:  # it may go on in the next part
        return zipped.read(name)
    inflated_bytes = info.file_size if info.compress_type == ZIP_DEFLATED else None
    offset = zipped.packed_offset(name)
    return Span(path, offset, info.compress_size, info.CRC, inflated_bytes)


def _opened(paths: tuple[Path, ...]) -> ZipReader:
    try:
        return ZipReader(Volume(paths))
    except ArchiveError as error:
        if len(paths) == 1:
            raise
        raise ArchiveError(
            f"{error}; or, if all parts are there, join them: zip -s 0 {paths[-1].name} --out "
            "whole.zip"
        ) from error
