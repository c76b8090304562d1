"""A tar or tar.gz as a volume: an index, made once, leads to each member."""

import io
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from slvr.ingest.archives.volume import (
    Volume,
    check_members,
    check_name,
    check_repeated,
    check_size,
    check_unpacked,
    damaged,
    refused,
    told,
)
from slvr.shards.files import AtomicFile

MAX_HEADER_BYTES = 1 << 20
"""Of a tar's extended header, which tarfile reads into memory."""
SEEK_POINTS = 2048
"""Of a tar.gz: each costs 32 KB of memory and of index, and fewer make reads slower."""
MIN_SPACING_BYTES = 1 << 20
BUFFER_BYTES = 1 << 18
"""Inflated after each seek, so about as much as a member."""


class TarReader:
    """A tar or tar.gz with an index: member -> (offset, size), and seek points of the gzip."""

    def __init__(self, volume: Volume) -> None:
        assert volume.index is not None
        self.volume = volume
        self.members_path = volume.index.with_name(volume.index.name + ".members")
        self.points_path = volume.index.with_name(volume.index.name + ".gzidx")
        self.gzipped = not volume.paths[0].name.lower().endswith(".tar")
        if not self.members_path.is_file():
            with told(volume):
                self._build_index()
        self.members = {n: (o, s) for n, o, s in json.loads(self.members_path.read_text("utf-8"))}
        self.file = self._open(self.points_path)

    def _open(self, points: Path | None = None) -> BinaryIO:
        path = self.volume.paths[0]
        if not self.gzipped:
            return path.open("rb")
        import indexed_gzip  # noqa: PLC0415 - slow to import, and every worker process would

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
            check_repeated(self.volume, [name for name, _, _ in members])
            if self.gzipped:
                indexed = cast(Any, file)
                indexed.build_full_index()
                with AtomicFile(self.points_path) as temporary:
                    indexed.export_index(str(temporary))
        with AtomicFile(self.members_path) as temporary:
            temporary.write_text(json.dumps(members), encoding="utf-8")

    def _scan(self, file: BinaryIO) -> Iterator[tuple[str, int, int]]:
        end, n = 0, 0
        with tarfile.open(fileobj=cast(BinaryIO, _Headers(file)), mode="r:") as tar:
            while (info := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # tarfile would keep a million records
                check_name(self.volume, info.name)
                if not (info.isreg() or info.isdir()) or info.issparse():
                    raise refused(self.volume, info.name, "is a link, a device or sparse")
                check_size(self.volume, info.name, info.size)
                end = info.offset_data + -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                check_unpacked(self.volume, end)
                if info.isreg():
                    n += 1
                    check_members(self.volume, n)
                    yield info.name, info.offset_data, info.size
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("the end of the archive is missing")

    def names(self) -> Sequence[str]:
        """See `Reader`."""
        return list(self.members)

    def read(self, name: str) -> bytes:
        """See `Reader`."""
        offset, size = self.members[name]
        with told(self.volume, name):
            self.file.seek(offset)
            content = self.file.read(size)
        if len(content) != size:
            raise damaged(self.volume, f"{name} ends early")
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
