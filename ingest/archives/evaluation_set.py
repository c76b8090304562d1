"""What the evaluation sets share: archives found or fetched, a plan from names, one clip decoded.

A set is one subclass in ingest/recipes/: constants, and `samples`, the rule that says which file
is a clip of which class. Start from ingest/recipes/_template.py.
"""

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from slvr.command.line import sentence
from slvr.ingest.archives.class_splits import ClassSplits, download_class_splits, read_json
from slvr.ingest.archives.files import Files, decoded_member, open_files
from slvr.ingest.archives.find import find_volumes
from slvr.ingest.archives.selection import Sample, Selection
from slvr.ingest.archives.volume import Volume
from slvr.ingest.download import PATIENT, QUICK, RemoteFile, download
from slvr.ingest.expected import Expected
from slvr.ingest.recipe import ClipPlan
from slvr.shards.clip import SAMPLE_RATE_HZ, Clip, Source, key_of


@dataclass(frozen=True)
class EvaluationSet(ABC):
    """A labelled set in archives."""

    NAME: ClassVar[str]
    VERSION: ClassVar[str] = "1"
    LICENCE: ClassVar[str]
    CITATION: ClassVar[str]
    HOMEPAGE: ClassVar[str]
    ONLINE: ClassVar[bool] = False
    MAX_FAIL: ClassVar[float] = 0.01
    RETRY_OPTIONS: ClassVar[tuple[str, ...]] = ()
    ARCHIVES: ClassVar[tuple[RemoteFile, ...]] = ()
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

    def plan(self, cache: Path) -> ClipPlan:
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
        splits, without = self._class_splits(cache)
        digest = hashlib.sha256(json.dumps(splits).encode()).hexdigest()
        private = {"source", "split_file", "_volumes"}
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return ClipPlan(
            clips=tuple(
                self._planned(sample) for sample in sorted(selection.samples, key=lambda s: s.key)
            ),
            labels={
                label: label.replace("_", " ")
                for label in sorted({sample.label for sample in selection.samples})
            },
            options={k: v for k, v in options.items() if k not in private}
            | ({"class_splits_sha256": digest} if splits else {}),
            notes=(*notes, *without, *selection.notes),
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
        notes = download(self.ARCHIVES, here, self.SIZE_BYTES, instead=self._by_hand())
        return find_volumes(here, indices), notes

    def _by_hand(self) -> str:
        how = self.HOW_TO_GET or f"get the archives from {self.HOMEPAGE}"
        return f"{how}; then run: ingest {self.NAME} --source FOLDER_OF_THE_ARCHIVES"

    def _check_content(self, selection: Selection, files: Files) -> None:
        """Where a checksum says nothing, the number of clips and their files must be right."""
        fetched = self.source is None and any(archive.varies for archive in self.ARCHIVES)
        n_there = sum(sample.uri in files.audio for sample in selection.samples)
        if fetched and not n_there == len(selection.samples) == self.N_CLIPS:
            raise ValueError(
                f"{files.audio and next(iter(files.audio.values()))[0]}: holds {n_there} of "
                f"{self.N_CLIPS} clips; remove it to fetch it again"
            )

    def _class_splits(self, cache: Path) -> tuple[ClassSplits, list[str]]:
        """The class lists, and a note where they could not be had.

        Nothing is made of them but an entry of the manifest, so that a set that is on this disk
        needs no network: one look, and it goes on without.
        """
        if self.split_file is not None:
            return read_json(Path(self.split_file)), []
        if self.CLASS_SPLITS is None:
            return {}, []
        folder = cache / "class_splits"
        patience = PATIENT if self.source is None else QUICK
        try:
            return download_class_splits(*self.CLASS_SPLITS, folder, patience), []
        except OSError as error:
            if self.source is None:
                raise
            return {}, [f"ingested without the benchmark's class lists: {sentence(error)}"]

    def _planned(self, sample: Sample) -> Clip:
        seconds = self.NOMINAL_S if sample.duration_s is None else sample.duration_s
        return Clip(
            key=key_of(sample.key),
            split="eval",
            source=Source(sample.uri),
            labels=(sample.label,),
            attributes=sample.attributes,
            licence=sample.licence or self.LICENCE,
            n_samples=round(seconds * SAMPLE_RATE_HZ),
        )

    def make(self, clip: Clip, codec: str) -> Clip:
        """Decodes one file."""
        return decoded_member(self._volumes, self.MEMBER, clip, clip.source.uri, codec)
