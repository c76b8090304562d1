"""Tars of audio files, named by id or beside a JSON that tells it: WebDataset, our own shards."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from slvr.ingest.mirrors.contract import (
    MAX_CLIP_BYTES,
    Content,
    Copy,
    Part,
    Span,
    Wanted,
    damaged,
    is_audio,
    part_of,
)

IDS = ("id", "video_id", "youtube_id", "ytid", "segment_id", "source_id", "source_uri")
MAX_JSON_BYTES = 1 << 20


def read_tar(paths: tuple[Path, ...], wanted: Wanted) -> Iterator[Copy]:
    """See `Reader`; of a plain tar only the headers are read here."""
    (path,) = paths
    try:
        with tarfile.open(path, "r:*") as tar:
            plain = path.suffix.lower() == ".tar"
            yield from _members(tar, path if plain else None, wanted)
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(f"no whole tar ({error})") from error


def _members(tar: tarfile.TarFile, path: Path | None, wanted: Wanted) -> Iterator[Copy]:
    sample, told = "", None  # of the JSON that came last; files of one sample lie together
    held: tuple[str, str, Content] | None = None  # audio whose JSON may still come
    while (info := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # tarfile would keep every record
        if not info.isreg() or info.issparse():
            continue
        stem = str(PurePosixPath(info.name).with_suffix(""))
        if held is not None and held[0] != stem:
            held = None
        if is_audio(info.name):
            part = part_of(info.name)
            if part is None and sample == stem:
                part = told
            if part is not None:
                if wanted.has(part):
                    yield _copy(part, info.name, _content(tar, info, path), wanted)
            else:
                held = (stem, info.name, _content(tar, info, path))
        elif info.name.endswith(".json") and info.size <= MAX_JSON_BYTES:
            sample, told = stem, _told(tar, info)
            if held is not None and wanted.has(told):
                yield _copy(told, held[1], held[2], wanted)


def _copy(part: Part | None, member: str, content: Content, wanted: Wanted) -> Copy:
    clip = wanted.take(part)
    assert clip is not None
    return Copy(clip, member, content)


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo, path: Path | None) -> Content:
    if info.size > MAX_CLIP_BYTES:
        return damaged(f"{info.size} bytes, expected {MAX_CLIP_BYTES} or fewer")
    if path is not None:
        return Span(path, info.offset_data, info.size)
    return cast(IO[bytes], tar.extractfile(info)).read()


def _told(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Part | None:
    """What the JSON of a sample says it is a part of."""
    try:
        fields = json.loads(cast(IO[bytes], tar.extractfile(info)).read())
    except ValueError:
        return None
    if not isinstance(fields, dict):
        return None
    return next((part for name in IDS if (part := part_of(str(fields.get(name, ""))))), None)
