"""Files that appear whole or not at all, their hashes, and files behind URLs."""

import hashlib
import os
from pathlib import Path
from typing import IO


class AtomicFile:
    """A file that appears under its name complete or not at all.

    Yields a temporary path beside `path`; at a clean exit its bytes are synced and renamed, after
    an exception it is removed.
    """

    def __init__(self, path: Path, synced: bool = True) -> None:
        """Touches nothing yet.

        Args:
            path: its final name.
            synced: is whole after a power cut, too; without, only after a killed process.
        """
        self.path = path
        self.synced = synced
        self.temporary = path.with_name(f".{path.name}.partial")

    def __enter__(self) -> Path:
        self.temporary.unlink(missing_ok=True)  # of a killed process, or a link that leads away
        return self.temporary

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.temporary.unlink(missing_ok=True)
            return
        if self.synced:
            descriptor = os.open(self.temporary, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self.temporary.replace(self.path)


def refuse_links(out: Path) -> None:
    """Nothing, where an output directory holds no links: writing would follow them out of it.

    Raises:
        ValueError: it holds one, on any level.
    """
    if not out.is_dir():
        return
    for folder, names, files in os.walk(out):  # which does not walk into links itself
        for name in sorted([*names, *files]):
            path = Path(folder, name)
            if path.is_symlink():
                raise ValueError(
                    f"{path}: is a link to {path.readlink()}, and writing would follow it; an "
                    "output directory holds plain files alone: remove the link, or give another "
                    "--out"
                )


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    with AtomicFile(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_remote(location: str) -> bool:
    """Whether a location is a URL."""
    return "://" in location


def open_file(location: str) -> IO[bytes]:
    """A file, here or behind a URL, open for reading.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: the URL cannot be read.
    """
    if not is_remote(location):
        return Path(location).open("rb")
    import fsspec  # noqa: PLC0415 - slow to import, and every worker process would

    try:
        file: IO[bytes] = fsspec.open(location, "rb").open()
        return file
    except OSError:
        raise
    except Exception as error:  # each file system has its own, and s3fs is not always installed
        raise ValueError(
            f"{location}: {error}; `pip install 'slvr[remote]'` brings s3:// and https://, and "
            "check address and credentials"
        ) from error
