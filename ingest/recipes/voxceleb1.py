"""VoxCeleb1: interviews of 1,251 speakers."""

from dataclasses import dataclass
from typing import ClassVar

from slvr.ingest.archives.evaluation_set import EvaluationSet
from slvr.ingest.archives.files import Files
from slvr.ingest.archives.selection import Sample, Selection
from slvr.ingest.download import RemoteFile

MIRROR = "https://huggingface.co/datasets/ProgramComputer/voxceleb/resolve/main/vox1/"
SHA256 = {
    "vox1_dev_wav_partaa": "21ec6ca843659ebc2fdbe04b530baa4f191ad4b0971912672d92c158f32226a0",
    "vox1_dev_wav_partab": "311d21e0c8cbf33573a4fce6c80e5a279d80736274b381c394319fc557159a04",
    "vox1_dev_wav_partac": "92b64465f2b2a3dc0e4196ae8dd6828cbe9ddd1f089419a11e4cbfe2e1750df0",
    "vox1_dev_wav_partad": "00e6190c770b27f27d2a3dd26ee15596b17066b715ac111906861a7d09a211a5",
    "vox1_test_wav.zip": "8de57f347fe22b2c24526e9f444f689ecf5096fc2a92018cf420ff6b5b15eaea",
}
"""The four parts are byte slices of one zip."""


@dataclass(frozen=True)
class VoxCeleb1(EvaluationSet):
    """Ingests VoxCeleb1 (speakers); labels are the speaker ids of its dev and test part."""

    NAME: ClassVar[str] = "voxceleb1"
    LICENCE: ClassVar[str] = "metadata CC-BY-4.0; the speech belongs to the videos' owners"
    CITATION: ClassVar[str] = (
        "Nagrani, Chung, Zisserman, VoxCeleb: A large-scale speaker identification dataset, "
        "Interspeech 2017"
    )
    HOMEPAGE: ClassVar[str] = "https://mm.kaist.ac.kr/datasets/voxceleb"
    ARCHIVES: ClassVar[tuple[RemoteFile, ...]] = tuple(
        RemoteFile(name, (MIRROR + name,), f"sha256:{sha256}") for name, sha256 in SHA256.items()
    )
    SIZE_BYTES: ClassVar[int] = 33_700_000_000
    HOW_TO_GET: ClassVar[str] = (
        f"the official site gives access on request (form at {HOMEPAGE}): put "
        "vox1_dev_wav_partaa to partad (or vox1_dev_wav.zip) and vox1_test_wav.zip into one folder"
    )
    MEMBER: ClassVar[str] = r"id1\d{4}/[^/]+/\d{5}\.wav"
    NOMINAL_S: ClassVar[float] = 8.2
    N_CLIPS: ClassVar[int] = 153_516
    N_CLASSES: ClassVar[int] = 1_251
    CLASS_SPLITS: ClassVar[tuple[str, str] | None] = (
        "voxceleb",
        "7e682bb35453d371232800d37eed5210",
    )

    def samples(self, files: Files) -> Selection:
        """Every utterance: `<speaker>/<video>/<number>.wav`; numbers repeat in other videos."""
        return Selection([_sample(uri) for uri in files.audio])


def _sample(uri: str) -> Sample:
    speaker, video, _ = uri.split("/")
    key = uri.removesuffix(".wav").replace("/", "_")
    return Sample(uri, key, speaker, attributes={"speaker": speaker, "video": video})
