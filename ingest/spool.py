"""Clips that were fetched and wait for their shard: nothing is downloaded twice."""

import dataclasses
import json
from pathlib import Path

from shards.clip import Clip, Source
from shards.files import AtomicFile

UNSETTLED = ("blocked", "transient")
"""Nothing is known about these clips: the next run asks for them again."""


class Spool:
    """A folder with one file for each clip: a line of JSON, then the encoded audio."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def get(self, key: str) -> Clip | None:
        """The clip kept under a key, or None."""
        path = self.directory / key
        if not path.is_file():
            return None
        header, _, audio = path.read_bytes().partition(b"\n")
        fields = json.loads(header)
        fields["source"] = Source(**fields["source"])
        fields["labels"] = tuple(fields["labels"])
        return Clip(**fields, audio=audio or None)

    def put(self, clip: Clip) -> None:
        """Keeps a clip whose fate is settled."""
        if clip.status in UNSETTLED:
            return
        self.directory.mkdir(exist_ok=True)
        fields = dataclasses.asdict(dataclasses.replace(clip, audio=None))
        del fields["audio"]
        with AtomicFile(self.directory / clip.key) as temporary:
            temporary.write_bytes(json.dumps(fields).encode() + b"\n" + (clip.audio or b""))

    def drop(self, keys: list[str]) -> None:
        """Forgets clips that lie in a finished shard."""
        for key in keys:
            (self.directory / key).unlink(missing_ok=True)
        if self.directory.is_dir() and not any(self.directory.iterdir()):
            self.directory.rmdir()
