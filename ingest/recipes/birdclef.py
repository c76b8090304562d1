"""BirdCLEF 2020, pruned as in MetaAudio: 715 bird species."""

from dataclasses import dataclass
from typing import ClassVar

from slvr.ingest.archives.evaluation_set import EvaluationSet
from slvr.ingest.archives.files import Files
from slvr.ingest.archives.selection import Sample, Selection, at_least, folder, stem

LONGEST_S = 180.0
FEWEST = 50


@dataclass(frozen=True)
class BirdCLEF(EvaluationSet):
    """Ingests BirdCLEF 2020 (bird songs), pruned; the archives need an account at AIcrowd."""

    NAME: ClassVar[str] = "birdclef"
    LICENCE: ClassVar[str] = "each recording's own, Creative Commons (xeno-canto)"
    CITATION: ClassVar[str] = (
        "Kahl et al., Overview of BirdCLEF 2020: Bird sound recognition in complex acoustic "
        "environments, CLEF 2020"
    )
    HOMEPAGE: ClassVar[str] = "https://www.aicrowd.com/challenges/lifeclef-2020-bird-monophone"
    SIZE_BYTES: ClassVar[int] = 0
    HOW_TO_GET: ClassVar[str] = (
        "make an account at www.aicrowd.com, accept the rules of the challenge "
        f"{HOMEPAGE}, fetch the training audio under Resources (audio/<species>/XC<number>.mp3) "
        "and put its archives into one folder. Kaggle's birdsong data are another set"
    )
    MEMBER: ClassVar[str] = r"[^/_]+_[^/_]+/XC\d+\.mp3"
    NOMINAL_S: ClassVar[float] = 30.0
    N_CLIPS: ClassVar[int] = 63_364
    N_CLASSES: ClassVar[int] = 715
    KNOWN_DIFFERENCE: ClassVar[str] = (
        "the metadata list 72,307 recordings, the benchmark could read 72,305 of them"
    )
    CLASS_SPLITS: ClassVar[tuple[str, str] | None] = (
        "birdclef",
        "91f6f04e5b0913940490e87b991c8aeb",
    )

    def samples(self, files: Files) -> Selection:
        """Recordings of 180 s or less, then species that have 50 of them or more."""
        seconds = files.durations_s(f"measure {self.NAME}")
        short = [
            Sample(uri, stem(uri), folder(uri), duration_s=seconds[uri])
            for uri in files.audio
            if (seconds[uri] or 0.0) <= LONGEST_S
        ]
        kept = at_least(short, FEWEST)
        n_species = len({s.label for s in short}) - len({s.label for s in kept})
        return Selection(
            kept,
            (
                f"{len(files.audio) - len(short)} recordings longer than {LONGEST_S:.0f} s are "
                f"left out, then {n_species} species with fewer than {FEWEST} recordings "
                f"({len(short) - len(kept)} recordings)",
            ),
        )
