"""NSynth: single notes of 1,006 instruments, 4 s each."""

from dataclasses import dataclass
from typing import ClassVar

from slvr.ingest.archives.evaluation_set import EvaluationSet
from slvr.ingest.archives.files import Files
from slvr.ingest.archives.selection import Sample, Selection, stem
from slvr.ingest.download import RemoteFile
from slvr.shards.clip import Attribute

PARTS = {
    "train": "fde6665a93865503ba598b9fac388660",
    "valid": "87e94a00a19b6dbc99cf6d4c0c0cae87",
    "test": "5e6f8719bf7e16ad0a00d518b78af77d",
}
"""MD5 of the archive of each part."""
PLACES = (
    "http://download.magenta.tensorflow.org/datasets/nsynth/",
    "https://storage.googleapis.com/magentadata/datasets/nsynth/",
)


def _archive(part: str, md5: str) -> RemoteFile:
    name = f"nsynth-{part}.jsonwav.tar.gz"
    return RemoteFile(name, tuple(place + name for place in PLACES), f"md5:{md5}")


@dataclass(frozen=True)
class NSynth(EvaluationSet):
    """Ingests NSynth (instrument notes); labels are the instruments."""

    NAME: ClassVar[str] = "nsynth"
    LICENCE: ClassVar[str] = "CC-BY-4.0"
    CITATION: ClassVar[str] = (
        "Engel et al., Neural audio synthesis of musical notes with WaveNet autoencoders, ICML 2017"
    )
    HOMEPAGE: ClassVar[str] = "https://magenta.tensorflow.org/datasets/nsynth"
    ARCHIVES: ClassVar[tuple[RemoteFile, ...]] = tuple(_archive(*part) for part in PARTS.items())
    SIZE_BYTES: ClassVar[int] = 25_233_566_634
    MEMBER: ClassVar[str] = r"nsynth-(?:train|valid|test)/audio/[^/]+_[^/_]+_[^/_]+-\d+-\d+\.wav"
    NOMINAL_S: ClassVar[float] = 4.0
    N_CLIPS: ClassVar[int] = 305_978
    N_CLASSES: ClassVar[int] = 1_006
    KNOWN_DIFFERENCE: ClassVar[str] = (
        "the archives hold 305,979 notes; the benchmark lost one, nobody wrote down which"
    )
    CLASS_SPLITS: ClassVar[tuple[str, str] | None] = (
        "nsynth",
        "6e297816367e8ea1200f61bf628deb76",
    )

    def samples(self, files: Files) -> Selection:
        """Every note; `<family>_<source>_<number>-<pitch>-<velocity>.wav`."""
        notes = {uri: note(stem(uri)) for uri in files.audio}
        return Selection(
            [
                Sample(uri, stem(uri), instrument, attributes=attributes)
                for uri, (instrument, attributes) in notes.items()
            ]
        )


def note(name: str) -> tuple[str, dict[str, Attribute]]:
    """The instrument of a note, and what else its name says; pitch and velocity as in MIDI."""
    # split from the right: a family may have two words (`synth_lead_synthetic_000`)
    instrument, pitch, velocity = name.rsplit("-", 2)
    family, source, _ = instrument.rsplit("_", 2)
    played = {"pitch": int(pitch), "velocity": int(velocity)}
    return instrument, {**played, "family": family, "source": source}
