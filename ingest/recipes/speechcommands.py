"""Speech Commands, version 2: 35 spoken words."""

from dataclasses import dataclass
from typing import ClassVar

from slvr.ingest.archives.evaluation_set import EvaluationSet
from slvr.ingest.archives.files import Files
from slvr.ingest.archives.selection import Sample, Selection, folder, stem
from slvr.ingest.download import RemoteFile

ARCHIVE = "speech_commands_v0.02.tar.gz"


@dataclass(frozen=True)
class SpeechCommands(EvaluationSet):
    """Ingests Speech Commands v2 (spoken words), without its background noises."""

    NAME: ClassVar[str] = "speechcommands"
    LICENCE: ClassVar[str] = "CC-BY-4.0"
    CITATION: ClassVar[str] = (
        "Warden, Speech Commands: A dataset for limited-vocabulary speech recognition, 2018"
    )
    HOMEPAGE: ClassVar[str] = "https://arxiv.org/abs/1804.03209"
    ARCHIVES: ClassVar[tuple[RemoteFile, ...]] = (
        RemoteFile(
            ARCHIVE,
            (
                f"https://storage.googleapis.com/download.tensorflow.org/data/{ARCHIVE}",
                f"http://download.tensorflow.org/data/{ARCHIVE}",
            ),
            "sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
            2_428_923_189,
        ),
    )
    SIZE_BYTES: ClassVar[int] = 2_428_923_189
    MEMBER: ClassVar[str] = r"[a-z]+/[0-9a-f]{8}_nohash_\d+\.wav"
    NOMINAL_S: ClassVar[float] = 1.0
    N_CLIPS: ClassVar[int] = 105_829
    N_CLASSES: ClassVar[int] = 35

    def samples(self, files: Files) -> Selection:
        """Every word; `<word>/<speaker>_nohash_<n>.wav` repeats in other words: keys hold it."""
        return Selection(
            [
                Sample(
                    uri,
                    f"{folder(uri)}_{stem(uri)}",
                    folder(uri),
                    attributes={"speaker": stem(uri).partition("_")[0]},
                )
                for uri in files.audio
            ]
        )
