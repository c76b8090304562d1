"""The volumes at a path, and their readers: files are read where they lie, nothing is unpacked.

A volume is a zip (one file, or byte slices of one), a tar, a tar.gz or an unpacked folder.
"""

import functools
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from slvr.ingest.archives.tars import TarReader
from slvr.ingest.archives.volume import Reader, Volume
from slvr.ingest.archives.zips import ZipReader

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")


def find_volumes(source: Path, indices: Path) -> tuple[Volume, ...]:
    """The volumes at a path: an archive, a folder of archives, or an unpacked tree.

    Files that lie beside archives are a volume as well. Byte slices (`x_partaa`, `x_partab`, ...,
    or `x.zip.001`, ...) are one.

    Args:
        source: the path.
        indices: folder for the indices of tars.

    Raises:
        ValueError: nothing is there.
    """
    if not source.exists():
        raise ValueError(f"{source}: no such file or folder")
    if source.is_file():
        beside = sorted(source.parent.iterdir()) if _slice_of(source) else [source]
        paths = [path for path in beside if _slice_of(path) == _slice_of(source)]
        return (_volume(tuple(paths), indices),)
    archives: dict[str, list[Path]] = {}
    for path in sorted(path for path in source.iterdir() if path.is_file()):
        if path.name.lower().endswith(SUFFIXES) or _slice_of(path):
            archives.setdefault(_slice_of(path) or path.name, []).append(path)
    found = [_volume(tuple(paths), indices) for paths in archives.values()]
    return (*found, Volume((source,)))


def _slice_of(path: Path) -> str | None:
    """The name of the file that this one is a byte slice of."""
    match = re.fullmatch(r"(.+)_part[a-z]{2}|(.+\.zip)\.\d{3}", path.name)
    return (match[1] or match[2]) if match else None


def _volume(paths: tuple[Path, ...], indices: Path) -> Volume:
    about = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in paths]
    digest = hashlib.sha256(repr(about).encode()).hexdigest()[:16]
    return Volume(paths, indices / f"{paths[0].name}-{digest}")


@functools.cache
def open_volume(volume: Volume) -> Reader:
    """The reader of a volume; a process opens each volume once.

    Raises:
        ArchiveError: it is no archive, is damaged or is refused.
    """
    if volume.paths[0].is_dir():
        return _FolderReader(volume.paths[0])
    name = volume.paths[0].name.lower()
    if name.endswith((".tar", ".tar.gz", ".tgz")):
        return TarReader(volume)
    return ZipReader(volume)


class _FolderReader:
    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> Sequence[str]:
        found = []
        for folder, _, files in os.walk(self.root):
            inside = Path(folder).relative_to(self.root)
            # a pipe would wait for a writer
            found += [(inside / f).as_posix() for f in files if Path(folder, f).is_file()]
        return sorted(found)

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()
