"""Decoders that take their process down, or raise what nobody expects, at files of certain names.

In a module of its own: worker processes import it.
"""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slvr.ingest.recipes.audioset import AudioSet
from slvr.ingest.recipes.folder import Folder
from slvr.shards.clip import Clip


def strike(name: str) -> None:
    """What the name of a file asks for."""
    if "segfault" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "abort" in name:
        os.abort()
    if "memory" in name:  # as the kernel does when there is none left
        os.kill(os.getpid(), signal.SIGKILL)
    if "leave" in name:
        os._exit(3)
    if "raise" in name:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    if "unread" in name:
        raise PermissionError(13, "Permission denied", name)
    if "full" in name:
        raise OSError(28, "No space left on device", name)


def measure(name: str) -> float:
    strike(name)
    return float(len(name))


def die_at_start(pipe: Any) -> None:
    os._exit(1)


def raise_what_does_not_pickle(name: str) -> None:
    class LocalError(Exception):
        pass

    raise LocalError(name)


@dataclass(frozen=True)
class DeadlyFolder(Folder):
    """Also dies once at names with `unlucky`: they go well when they are tried alone."""

    memory: str = ""
    """Folder for what is remembered between processes."""

    def make(self, clip: Clip, codec: str) -> Clip:
        strike(clip.source.uri)
        before = Path(self.memory, clip.key)
        if "unlucky" in clip.source.uri and not before.exists():
            before.touch()
            os.abort()
        return super().make(clip, codec)


@dataclass(frozen=True)
class CautiousFolder(Folder):
    """Leaves out those files."""

    def make(self, clip: Clip, codec: str) -> Clip:
        try:
            assert not any(word in clip.source.uri for word in ("segfault", "abort", "memory"))
            strike(clip.source.uri.replace("leave", "raise"))
        except Exception:
            return clip.failed("corrupt", "left_out")
        return super().make(clip, codec)


@dataclass(frozen=True)
class DeadlyAudioSet(AudioSet):
    """The same for videos."""

    def decode(self, clip: Clip, fetched: Any, codec: str) -> Clip:
        assert Path(fetched.path).is_file()
        strike(clip.source.id)
        return super().decode(clip, fetched, codec)

    def fetch(self, clip: Clip, folder: Path, through: int) -> Any:
        if "bugs" in clip.source.id:
            raise KeyError("formats")
        return super().fetch(clip, folder, through)
