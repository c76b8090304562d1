"""The bytes of an audio file, wherever they are: a path or an archive's member."""

import errno
import io
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from slvr.ingest.recipe import ClipFailure

Encoded = Path | bytes
"""An audio file: its path, or its content."""
Bytes = bytes | mmap.mmap
"""What the headers are read from: a slice of it is bytes."""


class Content:
    """An open audio file.

    Nothing is ever opened by name below this: to FFmpeg `12:30 talk.m4a` is a protocol, and a
    folder called `http:` a host.
    """

    def __init__(self, file: Encoded, data: Bytes) -> None:
        self.data = data
        self._file = file

    def stream(self) -> BinaryIO:
        """A file object of its own, at its beginning; FFmpeg sees no name."""
        if isinstance(self._file, bytes):
            return io.BytesIO(self._file)
        return io.BufferedReader(_Nameless(self._file))

    def for_soundfile(self) -> io.BytesIO | int:
        """What libsndfile opens: a descriptor that it closes, or the bytes."""
        if isinstance(self._file, bytes):
            return io.BytesIO(self._file)
        return os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)


class _Nameless(io.FileIO):
    """A file whose name is its descriptor's number."""

    def __init__(self, path: Path) -> None:
        super().__init__(os.open(path, os.O_RDONLY | os.O_CLOEXEC), "rb")


def n_bytes(file: Encoded) -> int:
    """Size of a file."""
    return len(file) if isinstance(file, bytes) else file.stat().st_size


@contextmanager
def opened(file: Encoded) -> Iterator[Content]:
    """The file, open for reading.

    Raises:
        ClipFailure: it is missing, empty or not to be read.
    """
    if isinstance(file, bytes):
        if not file:
            raise ClipFailure("too_short", "empty_file", "0 bytes")
        yield Content(file, file)
        return
    try:
        if not file.is_file():
            raise ClipFailure("missing", "no_file", file.name)
        if file.stat().st_size == 0:
            raise ClipFailure("too_short", "empty_file", "0 bytes")
        with file.open("rb") as source:
            data = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise _unreadable(error) from error
    with data:
        yield Content(file, data)


def _unreadable(error: OSError) -> ClipFailure:
    """What to say of a file that is there and cannot be opened."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return ClipFailure("missing", "no_permission", "not readable by this user")
    return ClipFailure("transient", "read_error", error.strerror or str(error))
