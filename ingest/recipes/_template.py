"""NAME OF THE SET: what is in it, in one line. Copy this file and register the class."""

from dataclasses import dataclass
from typing import ClassVar

from slvr.ingest.archives.evaluation_set import EvaluationSet
from slvr.ingest.archives.files import Files
from slvr.ingest.archives.selection import Sample, Selection, folder, stem
from slvr.ingest.download import RemoteFile


@dataclass(frozen=True)
class Template(EvaluationSet):
    """Ingests NAME OF THE SET; this line is the help of `ingest template`."""

    NAME: ClassVar[str] = "template"
    LICENCE: ClassVar[str] = "CC-BY-4.0"
    CITATION: ClassVar[str] = "Authors, Title, Venue, Year"
    HOMEPAGE: ClassVar[str] = "https://example.org/set"
    ARCHIVES: ClassVar[tuple[RemoteFile, ...]] = (
        RemoteFile("set.zip", ("https://example.org/set.zip",), f"sha256:{'0' * 64}", 1_000),
    )
    SIZE_BYTES: ClassVar[int] = 1_000
    MEMBER: ClassVar[str] = r"audio/[^/]+/[^/]+\.wav"
    NOMINAL_S: ClassVar[float] = 5.0
    N_CLIPS: ClassVar[int] = 4
    N_CLASSES: ClassVar[int] = 2

    def samples(self, files: Files) -> Selection:
        """The rule: which file is a clip, of which class, under which key."""
        return Selection(
            [Sample(uri, f"{folder(uri)}_{stem(uri)}", folder(uri)) for uri in files.audio]
        )
