"""Speech Accent Archive: one English paragraph read by speakers of 122 languages."""

import csv
from dataclasses import dataclass
from typing import ClassVar

from slvr.ingest.archives.evaluation_set import EvaluationSet
from slvr.ingest.archives.files import Files
from slvr.ingest.archives.selection import Sample, Selection, at_least
from slvr.ingest.download import RemoteFile

FEWEST = 2
N_ROWS = 2_172


@dataclass(frozen=True)
class Accents(EvaluationSet):
    """Ingests the Speech Accent Archive; labels are the native languages of two speakers or more.

    A clip that its list calls missing is not asked for.
    """

    NAME: ClassVar[str] = "accents"
    LICENCE: ClassVar[str] = "CC-BY-NC-SA-2.0"
    CITATION: ClassVar[str] = "Weinberger, Speech Accent Archive, George Mason University, 2015"
    HOMEPAGE: ClassVar[str] = "https://www.kaggle.com/datasets/rtatman/speech-accent-archive"
    ARCHIVES: ClassVar[tuple[RemoteFile, ...]] = (
        RemoteFile(
            "speech-accent-archive.zip",
            ("https://www.kaggle.com/api/v1/datasets/download/rtatman/speech-accent-archive",),
        ),
    )
    SIZE_BYTES: ClassVar[int] = 900_000_000
    MEMBER: ClassVar[str] = r"recordings/[^/]+\.mp3"
    NOMINAL_S: ClassVar[float] = 27.0
    N_CLIPS: ClassVar[int] = 2_060
    N_CLASSES: ClassVar[int] = 122

    def samples(self, files: Files) -> Selection:
        """The rows of speakers_all.csv whose recording is there."""
        rows = list(csv.DictReader(files.text("speakers_all.csv").splitlines()))
        there = [row for row in rows if row["file_missing?"] == "FALSE"]
        kept = at_least(
            (
                Sample(
                    f"recordings/{row['filename']}.mp3",
                    row["filename"],
                    row["native_language"],
                    attributes={"speaker": row["speakerid"]} if row["speakerid"] else {},
                )
                for row in there
            ),
            FEWEST,
        )
        return Selection(
            kept,
            (
                f"{len(rows) - len(there)} of {len(rows)} recordings are missing in the archive; "
                f"{len(there) - len(kept)} languages with one speaker are left out",
            ),
        )
