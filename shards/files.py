"""Files that appear whole or not at all, and their hashes."""

import hashlib
import os
from pathlib import Path


class AtomicFile:
    """A file that appears under its name complete or not at all.

    Yields a temporary path beside `path`; at a clean exit its bytes are synced and renamed, after
    an exception it is removed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = path.with_name(f".{path.name}.partial")

    def __enter__(self) -> Path:
        return self.temporary

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.temporary.unlink(missing_ok=True)
            return
        descriptor = os.open(self.temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.temporary.replace(self.path)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    with AtomicFile(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
