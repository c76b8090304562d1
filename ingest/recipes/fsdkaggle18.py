"""FSDKaggle2018: Freesound clips of 41 AudioSet classes."""

import csv
from dataclasses import dataclass
from typing import ClassVar

from slvr.ingest.archives.evaluation_set import EvaluationSet
from slvr.ingest.archives.files import Files
from slvr.ingest.archives.selection import Sample, Selection, stem
from slvr.ingest.download import RemoteFile

MD5 = {
    "FSDKaggle2018.audio_train.zip": "a8b47ff4b52022c178f88fa5c6f080d0",
    "FSDKaggle2018.audio_test.zip": "f85c8665c3fc39311ea1b748e194a81d",
    "FSDKaggle2018.meta.zip": "f16828ac8be0e5285b9175a12f90d784",
}
LISTS = {
    "FSDKaggle2018.audio_train": "train_post_competition.csv",
    "FSDKaggle2018.audio_test": "test_post_competition_scoring_clips.csv",
}
"""Folder -> the csv of its clips."""


@dataclass(frozen=True)
class FSDKaggle18(EvaluationSet):
    """Ingests FSDKaggle2018 (Freesound clips) in its release on Zenodo, not the competition's."""

    NAME: ClassVar[str] = "fsdkaggle18"
    LICENCE: ClassVar[str] = "each clip's own: CC0, CC-BY or CC-BY-NC"
    CITATION: ClassVar[str] = (
        "Fonseca et al., General-purpose tagging of Freesound audio with AudioSet labels, "
        "DCASE 2018"
    )
    HOMEPAGE: ClassVar[str] = "https://zenodo.org/records/2552860"
    ARCHIVES: ClassVar[tuple[RemoteFile, ...]] = tuple(
        RemoteFile(
            name, (f"https://zenodo.org/records/2552860/files/{name}?download=1",), f"md5:{md5}"
        )
        for name, md5 in MD5.items()
    )
    SIZE_BYTES: ClassVar[int] = 4_600_000_000
    MEMBER: ClassVar[str] = r"FSDKaggle2018\.audio_(?:train|test)/[0-9a-f]{8}\.wav"
    NOMINAL_S: ClassVar[float] = 6.5
    N_CLIPS: ClassVar[int] = 11_073
    N_CLASSES: ClassVar[int] = 41
    CLASS_SPLITS: ClassVar[tuple[str, str] | None] = (
        "kaggle",
        "c22cb2d4c4c5d9865f436a971b5a7daf",
    )

    def samples(self, files: Files) -> Selection:
        """The rows of both lists."""
        return Selection(
            [
                Sample(f"{folder}/{row['fname']}", stem(row["fname"]), row["label"], row["license"])
                for folder, name in LISTS.items()
                for row in csv.DictReader(files.text(name).splitlines())
            ]
        )
