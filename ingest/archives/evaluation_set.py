"""What the evaluation sets share: archives found or fetched, a plan from names, one clip decoded.

A set is one subclass in ingest/recipes/: constants, and `samples`, the rule that says which file
is a clip of which class. Start from ingest/recipes/_template.py.
"""

import dataclasses
import functools
import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import ClassVar

from slvr.command.progress import track
from slvr.ingest.archives.archive import Volume, find_volumes, open_volume
from slvr.ingest.archives.class_splits import ClassSplits, fetch_class_splits, read_json
from slvr.ingest.decode import declared_duration_s, decoded_clip
from slvr.ingest.download import Remote, fetch
from slvr.ingest.expected import Expected
from slvr.ingest.recipe import Plan
from slvr.shards.clip import SAMPLE_RATE_HZ, Clip, Source, key_of


@dataclass(frozen=True)
class Sample:
    """A file that is to become a clip.

    Attributes:
        uri: its path below the set's own top folder, as it matches `MEMBER`.
        key: of the clip.
        label: its class.
        licence: its own, where each clip has one.
        duration_s: where it was measured.
    """

    uri: str
    key: str
    label: str
    licence: str = ""
    duration_s: float | None = None


@dataclass(frozen=True)
class Selection:
    """The samples of a set, and what the user should know about those left out."""

    samples: list[Sample]
    notes: tuple[str, ...] = ()


class Files:
    """The files of a set, wherever its archives or folders put them."""

    def __init__(self, volumes: tuple[Volume, ...], member: str) -> None:
        pattern = re.compile(rf"(?:.*/)?({member})", re.DOTALL)
        self.audio: dict[str, tuple[Volume, str]] = {}
        """Path below the set's top folder -> where it is."""
        self._others: list[tuple[Volume, str]] = []
        self._one_thread = Lock()
        for volume in volumes:
            for name in open_volume(volume).names():
                if re.search(r"(?:^|/)(?:\._|__MACOSX/)", name):
                    continue  # resource forks of macOS, named like the files themselves
                if (match := pattern.fullmatch(name)) is None:
                    self._others.append((volume, name))
                    continue
                place = self.audio.setdefault(_printable(match[1]), (volume, name))
                if place != (volume, name):
                    raise ValueError(
                        f"{match[1]} is in {place[0]} ({place[1]}) and in {volume} ({name}); leave "
                        "one of them there"
                    )

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
            return open_volume(volume).read(name).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{volume}: {name} is no UTF-8 text ({error})") from error

    def durations_s(self, label: str) -> dict[str, float | None]:
        """Duration of every audio file, None for one that cannot be read."""

        def measure(uri: str) -> float | None:
            try:
                return declared_duration_s(self.read(uri))
            except ValueError:
                return None

        with ThreadPoolExecutor() as pool, track(label, len(self.audio), "files") as progress:
            measured = {}
            for uri, duration_s in zip(self.audio, pool.map(measure, self.audio), strict=True):
                measured[uri] = duration_s
                progress.advance()
        return measured


def _printable(name: str) -> str:
    r"""The name with bytes that are no UTF-8 as \xNN."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@functools.cache
def open_files(volumes: tuple[Volume, ...], member: str) -> Files:
    """The files of some volumes; a process lists them once."""
    return Files(volumes, member)


def at_least(samples: Iterable[Sample], n: int) -> list[Sample]:
    """The samples whose class has n or more of them."""
    listed = list(samples)
    counts = Counter(sample.label for sample in listed)
    return [sample for sample in listed if counts[sample.label] >= n]


def stem(uri: str) -> str:
    """The file name without folder and ending."""
    return PurePosixPath(uri).stem


def folder(uri: str) -> str:
    """The name of the file's folder."""
    return PurePosixPath(uri).parent.name


@dataclass(frozen=True)
class EvaluationSet(ABC):
    """A labelled set in archives."""

    NAME: ClassVar[str]
    VERSION: ClassVar[str] = "1"
    LICENCE: ClassVar[str]
    CITATION: ClassVar[str]
    HOMEPAGE: ClassVar[str]
    REMOTE: ClassVar[bool] = False
    MAX_FAIL: ClassVar[float] = 0.01
    ARCHIVES: ClassVar[tuple[Remote, ...]] = ()
    """What is fetched; nothing where a login is needed."""
    SIZE_BYTES: ClassVar[int]
    """Of the archives, roughly."""
    HOW_TO_GET: ClassVar[str] = ""
    """Where to get which files by hand."""
    MEMBER: ClassVar[str]
    """Regular expression of an audio file's path below the set's top folder."""
    NOMINAL_S: ClassVar[float]
    """Usual length of a clip."""
    N_CLIPS: ClassVar[int]
    N_CLASSES: ClassVar[int]
    PER_CLASS: ClassVar[Mapping[str, int]] = {}
    KNOWN_DIFFERENCE: ClassVar[str] = ""
    CLASS_SPLITS: ClassVar[tuple[str, str] | None] = None
    """Name and MD5 of the benchmark's class lists, where it holds classes out."""

    source: str | None = None
    """Archive, folder of archives or unpacked tree; default: fetched where that is possible."""
    split_file: str | None = None
    """JSON with the class lists `train`, `val` and `test` in place of the benchmark's."""
    _volumes: tuple[Volume, ...] = field(init=False, repr=False, compare=False, default=())

    @property
    def directory(self) -> str:
        """Name of the shard directory if none is given."""
        return self.NAME

    @abstractmethod
    def samples(self, files: Files) -> Selection:
        """The clips of the benchmark among the files.

        Raises:
            ValueError: the files are not those of the set.
        """

    def plan(self, cache: Path) -> Plan:
        """Finds or fetches the archives and selects the clips."""
        volumes, notes = self._find(cache)
        object.__setattr__(self, "_volumes", volumes)  # the workers open them too
        files = open_files(volumes, self.MEMBER)
        if not files.audio:
            where = ", ".join(str(volume) for volume in volumes)
            raise ValueError(
                f"{where}: no audio file of {self.NAME}, expected paths that end like "
                f"{self.MEMBER}; {self._by_hand()}"
            )
        selection = self.samples(files)
        self._check_content(selection, files)
        splits = self._class_splits(cache)
        digest = hashlib.sha256(json.dumps(splits).encode()).hexdigest()
        private = {"source", "split_file", "_volumes"}
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return Plan(
            clips=tuple(
                self._planned(sample) for sample in sorted(selection.samples, key=lambda s: s.key)
            ),
            labels={
                label: label.replace("_", " ")
                for label in sorted({sample.label for sample in selection.samples})
            },
            options={k: v for k, v in options.items() if k not in private}
            | ({"class_splits_sha256": digest} if splits else {}),
            notes=(*notes, *selection.notes),
            extra={"class_splits": splits} if splits else {},
            expected=Expected(
                *(self.N_CLIPS, self.N_CLASSES, self.KNOWN_DIFFERENCE, self.PER_CLASS),
                classes=frozenset(c for part in splits.values() for c in part),
            ),
        )

    def _find(self, cache: Path) -> tuple[tuple[Volume, ...], list[str]]:
        indices = cache / "indices"
        if self.source is not None:
            return find_volumes(Path(self.source), indices), []
        here = cache / "archives" / self.NAME
        if not self.ARCHIVES:
            if not here.is_dir() or not any(here.iterdir()):
                raise ValueError(f"{self.NAME} cannot be fetched by itself: {self._by_hand()}")
            return find_volumes(here, indices), []
        try:
            notes = fetch(self.ARCHIVES, here, self.SIZE_BYTES)
        except OSError as error:
            raise OSError(f"{error}; {self._by_hand()}") from error
        return find_volumes(here, indices), notes

    def _by_hand(self) -> str:
        how = self.HOW_TO_GET or f"get the archives from {self.HOMEPAGE}"
        return f"{how}; then run: ingest {self.NAME} --source FOLDER_OF_THE_ARCHIVES"

    def _check_content(self, selection: Selection, files: Files) -> None:
        """Where a checksum says nothing, the number of clips and their files must be right."""
        fetched = self.source is None and any(remote.varies for remote in self.ARCHIVES)
        n_there = sum(sample.uri in files.audio for sample in selection.samples)
        if fetched and not n_there == len(selection.samples) == self.N_CLIPS:
            raise ValueError(
                f"{files.audio and next(iter(files.audio.values()))[0]}: holds {n_there} of "
                f"{self.N_CLIPS} clips; remove it to fetch it again"
            )

    def _class_splits(self, cache: Path) -> ClassSplits:
        if self.split_file is not None:
            return read_json(Path(self.split_file))
        if self.CLASS_SPLITS is None:
            return {}
        return fetch_class_splits(*self.CLASS_SPLITS, cache / "class_splits")

    def _planned(self, sample: Sample) -> Clip:
        seconds = self.NOMINAL_S if sample.duration_s is None else sample.duration_s
        return Clip(
            key=key_of(sample.key),
            split="eval",
            source=Source(sample.uri),
            labels=(sample.label,),
            licence=sample.licence or self.LICENCE,
            n_samples=round(seconds * SAMPLE_RATE_HZ),
        )

    def make(self, clip: Clip, codec: str) -> Clip:
        """Decodes one file."""
        try:
            content = open_files(self._volumes, self.MEMBER).read(clip.source.uri)
        except KeyError:
            return clip.failed("missing", "no_file", clip.source.uri)
        except ValueError as error:
            return clip.failed("corrupt", "damaged_archive", str(error))
        return decoded_clip(clip, content, codec, max_s=3600.0)
