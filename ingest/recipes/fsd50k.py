"""FSD50K: Freesound clips with AudioSet labels, several a clip, in official splits."""

import csv
import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from slvr.ingest.archives.files import Files, decoded_member, open_files
from slvr.ingest.archives.find import find_volumes
from slvr.ingest.archives.selection import stem
from slvr.ingest.archives.volume import Volume
from slvr.ingest.download import RemoteFile, checksum_fault, download
from slvr.ingest.recipe import ClipPlan
from slvr.shards.clip import SAMPLE_RATE_HZ, Clip, Source

RECORD = "https://zenodo.org/records/4060432"
PART_BYTES = 3_221_225_472
PARTS = {
    "FSD50K.dev_audio.z01": ("faa7cf4cc076fc34a44a479a5ed862a3", PART_BYTES),
    "FSD50K.dev_audio.z02": ("8f9b66153e68571164fb1315d00bc7bc", PART_BYTES),
    "FSD50K.dev_audio.z03": ("1196ef47d267a993d30fa98af54b7159", PART_BYTES),
    "FSD50K.dev_audio.z04": ("d088ac4e11ba53daf9f7574c11cccac9", PART_BYTES),
    "FSD50K.dev_audio.z05": ("81356521aa159accd3c35de22da28c7f", PART_BYTES),
    "FSD50K.dev_audio.zip": ("c480d119b8f7a7e32fdb58f3ea4d6c5a", 2_306_663_327),
    "FSD50K.eval_audio.z01": ("3090670eaeecc013ca1ff84fe4442aeb", PART_BYTES),
    "FSD50K.eval_audio.zip": ("6fa47636c3a3ad5c7dfeba99f2637982", 3_037_675_767),
    "FSD50K.ground_truth.zip": ("ca27382c195e37d2269c4c866dd73485", 334_701),
    "FSD50K.metadata.zip": ("b9ea0c829a411c1d42adb9da539ed237", 6_700_838),
}
"""File of the record -> its MD5 and size; the audio is in zips of several parts."""
MTSLVR_URL = (
    "https://raw.githubusercontent.com/CHeggan/MT-SLVR/"
    "13b49c20b231fe2773e5d12060918f022688d972/MT-SLVR/Dataset_/FSD50K/"
)
MTSLVR = {
    "train": ("FSD50k_train_files.npy", "1401d79c6908dee1b001c1d6d0d682bf"),
    "validation": ("FSD50k_val_files.npy", "631ad74427e09e94eef560b25b78e7d9"),
}
"""Side of MT-SLVR -> numpy array of Freesound ids: 36,796 and 4,170 of the development clips."""


@dataclass(frozen=True)
class FSD50K:
    """Ingests FSD50K (Freesound clips, several labels each) in its splits train, val and eval."""

    NAME: ClassVar[str] = "fsd50k"
    VERSION: ClassVar[str] = "1"
    LICENCE: ClassVar[str] = "CC-BY-4.0; each clip its own: CC0, CC-BY, CC-BY-NC or Sampling+"
    CITATION: ClassVar[str] = (
        "Fonseca et al., FSD50K: An open dataset of human-labeled sound events, TASLP 2022"
    )
    HOMEPAGE: ClassVar[str] = RECORD
    ONLINE: ClassVar[bool] = False
    MAX_FAIL: ClassVar[float] = 0.01
    RETRY_OPTIONS: ClassVar[tuple[str, ...]] = ()
    MEMBER: ClassVar[str] = r"FSD50K\.(?:dev|eval)_audio/\d+\.wav"
    NOMINAL_S: ClassVar[float] = 7.6
    N_CLIPS: ClassVar[int] = 51_197
    N_CLASSES: ClassVar[int] = 200
    SIZE_BYTES: ClassVar[int] = sum(n_bytes for _, n_bytes in PARTS.values())

    source: str | None = None
    """Folder of the record's files, as they are or unpacked; default: fetched, 25 GB."""
    subset: Literal["mtslvr"] | None = None
    """`mtslvr`: the 40,966 clips that MT-SLVR names, in its splits `train` and `validation`."""
    _volumes: tuple[Volume, ...] = field(init=False, repr=False, compare=False, default=())

    @property
    def directory(self) -> str:
        """Name of the shard directory if none is given."""
        return self.NAME if self.subset is None else f"{self.NAME}_{self.subset}"

    def plan(self, cache: Path) -> ClipPlan:
        """Every row of the official lists."""
        home = Path(self.source or cache / "archives" / self.NAME)
        notes: list[str] = []
        by_hand = f"fetch the files from {RECORD}; then run: ingest {self.NAME} --source FOLDER"
        if self.source is None:
            archives = [
                RemoteFile(name, (f"{RECORD}/files/{name}?download=1",), f"md5:{md5}", n_bytes)
                for name, (md5, n_bytes) in PARTS.items()
            ]
            notes = download(archives, home, instead=by_hand)
        volumes = find_volumes(home, cache / "indices")
        object.__setattr__(self, "_volumes", volumes)  # the workers open them too
        files = open_files(volumes, self.MEMBER)
        if not files.audio:
            raise ValueError(f"{home}: no audio file of FSD50K is there; {by_hand}")
        clips = list(_clips(files))
        labels = _vocabulary(files)
        strange = sorted({label for clip in clips for label in clip.labels} - set(labels))
        if strange:
            raise ValueError(
                f"label {strange[0]!r} of the lists is not in vocabulary.csv; fetch "
                "FSD50K.ground_truth.zip again"
            )
        if self.subset is not None:
            clips, of_subset = self._subset(clips, cache)
            notes += of_subset
        elif (n := len(clips)) != self.N_CLIPS:
            notes.append(f"the lists hold {n:,} clips, the official ones {self.N_CLIPS:,}")
        unlisted = len(files.audio) - len({clip.source.uri for clip in clips} & set(files.audio))
        if unlisted and self.subset is None:
            notes.append(f"{unlisted} audio files are in no list and left out")
        return ClipPlan(
            clips=tuple(clips),
            labels=labels,
            options={"subset": self.subset},
            notes=tuple(notes),
        )

    def _subset(self, clips: list[Clip], cache: Path) -> tuple[list[Clip], list[str]]:
        """The clips that MT-SLVR names, in its splits, and a sentence where the lists differ."""
        sides = mtslvr_sides(cache)
        absent = sorted(sides.keys() - {clip.source.id for clip in clips})
        if len(absent) == len(sides):
            raise ValueError("none of the clips that MT-SLVR names is in dev.csv and eval.csv")
        of_subset = [clip for clip in clips if clip.source.id in sides]
        official = {"train": "train", "val": "validation"}
        moved = sum(official.get(clip.split) != sides[clip.source.id] for clip in of_subset)
        taken = [dataclasses.replace(clip, split=sides[clip.source.id]) for clip in of_subset]
        notes = []
        if absent:
            notes.append(
                f"{len(absent)} of {len(sides)} clips that MT-SLVR names are in no list here, e.g. "
                f"{absent[0]}"
            )
        if moved:
            notes.append(f"{moved} clips are in another split there than in dev.csv")
        return taken, notes

    def make(self, clip: Clip, codec: str) -> Clip:
        """Decodes one file."""
        return decoded_member(self._volumes, self.MEMBER, clip, clip.source.uri, codec)


def mtslvr_sides(cache: Path) -> dict[str, str]:
    """Freesound id -> `train` or `validation`, of the clips that MT-SLVR names.

    Raises:
        ValueError: a list that was there already is not the published one.
        OSError: a list could not be fetched.
    """
    lists = {
        side: RemoteFile(name, (MTSLVR_URL + name,), f"md5:{md5}")
        for side, (name, md5) in MTSLVR.items()
    }
    download(list(lists.values()), cache, instead="leave out --subset")
    sides: dict[str, str] = {}
    for side, listed in lists.items():
        path = cache / listed.name
        if fault := checksum_fault(path, listed.checksum):
            raise ValueError(f"{path}: {fault}; remove the file to fetch it again")
        ids = np.load(path, allow_pickle=False)
        sides |= dict.fromkeys((str(int(freesound)) for freesound in ids), side)
    return sides


def _clips(files: Files) -> Iterator[Clip]:
    """A planned clip for each row of both lists, with its licence and who made it."""
    for part in ("dev", "eval"):
        about = _information(files, part)
        rows = csv.DictReader(files.text(f"{part}.csv").splitlines())
        if missing := {"fname", "labels"} - set(rows.fieldnames or ()):
            raise ValueError(f"{part}.csv: column {', '.join(sorted(missing))} is not there")
        for row in rows:
            freesound = stem(row["fname"] or "")
            known = about.get(freesound, {})
            named = {name: _text(known[name]) for name in ("uploader", "title") if known.get(name)}
            yield Clip(
                key=freesound,
                split=part if part == "eval" else row.get("split") or "train",
                source=Source(f"FSD50K.{part}_audio/{freesound}.wav", id=freesound),
                labels=tuple(label for label in (row["labels"] or "").split(",") if label),
                attributes=named,
                licence=_licence(_text(known.get("license", ""))),
                n_samples=round(FSD50K.NOMINAL_S * SAMPLE_RATE_HZ),
            )


def _information(files: Files, part: str) -> Mapping[str, Any]:
    name = f"{part}_clips_info_FSD50K.json"
    try:
        found = json.loads(files.text(name))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{name}: no JSON ({error}); fetch FSD50K.metadata.zip again") from error
    if not isinstance(found, dict):
        raise ValueError(f"{name}: expected an object, got {type(found).__name__}")
    return {key: about for key, about in found.items() if isinstance(about, dict)}


def _text(value: Any) -> str:
    """Text that a table can hold: half a character of JSON becomes a question mark."""
    return str(value).encode("utf-8", "replace").decode()


def _licence(url: str) -> str:
    """A Creative Commons licence's own name; other text as it is."""
    match = re.search(r"creativecommons\.org/(?:licenses|publicdomain)/([a-z+-]+)/([\d.]+)", url)
    if match is None:
        return url
    name = {"zero": "CC0", "sampling+": "CC-Sampling+"}.get(match[1], f"CC-{match[1].upper()}")
    return f"{name}-{match[2]}"


def _vocabulary(files: Files) -> dict[str, str]:
    """Label -> name for people, in the order of the index; the list may have a header."""
    rows = [row for row in csv.reader(files.text("vocabulary.csv").splitlines()) if row]
    named = [row for row in rows if row[0].strip().isdigit()]
    if not named or any(len(row) < 2 for row in named):
        raise ValueError("vocabulary.csv: expected rows of index, label and id")
    ordered = sorted(named, key=lambda row: int(row[0]))
    return {row[1]: row[1].replace("_", " ") for row in ordered}
