"""CREMA-D: twelve sentences acted in six emotions."""

from dataclasses import dataclass
from typing import ClassVar

from slvr.ingest.archives.evaluation_set import EvaluationSet
from slvr.ingest.archives.files import Files
from slvr.ingest.archives.selection import Sample, Selection, stem
from slvr.ingest.download import RemoteFile

GITLAB = "https://gitlab.com/cs-cooper-lab/crema-d-mirror/-/archive/master/"


@dataclass(frozen=True)
class CREMAD(EvaluationSet):
    """Ingests CREMA-D (acted emotions); labels are the emotions' codes."""

    NAME: ClassVar[str] = "cremad"
    LICENCE: ClassVar[str] = "ODbL-1.0, contents DbCL-1.0"
    CITATION: ClassVar[str] = (
        "Cao et al., CREMA-D: Crowd-sourced emotional multimodal actors dataset, 2014"
    )
    HOMEPAGE: ClassVar[str] = "https://github.com/CheyneyComputerScience/CREMA-D"
    ARCHIVES: ClassVar[tuple[RemoteFile, ...]] = (
        RemoteFile(
            "crema-d.zip",
            (
                "https://www.kaggle.com/api/v1/datasets/download/ejlok1/cremad",
                f"{GITLAB}crema-d-mirror-master.zip?path=AudioWAV",
            ),
        ),
    )
    SIZE_BYTES: ClassVar[int] = 607_000_000
    HOW_TO_GET: ClassVar[str] = f"clone {HOMEPAGE} with git lfs"
    MEMBER: ClassVar[str] = r"\d{4}_[A-Z]{3}_(?:ANG|DIS|FEA|HAP|NEU|SAD)_(?:XX?|LO|MD|HI)\.wav"
    NOMINAL_S: ClassVar[float] = 2.5
    N_CLIPS: ClassVar[int] = 7_442
    N_CLASSES: ClassVar[int] = 6
    PER_CLASS: ClassVar[dict[str, int]] = {
        **dict.fromkeys(("ANG", "DIS", "FEA", "HAP", "SAD"), 1_271),
        "NEU": 1_087,
    }
    KNOWN_DIFFERENCE: ClassVar[str] = (
        "1076_MTI_SAD_XX is silent, and 1076_MTI_NEU_XX and 1064_TIE_SAD_XX cannot be played"
    )

    def samples(self, files: Files) -> Selection:
        """Every file: `<actor>_<sentence>_<emotion>_<level>.wav`."""
        # old copies call the level XX of one file X; new ones may hold it under both names
        uris = {
            stem(uri).removesuffix("_X") + ("_XX" * stem(uri).endswith("_X")): uri
            for uri in sorted(files.audio)
        }
        return Selection([_sample(uri, key) for key, uri in uris.items()])


def _sample(uri: str, key: str) -> Sample:
    actor, sentence, emotion, level = key.split("_")
    attributes = {"speaker": actor, "sentence": sentence, "level": level}
    return Sample(uri, key, emotion, attributes=attributes)
