"""A task of the HEAR benchmark: as its kit prepares it, or from the original data set."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from slvr.ingest.archives.files import decoded_member, open_files
from slvr.ingest.archives.find import find_volumes
from slvr.ingest.archives.volume import Volume
from slvr.ingest.download import download
from slvr.ingest.hear.original import Original
from slvr.ingest.hear.prepared import MEMBER, plan_of
from slvr.ingest.recipe import ClipPlan
from slvr.ingest.recipes.hear_originals import ALIASES, ORIGINALS
from slvr.shards.audio import decode, with_audio
from slvr.shards.clip import OK, Clip

PREPARED = "https://zenodo.org/records/6332517"
"""Tarballs of all public tasks, of 48 kHz."""


@dataclass(frozen=True)
class Hear:
    """Ingests a task of the HEAR benchmark: scenes or sound events, prepared or made here."""

    NAME: ClassVar[str] = "hear"
    VERSION: ClassVar[str] = "1"
    LICENCE: ClassVar[str] = "each data set's own"
    CITATION: ClassVar[str] = (
        "Turian et al., HEAR: Holistic evaluation of audio representations, PMLR 2022"
    )
    HOMEPAGE: ClassVar[str] = "https://hearbenchmark.com"
    ONLINE: ClassVar[bool] = False
    MAX_FAIL: ClassVar[float] = 0.01
    RETRY_OPTIONS: ClassVar[tuple[str, ...]] = ()

    task: str
    """Folder or tarball of a task as HEAR's kit prepares it, or the name of one that is made here:
    speech_commands, speech_commands-5h, speech_commands-35, nsynth_pitch, nsynth_pitch-5h,
    dcase2016_task2."""
    source: str | None = None
    """For a name: folder of the data set's archives or of what is in them; default: fetched."""
    _parts: tuple[tuple[str, tuple[Volume, ...]], ...] = field(
        init=False, repr=False, compare=False, default=()
    )
    _name: str = field(init=False, repr=False, compare=False, default="")

    @property
    def directory(self) -> str:
        """Name of the shard directory if none is given."""
        return self._name or self.NAME

    def plan(self, cache: Path) -> ClipPlan:
        """The clips of the task, by its lists or by the rules of the kit."""
        name = ALIASES.get(self.task, self.task)
        if name in ORIGINALS:
            return self._made(name, ORIGINALS[name], cache)
        path = Path(self.task)
        if not path.exists():
            raise ValueError(
                f"{self.task}: neither a folder or tarball of a prepared task nor a name of those "
                f"that are made here ({', '.join(ALIASES)}); tarballs of all tasks are at "
                f"{PREPARED}: fetch hear2021-<task>-48000.tar.gz and give its path"
            )
        if self.source is not None:
            raise ValueError(
                f"--source {self.source}: {self.task} is a prepared task, which holds its audio; "
                f"leave out --source, or give a name ({', '.join(ALIASES)})"
            )
        volumes = find_volumes(path, cache / "indices")
        plan = plan_of(open_files(volumes, MEMBER), self.LICENCE)
        self._remember(str(plan.options["task"]), {"": volumes})
        return plan

    def _made(self, name: str, original: Original, cache: Path) -> ClipPlan:
        notes: list[str] = []
        home = Path(self.source or cache / "archives" / original.home)
        if self.source is None:
            notes = download(list(original.archives.values()), home, instead=_by_hand(name))
        volumes = {
            f"{part}/": find_volumes(_place(home, part, archive.name, name), cache / "indices")
            for part, archive in original.archives.items()
        }
        self._remember(name, volumes)
        parts = {p.rstrip("/"): open_files(found, original.member) for p, found in volumes.items()}
        for part, files in parts.items():
            if not files.audio:
                raise ValueError(f"{home}: no audio file of {part} is there; {_by_hand(name)}")
        plan = original.plan(name, parts)
        return dataclasses.replace(plan, notes=(*notes, *plan.notes))

    def _remember(self, name: str, parts: dict[str, tuple[Volume, ...]]) -> None:
        """What the workers need: where each part is."""
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_parts", tuple(parts.items()))

    def make(self, clip: Clip, codec: str) -> Clip:
        """Decodes one file; a task that is made here has clips of one length, as the kit's."""
        original = ORIGINALS.get(self._name) if self._parts[0][0] else None
        member = MEMBER if original is None else original.member
        uri = clip.source.uri
        part, volumes = next(each for each in self._parts if uri.startswith(each[0]))
        made = decoded_member(volumes, member, clip, uri.removeprefix(part), codec)
        if original is None or original.length_s is None or made.status != OK:
            return made
        return _of_length(made, clip.n_samples, codec)


def _place(home: Path, part: str, archive: str, name: str) -> Path:
    """The archive of a part, or the folder of what is in it.

    Raises:
        ValueError: neither is there.
    """
    for path in (home / archive, home / part):
        if path.exists():
            return path
    raise ValueError(f"{home}: neither {archive} nor a folder {part} is there; {_by_hand(name)}")


def _by_hand(name: str) -> str:
    archives = ORIGINALS[name].archives.values()
    places = " and ".join(archive.urls[0] for archive in archives)
    return f"fetch {places} into one folder; then run: ingest hear {name} --source FOLDER"


def _of_length(clip: Clip, n_samples: int, codec: str) -> Clip:
    """The clip cut, or filled up with silence at its end."""
    assert clip.audio is not None
    pcm = decode(clip.audio)
    if len(pcm) == n_samples:
        return clip
    fitted = np.pad(pcm[:n_samples], (0, max(0, n_samples - len(pcm))))
    return with_audio(clip, fitted, codec)
