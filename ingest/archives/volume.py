"""A volume of files, and what no official one does: links, bombs, names that climb out.

Names from archives are never used as paths of ours. An archive that breaks a rule is refused as a
whole, in one sentence.
"""

import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

MAX_MEMBERS = 1_000_000
MAX_MEMBER_BYTES = 2 * 10**9
"""Whole members are decoded in memory; the longest official recording has 0.2 * 10^9."""
MAX_RATIO = 100
"""Unpacked size over archive size; official audio archives have 1 to 3."""
ALLOWANCE_BYTES = 64 * 10**6
"""What any archive may unpack to: digital silence shrinks a thousandfold."""


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


@contextmanager
def told(volume: Volume, name: str = "") -> Iterator[None]:
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
        raise damaged(volume, f"{name}: {error}" if name else str(error)) from error


def damaged(volume: Volume, what: str) -> ArchiveError:
    """What to say of an archive that cannot be read to its end."""
    return ArchiveError(
        f"{volume}: no whole zip or tar, or damaged ({what}); fetch the archive again"
    )


def refused(volume: Volume, name: str, why: str) -> ArchiveError:
    """What to say of an archive that does what no official one does."""
    return ArchiveError(
        f"{volume}: member {name[:200]!a} {why}, which no official archive has; the archive is "
        "refused: fetch it again from its official place"
    )


def check_name(volume: Volume, name: str) -> None:
    """Refuses names that lead out of the archive."""
    parts = re.split(r"[/\\]", name)
    if parts[0] == "" or re.match(r"[A-Za-z]:", name) or ".." in parts or "\0" in name:
        raise refused(volume, name, "has a name that leads out of the archive")


def check_size(volume: Volume, name: str, n_bytes: int) -> None:
    """Refuses members that would fill the memory."""
    if not 0 <= n_bytes <= MAX_MEMBER_BYTES:
        raise refused(volume, name, f"has {n_bytes} bytes (limit {MAX_MEMBER_BYTES})")


def check_growth(volume: Volume, name: str, packed_bytes: int, n_bytes: int) -> None:
    """Refuses members that grow out of proportion."""
    ratio = n_bytes / max(packed_bytes, 1)
    if n_bytes > ALLOWANCE_BYTES and ratio > MAX_RATIO:
        raise refused(volume, name, f"would grow {ratio:.0f} times")


def check_members(volume: Volume, n: int) -> None:
    """Refuses more members than any official archive has."""
    if n > MAX_MEMBERS:
        raise ArchiveError(f"{volume}: more than {MAX_MEMBERS} members; no official archive has")


def check_unpacked(volume: Volume, n_bytes: int) -> None:
    """Refuses archives that grow out of proportion."""
    packed = sum(path.stat().st_size for path in volume.paths)
    if n_bytes > ALLOWANCE_BYTES + MAX_RATIO * packed:
        raise ArchiveError(
            f"{volume}: {packed} bytes would unpack to {n_bytes} or more (limit {MAX_RATIO} "
            "times); the archive is refused"
        )


def check_repeated(volume: Volume, names: Sequence[str]) -> None:
    """Refuses a name that is there twice: which member is meant?"""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise refused(volume, name, "is there twice")
        seen.add(name)
