"""Zips of audio files, also in the parts that `zip -s` makes."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from slvr.ingest.archives.volume import ArchiveError, Volume
from slvr.ingest.archives.zips import ZipReader
from slvr.ingest.mirrors.contract import (
    MAX_CLIP_BYTES,
    Content,
    Copy,
    Wanted,
    damaged,
    is_audio,
    part_of,
)


def read_zip(paths: tuple[Path, ...], wanted: Wanted) -> Iterator[Copy]:
    """See `Reader`; members come in the order in which they lie in the zip."""
    with closing(_opened(paths)) as zipped:
        inside = sorted(zipped.infos.items(), key=lambda item: item[1].header_offset)
        for name, info in inside:
            if not is_audio(name) or (clip := wanted.take(part_of(name))) is None:
                continue
            content: Content
            if info.file_size > MAX_CLIP_BYTES:
                content = damaged(f"{info.file_size} bytes, expected {MAX_CLIP_BYTES} or fewer")
            else:
                try:
                    content = zipped.read(name)
                except ArchiveError as error:
                    content = damaged(str(error)[:200])
            yield Copy(clip, name, content)


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
