"""Clips shorter than what is asked for, filled up to it.

Letters: T samples of a clip.
"""

from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Short = Literal["loop", "silence", "centre"]

_Number = TypeVar("_Number", bound=np.number[Any])


def filled(wave: NDArray[_Number], n_samples: int, how: Short) -> NDArray[_Number]:
    """A clip (T,) of at most `n_samples` samples, made as long as that.

    Args:
        wave: the clip.
        n_samples: T or more.
        how: "loop" repeats the clip from its beginning, "silence" puts zeros behind it, "centre"
            half of them before it.
    """
    if len(wave) == n_samples:
        return wave
    if how == "loop":
        return np.resize(wave, n_samples)
    missing = n_samples - len(wave)
    before = missing // 2 if how == "centre" else 0
    return np.pad(wave, (before, missing - before))
