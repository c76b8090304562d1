"""The files of a set, wherever its archives or folders put them."""

import functools
import re
from threading import Lock

from slvr.ingest.archives.find import open_volume
from slvr.ingest.archives.volume import Volume
from slvr.ingest.decode import declared_duration_s, decoded_clip
from slvr.ingest.measure import durations_s
from slvr.ingest.names import printable
from slvr.shards.clip import Clip

LFS_POINTER = "version https://git-lfs.github.com/spec/"
"""What a clone without Git LFS holds in place of each large file begins with this."""


class Files:
    """The files of a set, wherever its archives or folders put them."""

    def __init__(self, volumes: tuple[Volume, ...], member: str) -> None:
        pattern = re.compile(rf"(?:.*/)?({member})", re.DOTALL)
        self.audio: dict[str, tuple[Volume, str]] = {}
        """Path below the set's top folder -> where it is."""
        self._others: list[tuple[Volume, str]] = []
        self._volumes, self._member = volumes, member
        self._one_thread = Lock()
        for volume in volumes:
            for name in open_volume(volume).names():
                if re.search(r"(?:^|/)(?:\._|__MACOSX/)", name):
                    continue  # resource forks of macOS, named like the files themselves
                if (match := pattern.fullmatch(name)) is None:
                    self._others.append((volume, name))
                    continue
                place = self.audio.setdefault(printable(match[1]), (volume, name))
                if place != (volume, name):
                    raise ValueError(
                        f"{match[1]} is in {place[0]} ({place[1]}) and in {volume} ({name}); leave "
                        "one of them there"
                    )

    @property
    def others(self) -> list[str]:
        """Paths of the files that are no clips."""
        return [name for _, name in self._others]

    def read(self, uri: str) -> bytes:
        """The content of an audio file.

        Raises:
            KeyError: there is no such file.
            ValueError: its archive is damaged there.
        """
        volume, name = self.audio[uri]
        with self._one_thread:
            return open_volume(volume).read(name)

    def text(self, tail: str) -> str:
        """The content of the one other file whose path ends with `tail`.

        Raises:
            ValueError: there is none or more than one, or it is no UTF-8.
        """
        found = [(volume, name) for volume, name in self._others if f"/{name}".endswith(f"/{tail}")]
        if len(found) != 1:
            where = "; ".join(f"{volume} ({name})" for volume, name in found) or "none"
            raise ValueError(f"expected one file {tail}, found {where}")
        volume, name = found[0]
        try:
            text = open_volume(volume).read(name).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{volume}: {name} is no UTF-8 text ({error})") from error
        if text.startswith(LFS_POINTER):
            raise ValueError(
                f"{volume}: {name} is a Git LFS pointer in place of the file; run `git lfs pull` "
                "in the clone, or fetch the archive from its official place"
            )
        return text

    def durations_s(self, label: str) -> dict[str, float | None]:
        """Duration of every audio file, None for one that cannot be read."""
        uris = tuple(self.audio)
        measure = functools.partial(_duration_s, self._volumes, self._member)
        return dict(zip(uris, durations_s(label, uris, measure), strict=True))


def _duration_s(volumes: tuple[Volume, ...], member: str, uri: str) -> float | None:
    return declared_duration_s(open_files(volumes, member).read(uri))


def decoded_member(
    volumes: tuple[Volume, ...], member: str, clip: Clip, uri: str, codec: str
) -> Clip:
    """The planned clip with the audio of a file of these volumes, or as a failure."""
    try:
        content = open_files(volumes, member).read(uri)
    except KeyError:
        return clip.failed("missing", "no_file", uri)
    except ValueError as error:
        return clip.failed("corrupt", "damaged_archive", str(error))
    return decoded_clip(clip, content, codec, max_s=3600.0)


@functools.cache
def open_files(volumes: tuple[Volume, ...], member: str) -> Files:
    """The files of some volumes; a process lists them once."""
    return Files(volumes, member)
