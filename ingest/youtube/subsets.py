"""What `--subset mtslvr` means: the AudioSet clips published with MT-SLVR, and their two sides.

The lists are fetched from the authors' repository at a fixed commit and are not ours to ship.
"""

from pathlib import Path

import numpy as np

from slvr.ingest.download import RemoteFile, checksum_fault, download

_BASE_URL = (
    "https://raw.githubusercontent.com/CHeggan/MT-SLVR/"
    "13b49c20b231fe2773e5d12060918f022688d972/MT-SLVR/Dataset_/AS_BAL/"
)


def _list(name: str, md5: str) -> RemoteFile:
    return RemoteFile(name, (_BASE_URL + name,), f"md5:{md5}")


MTSLVR = {
    "train": _list("AS_BAL_train_files.npy", "757984858cd11b21526b8a74af8771b2"),
    "validation": _list("AS_BAL_val_files.npy", "9b459aeccecbfa815ab49dbbcfdad9e3"),
}
"""Side of the 70/30 division -> numpy array of `Y` + YouTube id; 14,384 and 6,166 of them."""


def mtslvr_sides(cache: Path) -> dict[str, str]:
    """YouTube id -> `train` or `validation`, of the 20,550 clips of MT-SLVR (Heggan et al. 2023).

    Raises:
        ValueError: a list that was there already is not the published one.
        OSError: a list could not be fetched.
    """
    download(list(MTSLVR.values()), cache, instead="leave out --subset")
    sides: dict[str, str] = {}
    for side, listed in MTSLVR.items():
        path = cache / listed.name
        if fault := checksum_fault(path, listed.checksum):
            raise ValueError(
                f"{path}: {fault}; remove the file to fetch it again from {listed.urls[0]}"
            )
        ids = [str(name).removeprefix("Y") for name in np.load(path, allow_pickle=False)]
        assert not sides.keys() & set(ids), "the lists overlap"
        sides |= dict.fromkeys(ids, side)
    return sides
