"""Which AudioSet clips were published with MT-SLVR, and on which side of its 70/30 division.

The lists are fetched from the authors' repository at a fixed commit and are not ours to ship.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slvr.ingest.youtube.segments import fetch_once

_BASE_URL = (
    "https://raw.githubusercontent.com/CHeggan/MT-SLVR/"
    "13b49c20b231fe2773e5d12060918f022688d972/MT-SLVR/Dataset_/AS_BAL/"
)


@dataclass(frozen=True)
class MemberList:
    """One published list: a numpy array of `Y` + YouTube id, its MD5 and its length."""

    url: str
    md5: str
    n: int


MTSLVR = {
    "train": MemberList(
        _BASE_URL + "AS_BAL_train_files.npy", "757984858cd11b21526b8a74af8771b2", 14_384
    ),
    "validation": MemberList(
        _BASE_URL + "AS_BAL_val_files.npy", "9b459aeccecbfa815ab49dbbcfdad9e3", 6_166
    ),
}


def mtslvr_members(cache: Path) -> dict[str, str]:
    """YouTube id -> `train` or `validation`, of the 20,550 clips of MT-SLVR (Heggan et al. 2023).

    Raises:
        ValueError: a list is not the published one.
        OSError: a list could not be fetched.
    """
    members: dict[str, str] = {}
    for side, listed in MTSLVR.items():
        path = fetch_once(listed.url, cache / listed.url.rpartition("/")[2])
        md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        if md5 != listed.md5:
            raise ValueError(
                f"{path}: MD5 {md5}, expected {listed.md5}; remove the file to fetch it again from "
                f"{listed.url}"
            )
        names = np.load(path, allow_pickle=False)
        members |= {str(name).removeprefix("Y"): side for name in names}
    assert len(members) == sum(listed.n for listed in MTSLVR.values()), "the lists overlap"
    return members
