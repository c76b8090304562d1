"""The files of an official archive by name, read where they lie: nothing is ever unpacked.

A volume is a zip (one file, or byte slices of one), a tar, a tar.gz or an unpacked folder. Names
from archives are never used as paths of ours, and an archive that does what no official one does
(links, devices, names that climb out, bombs, passwords) is refused as a whole.
"""

import functools
import hashlib
import io
import json
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import indexed_gzip

from slvr.shards.files import AtomicFile

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
MAX_MEMBERS = 1_000_000
MAX_MEMBER_BYTES = 2 * 10**9
"""Whole members are decoded in memory; the longest official recording has 0.2 * 10^9."""
MAX_RATIO = 100
"""Unpacked size over archive size; official audio archives have 1 to 3."""
ALLOWANCE_BYTES = 64 * 10**6
"""What any archive may unpack to: digital silence shrinks a thousandfold."""
MAX_HEADER_BYTES = 1 << 20
"""Of a tar's extended header, which tarfile reads into memory."""
SEEK_POINTS = 2048
"""Of a tar.gz: each costs 32 KB of memory and of index, and fewer make reads slower."""
MIN_SPACING_BYTES = 1 << 20
BUFFER_BYTES = 1 << 18
"""Inflated after each seek, so about as much as a member."""


@dataclass(frozen=True)
class Volume:
    """Where files are.

    Attributes:
        paths: one archive, the byte slices of one zip in order, or one folder.
        index: place for the index of a tar or tar.gz.
    """

    paths: tuple[Path, ...]
    index: Path | None = None

    def __str__(self) -> str:
        return str(self.paths[0])


class ArchiveError(ValueError):
    """An archive that is damaged or refused."""


class Reader(Protocol):
    """An open volume."""

    def names(self) -> Sequence[str]:
        """The name of every regular file, with `/`, relative."""
        ...

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            ArchiveError: it is damaged.
            OSError: it cannot be read.
        """
        ...


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
        return _Folder(volume.paths[0])
    name = volume.paths[0].name.lower()
    if name.endswith((".tar", ".tar.gz", ".tgz")):
        return _Tar(volume)
    return _Zip(volume)


class _Folder:
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


class _Zip:
    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        with _told(volume):
            self.zip = zipfile.ZipFile(cast(BinaryIO, io.BufferedReader(_Joined(volume.paths))))
            infos = [info for info in self.zip.infolist() if not info.is_dir()]
            if any(info.header_offset < 0 for info in infos):
                raise zipfile.BadZipFile("its beginning is missing")
        _check_members(volume, len(infos))
        for info in infos:
            self._check(info)
        _check_unpacked(volume, sum(info.file_size for info in infos))
        self.infos = {info.filename: info for info in infos}
        _check_repeated(volume, [info.filename for info in infos])

    def _check(self, info: zipfile.ZipInfo) -> None:
        _check_name(self.volume, info.filename)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise _refused(self.volume, info.filename, "is a link or a device")
        if info.flag_bits & 1:
            raise _refused(self.volume, info.filename, "is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # the readers of the other methods inflate without a limit
            raise _refused(self.volume, info.filename, "is neither stored nor deflated")
        _check_size(self.volume, info.filename, info.file_size)
        ratio = info.file_size / max(info.compress_size, 1)
        if info.file_size > ALLOWANCE_BYTES and ratio > MAX_RATIO:
            raise _refused(self.volume, info.filename, f"would grow {ratio:.0f} times")

    def names(self) -> Sequence[str]:
        return list(self.infos)

    def read(self, name: str) -> bytes:
        with _told(self.volume, name):
            return self.zip.read(self.infos[name])


class _Tar:
    """A tar or tar.gz with an index: member -> (offset, size), and seek points of the gzip."""

    def __init__(self, volume: Volume) -> None:
        assert volume.index is not None
        self.volume = volume
        self.members_path = volume.index.with_name(volume.index.name + ".members")
        self.points_path = volume.index.with_name(volume.index.name + ".gzidx")
        self.gzipped = not volume.paths[0].name.lower().endswith(".tar")
        if not self.members_path.is_file():
            with _told(volume):
                self._build_index()
        self.members = {n: (o, s) for n, o, s in json.loads(self.members_path.read_text("utf-8"))}
        self.file = self._open(self.points_path)

    def _open(self, points: Path | None = None) -> BinaryIO:
        path = self.volume.paths[0]
        if not self.gzipped:
            return path.open("rb")
        spacing = max(MIN_SPACING_BYTES, 2 * path.stat().st_size // SEEK_POINTS)
        options = {"index_file": str(points)} if points else {}
        file = indexed_gzip.IndexedGzipFile(
            str(path), spacing=spacing, buffer_size=BUFFER_BYTES, **options
        )
        return cast(BinaryIO, file)

    def _build_index(self) -> None:
        """Reads the archive once from end to end; its checksum and its end are seen here."""
        self.members_path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as file:
            members = list(self._scan(file))
            _check_repeated(self.volume, [name for name, _, _ in members])
            if isinstance(file, indexed_gzip.IndexedGzipFile):
                file.build_full_index()
                with AtomicFile(self.points_path) as temporary:
                    file.export_index(str(temporary))
        with AtomicFile(self.members_path) as temporary:
            temporary.write_text(json.dumps(members), encoding="utf-8")

    def _scan(self, file: BinaryIO) -> Iterator[tuple[str, int, int]]:
        end, n = 0, 0
        with tarfile.open(fileobj=cast(BinaryIO, _Headers(file)), mode="r:") as tar:
            while (info := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # tarfile would keep a million records
                _check_name(self.volume, info.name)
                if not (info.isreg() or info.isdir()) or info.issparse():
                    raise _refused(self.volume, info.name, "is a link, a device or sparse")
                _check_size(self.volume, info.name, info.size)
                end = info.offset_data + -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                _check_unpacked(self.volume, end)
                if info.isreg():
                    n += 1
                    _check_members(self.volume, n)
                    yield info.name, info.offset_data, info.size
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("the end of the archive is missing")

    def names(self) -> Sequence[str]:
        return list(self.members)

    def read(self, name: str) -> bytes:
        offset, size = self.members[name]
        with _told(self.volume, name):
            self.file.seek(offset)
            content = self.file.read(size)
        if len(content) != size:
            raise _damaged(self.volume, f"{name} ends early")
        return content


class _Headers(io.RawIOBase):
    """A file of which tarfile may read headers alone."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self.file.read(size)


class _Joined(io.RawIOBase):
    """Files one after the other, as one that can be read and sought."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.files = [path.open("rb", buffering=0) for path in paths]
        sizes = [path.stat().st_size for path in paths]
        self.starts = [sum(sizes[:i]) for i in range(len(sizes))]
        self.size = sum(sizes)
        self.position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: self.size}[whence]
        if origin + offset < 0:
            raise OSError("seek before the beginning")
        self.position = origin + offset
        return self.position

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        at = max(i for i, start in enumerate(self.starts) if start <= self.position)
        for file, start in zip(self.files[at:], self.starts[at:], strict=True):
            file.seek(self.position - start)
            n = file.readinto(buffer)
            if n:
                self.position += n
                return n
        return 0


@contextmanager
def _told(volume: Volume, name: str = "") -> Iterator[None]:
    """Every fault of a damaged archive as one sentence."""
    faults = (
        *(zipfile.BadZipFile, zipfile.LargeZipFile, tarfile.TarError, zlib.error, struct.error),
        *(EOFError, NotImplementedError, ValueError, OverflowError),
    )
    try:
        yield
    except ArchiveError:
        raise
    except (*faults, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the machine's fault, not the archive's
        raise _damaged(volume, f"{name}: {error}" if name else str(error)) from error


def _damaged(volume: Volume, what: str) -> ArchiveError:
    return ArchiveError(
        f"{volume}: no whole zip or tar, or damaged ({what}); fetch the archive again"
    )


def _refused(volume: Volume, name: str, why: str) -> ArchiveError:
    return ArchiveError(
        f"{volume}: member {name[:200]!a} {why}, which no official archive has; the archive is "
        "refused: fetch it again from its official place"
    )


def _check_name(volume: Volume, name: str) -> None:
    parts = re.split(r"[/\\]", name)
    if parts[0] == "" or re.match(r"[A-Za-z]:", name) or ".." in parts or "\0" in name:
        raise _refused(volume, name, "has a name that leads out of the archive")


def _check_size(volume: Volume, name: str, n_bytes: int) -> None:
    if not 0 <= n_bytes <= MAX_MEMBER_BYTES:
        raise _refused(volume, name, f"has {n_bytes} bytes (limit {MAX_MEMBER_BYTES})")


def _check_members(volume: Volume, n: int) -> None:
    if n > MAX_MEMBERS:
        raise ArchiveError(f"{volume}: more than {MAX_MEMBERS} members; no official archive has")


def _check_unpacked(volume: Volume, n_bytes: int) -> None:
    packed = sum(path.stat().st_size for path in volume.paths)
    if n_bytes > ALLOWANCE_BYTES + MAX_RATIO * packed:
        raise ArchiveError(
            f"{volume}: {packed} bytes would unpack to {n_bytes} or more (limit {MAX_RATIO} "
            "times); the archive is refused"
        )


def _check_repeated(volume: Volume, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise _refused(volume, name, "is there twice")
        seen.add(name)
