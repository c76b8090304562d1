"""Scores of clips that may have several classes: average precision, area under the ROC, d'.

Letters: C clips, K classes.
"""

from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MultiLabelScore:
    """How well clips with a class are told from clips without it, of each class by itself.

    Attributes:
        precision: (K,) average precision; NaN of a class that no clip has.
        auc: (K,) area under the ROC; NaN of a class that no clip has, or every one.
    """

    precision: Floats
    auc: Floats

    @property
    def n_left_out(self) -> int:
        """Classes that no clip has, which no mean counts."""
        return int(np.isnan(self.precision).sum())

    @property
    def mean_precision(self) -> float:
        """mAP, every class alike (macro)."""
        return _mean(self.precision)

    @property
    def mean_auc(self) -> float:
        """Mean area under the ROC."""
        return _mean(self.auc)

    @property
    def d_prime(self) -> float:
        """Sqrt(2) Phi^-1(mean AUC): d' as Hershey et al., ICASSP 2017, have it."""
        return d_prime(self.mean_auc)


def multilabel_score(scores: ArrayLike, targets: ArrayLike) -> MultiLabelScore:
    """The scores of each class; ties count as chance.

    Args:
        scores: (C, K), the higher the likelier.
        targets: (C, K) of 0 and 1.
    """
    values, there = np.asarray(scores), np.asarray(targets) != 0
    precision, auc = np.full(there.shape[1], nan), np.full(there.shape[1], nan)
    n_with = there.sum(0)
    for k in np.flatnonzero(n_with):
        precision[k] = average_precision_score(there[:, k], values[:, k])
    # AUC = (sum of the ranks of those with the class - n (n + 1) / 2) / (n m), m without it
    both = np.flatnonzero((n_with > 0) & (n_with < len(there)))
    n, m = n_with[both], len(there) - n_with[both]
    ranks = (rankdata(values[:, both], axis=0) * there[:, both]).sum(0)
    auc[both] = (ranks - n * (n + 1) / 2) / (n * m)
    return MultiLabelScore(precision, auc)


def d_prime(auc: float) -> float:
    """sqrt(2) Phi^-1(AUC): how many deviations apart two normal distributions are."""
    return sqrt(2) * float(ndtri(auc))


def _mean(values: Floats) -> float:
    """The mean of those that are no NaN; NaN where all are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else nan
