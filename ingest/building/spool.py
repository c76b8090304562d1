"""Clips that were fetched and wait for their shard: nothing is downloaded twice."""

import dataclasses
import json
from pathlib import Path

from slvr.shards.clip import Clip
from slvr.shards.columns import record_of, values_of
from slvr.shards.files import AtomicFile


class Spool:
    """A folder with one file for each clip: a line of JSON, then the encoded audio."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __contains__(self, key: str) -> bool:
        return (self.directory / key).is_file()

    def get(self, key: str) -> Clip | None:
        """The clip kept under a key, or None."""
        path = self.directory / key
        if not path.is_file():
            return None
        header, _, audio = path.read_bytes().partition(b"\n")
        return dataclasses.replace(record_of(Clip, json.loads(header)), audio=audio or None)

    def keys(self) -> frozenset[str]:
        """The keys of all clips that are kept."""
        if not self.directory.is_dir():
            return frozenset()
        names = (path.name for path in self.directory.iterdir())
        return frozenset(name for name in names if not name.startswith("."))

    def put(self, clip: Clip) -> None:
        """Keeps a clip."""
        self.directory.mkdir(exist_ok=True)
        with AtomicFile(self.directory / clip.key) as temporary:
            header = json.dumps(values_of(clip)).encode()
            temporary.write_bytes(header + b"\n" + (clip.audio or b""))

    def drop(self, keys: list[str]) -> None:
        """Forgets clips that lie in a finished shard."""
        for key in keys:
            (self.directory / key).unlink(missing_ok=True)
