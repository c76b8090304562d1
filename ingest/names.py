r"""File names as text that any table can hold: bytes that are no UTF-8 are written \xNN."""

import os
import re
from pathlib import Path


def printable(name: str) -> str:
    r"""The name with bytes that are no UTF-8 as \xNN."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def path_of(root: Path, name: str) -> Path:
    """The absolute path of a file below root whose printable name is given.

    Absolute, since FFmpeg takes `12:30 talk.m4a` and `http:/x` for protocols.
    """
    there = root.absolute() / name
    if there.exists():
        return there
    raw = re.sub(rb"\\x([89a-f][0-9a-f])", _byte, name.encode("utf-8"))
    return root.absolute() / os.fsdecode(raw)


def _byte(escaped: re.Match[bytes]) -> bytes:
    return bytes.fromhex(escaped[1].decode("ascii"))
