"""Average precision of a ranking."""

import numpy as np
from numpy.typing import NDArray


def average_precision(scores: NDArray[np.floating], relevant: NDArray[np.bool_]) -> float:
    """Return sum_n (R_n - R_n-1) P_n over the distinct scores, the highest first.

    Items of one score enter together, so that their order does not matter.

    Args:
        scores: (n,), higher is ranked earlier.
        relevant: (n,), at least one of them true.
    """
    order = np.argsort(-scores, kind="stable")
    hits = relevant[order].cumsum()
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # of each score
    precision = hits[last] / (last + 1)
    gained = np.diff(hits[last], prepend=0)
    return float((precision * gained).sum() / hits[-1])
