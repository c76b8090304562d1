"""The volumes at a path, and their readers: files are read where they lie, nothing is unpacked.

A volume is a zip (one file, byte slices of one, or the parts that `zip -s` makes), a tar, a tar.gz
or an unpacked folder.
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
    or `x.zip.001`, ...) are one, and so are parts of a zip (`x.z01`, `x.z02`, ..., `x.zip`).

    Args:
        source: the path.
        indices: folder for the indices of tars.

    Raises:
        ValueError: nothing is there.
    """
    if not source.exists():
        raise ValueError(f"{source}: no such file or folder")
    if source.is_file():
        beside = [path for path in source.parent.iterdir() if path.is_file()]
        paths = sorted((p for p in beside if _whole(p) == _whole(source)), key=_place)
        return (_volume(tuple(paths), indices),)
    archives: dict[str, list[Path]] = {}
    for path in sorted(path for path in source.iterdir() if path.is_file()):
        if path.name.lower().endswith(SUFFIXES) or _whole(path) != path.name:
            archives.setdefault(_whole(path), []).append(path)
    found = [_volume(tuple(sorted(paths, key=_place)), indices) for paths in archives.values()]
    return (*found, Volume((source,)))


def _whole(path: Path) -> str:
    """The name of the zip that this file is a part or a byte slice of, else its own."""
    match = re.fullmatch(r"(.+)_part[a-z]{2}|(.+\.zip)\.\d{3}|(.+)\.z\d{2,3}", path.name)
    if match is None:
        return path.name
    return match[1] or match[2] or f"{match[3]}.zip"


def _place(path: Path) -> tuple[float, str]:
    """Sorts the parts of a zip by their number, its `.zip` last; other files by name."""
    part = re.search(r"\.z(\d+)$", path.name)
    return (float(part[1]) if part else float("inf"), path.name)


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
