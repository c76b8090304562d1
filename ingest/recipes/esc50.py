"""ESC-50: environmental sounds, 50 classes of 40 clips of 5 s."""

import csv
from dataclasses import dataclass
from typing import ClassVar

from slvr.ingest.archives.evaluation_set import EvaluationSet
from slvr.ingest.archives.files import Files
from slvr.ingest.archives.selection import Sample, Selection, stem
from slvr.ingest.download import RemoteFile

COMMIT = "33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6"


@dataclass(frozen=True)
class ESC50(EvaluationSet):
    """Ingests ESC-50 (environmental sounds); labels are the categories of its csv."""

    NAME: ClassVar[str] = "esc50"
    LICENCE: ClassVar[str] = "CC-BY-NC-3.0"
    CITATION: ClassVar[str] = "Piczak, ESC: Dataset for environmental sound classification, 2015"
    HOMEPAGE: ClassVar[str] = "https://github.com/karolpiczak/ESC-50"
    ARCHIVES: ClassVar[tuple[RemoteFile, ...]] = (
        RemoteFile(
            "ESC-50.zip",
            (f"https://github.com/karolpiczak/ESC-50/archive/{COMMIT}.zip",),
            "sha256:661183a6f53ef04f12c9bd618fed0ddc1713280d6c94a5a5431e844ba6f6a21f",
            645_832_161,
            varies=True,
        ),
    )
    SIZE_BYTES: ClassVar[int] = 645_832_161
    MEMBER: ClassVar[str] = r"audio/[1-5]-\d+-[A-Z]-\d+\.wav"
    NOMINAL_S: ClassVar[float] = 5.0
    N_CLIPS: ClassVar[int] = 2_000
    N_CLASSES: ClassVar[int] = 50
    CLASS_SPLITS: ClassVar[tuple[str, str] | None] = ("esc", "6e93a875f8ed172a5c0974e8fb8e06ce")

    def samples(self, files: Files) -> Selection:
        """The rows of meta/esc50.csv; the names shown on the set's page are others."""
        rows = csv.DictReader(files.text("meta/esc50.csv").splitlines())
        return Selection(
            [
                Sample(
                    f"audio/{row['filename']}",
                    stem(row["filename"]),
                    row["category"],
                    attributes={
                        "fold": int(row["fold"]),
                        "take": row["take"],
                        "src_file": row["src_file"],  # Freesound's id
                    },
                )
                for row in rows
            ]
        )
