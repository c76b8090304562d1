"""Clips that were fetched and wait for their shard: nothing is downloaded twice."""

import dataclasses
import json
import zlib
from pathlib import Path

from slvr.shards.clip import Clip
from slvr.shards.columns import record_of, values_of
from slvr.shards.files import AtomicFile


class Spool:
    """A folder with one file for each clip: a checksum, a line of JSON, then the audio."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __contains__(self, key: str) -> bool:
        return (self.directory / key).is_file()

    def get(self, key: str) -> Clip | None:
        """The clip kept under a key, or None."""
        path = self.directory / key
        if not path.is_file():
            return None
        _, _, content = path.read_bytes().partition(b"\n")
        header, _, audio = content.partition(b"\n")
        return dataclasses.replace(record_of(Clip, json.loads(header)), audio=audio or None)

    def keys(self) -> frozenset[str]:
        """The keys of all clips that are kept; what a power cut has damaged is removed."""
        if not self.directory.is_dir():
            return frozenset()
        kept = set()
        for path in self.directory.iterdir():
            if path.name.startswith("."):
                continue
            if _is_whole(path.read_bytes()):
                kept.add(path.name)
            else:
                path.unlink()
        return frozenset(kept)

    def put(self, clip: Clip, synced: bool = True) -> None:
        """Keeps a clip.

        Args:
            clip: settled.
            synced: survives a power cut. Waiting for the disk takes as long as decoding a clip: not
                worth it for what is quickly had again.
        """
        self.directory.mkdir(exist_ok=True)
        with AtomicFile(self.directory / clip.key, synced) as temporary:
            header = json.dumps(values_of(clip)).encode()
            content = header + b"\n" + (clip.audio or b"")
            temporary.write_bytes(b"%08x\n%b" % (zlib.crc32(content), content))

    def drop(self, keys: list[str]) -> None:
        """Forgets clips that lie in a finished shard."""
        for key in keys:
            (self.directory / key).unlink(missing_ok=True)


def _is_whole(content: bytes) -> bool:
    checksum, _, rest = content.partition(b"\n")
    return checksum == b"%08x" % zlib.crc32(rest)
