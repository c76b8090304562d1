"""Watkins Marine Mammal Sound Database, best of cuts: 32 species."""

from dataclasses import dataclass
from typing import ClassVar

from slvr.ingest.archives.evaluation_set import EvaluationSet
from slvr.ingest.archives.files import Files
from slvr.ingest.archives.selection import Sample, Selection, folder, stem
from slvr.ingest.download import RemoteFile

LONGEST_S = 180.0


@dataclass(frozen=True)
class Watkins(EvaluationSet):
    """Ingests the Watkins marine mammal sounds; labels are the species, commas included."""

    NAME: ClassVar[str] = "watkins"
    LICENCE: ClassVar[str] = "personal or academic use, not commercial (WHOI)"
    CITATION: ClassVar[str] = (
        "Sayigh et al., The Watkins Marine Mammal Sound Database: An online, freely accessible "
        "resource, 2016"
    )
    HOMEPAGE: ClassVar[str] = "https://archive.org/details/watkins_202104"
    ARCHIVES: ClassVar[tuple[RemoteFile, ...]] = (
        RemoteFile(
            "watkins.zip",
            ("https://archive.org/download/watkins_202104/watkins.zip",),
            "md5:afef4877fb0b91c9952a68e436707179",
        ),
    )
    SIZE_BYTES: ClassVar[int] = 1_220_000_000
    MEMBER: ClassVar[str] = r"[^/]+/[^/]+\.wav"
    NOMINAL_S: ClassVar[float] = 5.0
    N_CLIPS: ClassVar[int] = 1_698
    N_CLASSES: ClassVar[int] = 32
    KNOWN_DIFFERENCE: ClassVar[str] = (
        "the archive holds 1,697 clips, of which 8 are longer than 180 s; the benchmark's table "
        "says 1,698"
    )

    def samples(self, files: Files) -> Selection:
        """The files of each species folder that are not too long."""
        seconds = files.durations_s(f"measure {self.NAME}")
        short = [uri for uri in files.audio if (seconds[uri] or 0.0) <= LONGEST_S]
        n_long = len(files.audio) - len(short)
        return Selection(
            [
                Sample(uri, f"{folder(uri)}_{stem(uri)}", folder(uri), duration_s=seconds[uri])
                for uri in short
            ],
            (f"{n_long} clips longer than {LONGEST_S:.0f} s are left out",) if n_long else (),
        )
