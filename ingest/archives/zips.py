"""A zip, in one file, in byte slices or in the parts that `zip -s` makes, as a volume."""

import io
import os
import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

from slvr.ingest.archives.volume import (
    Volume,
    check_growth,
    check_members,
    check_name,
    check_repeated,
    check_size,
    check_unpacked,
    refused,
    told,
)

END = b"PK\x05\x06"
"""Begins the record at the end of a zip, which lies after all else but a comment."""
MAX_END_BYTES = 22 + 65_535
NOT_HERE = 0xFFFF
"""What that record holds for a number that stands in the one of zip64."""
LOCAL_HEADER_BYTES = 30


class ZipReader:
    """A `Reader` of a zip."""

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        with told(volume):
            joined = _JoinedFiles(volume.paths)
            self._files = joined.files
            self.zip = zipfile.ZipFile(cast(BinaryIO, io.BufferedReader(joined)))
            _count_from_the_first(self.zip, joined)
            members = [(_slashed(info.filename), info) for info in self.zip.infolist()]
            files = [(name, info) for name, info in members if not name.endswith("/")]
            if any(info.header_offset < 0 for _, info in files):
                raise zipfile.BadZipFile("its beginning is missing")
        check_members(volume, len(files))
        for _, info in files:
            self._check(info)
        check_unpacked(volume, sum(info.file_size for _, info in files))
        check_repeated(volume, [name for name, _ in files])
        self.infos = dict(files)

    def _check(self, info: zipfile.ZipInfo) -> None:
        check_name(self.volume, info.filename)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise refused(self.volume, info.filename, "is a link or a device")
        if info.flag_bits & 1:
            raise refused(self.volume, info.filename, "is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # the readers of the other methods inflate without a limit
            raise refused(self.volume, info.filename, "is neither stored nor deflated")
        check_size(self.volume, info.filename, info.file_size)
        check_growth(self.volume, info.filename, info.compress_size, info.file_size)

    def names(self) -> Sequence[str]:
        """See `Reader`."""
        return list(self.infos)

    def read(self, name: str) -> bytes:
        """See `Reader`."""
        with told(self.volume, name):
            return self.zip.read(self.infos[name])

    def packed_offset(self, name: str) -> int:
        """Where the packed content of a file begins in the one file of the zip."""
        info = self.infos[name]
        with told(self.volume, name), self.volume.paths[0].open("rb") as file:
            file.seek(info.header_offset)
            header = file.read(LOCAL_HEADER_BYTES)
            if len(header) < LOCAL_HEADER_BYTES or not header.startswith(b"PK\x03\x04"):
                raise zipfile.BadZipFile("no member begins there")
        lengths = (int.from_bytes(header[i : i + 2], "little") for i in (26, 28))
        return info.header_offset + LOCAL_HEADER_BYTES + sum(lengths)

    def close(self) -> None:
        """Closes the files."""
        self.zip.close()
        for file in self._files:
            file.close()


def _count_from_the_first(parts: zipfile.ZipFile, joined: "_JoinedFiles") -> None:
    """Makes offsets that count from the beginning of a part count from that of the first one.

    zipfile takes the directory's own place for the origin of all, since it expects one file.
    """
    joined.seek(max(0, joined.size - MAX_END_BYTES))
    end = joined.readall()
    end = end[end.rindex(END) :]
    last_part = int.from_bytes(end[4:6], "little")
    if last_part in (0, NOT_HERE):
        return  # one file, or slices of one
    if last_part + 1 != len(joined.starts):
        raise zipfile.BadZipFile(f"{len(joined.starts)} of its {last_part + 1} parts are there")
    directory_offset = int.from_bytes(end[16:20], "little")
    shift = parts.start_dir - directory_offset  # what zipfile has added to each
    for info in parts.infolist():
        if info.volume > last_part:
            raise zipfile.BadZipFile(f"a member begins in part {info.volume + 1}")
        info.header_offset += joined.starts[info.volume] - shift
        if hasattr(info, "_end_offset"):  # newer Pythons hold the members' order against this
            info._end_offset = None


def _slashed(name: str) -> str:
    """The name with `/` between folders: some programs of Windows write its backslash."""
    return name.replace("\\", "/")


class _JoinedFiles(io.RawIOBase):
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
