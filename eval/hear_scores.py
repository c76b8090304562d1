"""The scores of HEAR's kit for whole clips, the greater the better.

Letters: N clips, K classes.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from slvr.eval.multilabel import d_prime, multilabel_score

Probabilities = NDArray[np.floating]

TOP1, PITCH, CHROMA = "top1_acc", "pitch_acc", "chroma_acc"
MAP, D_PRIME, AUC = "mAP", "d_prime", "aucroc"
_PITCHES_AN_OCTAVE = 12


def class_scores(
    said: Probabilities, truth: NDArray[np.int64], pitches: Sequence[int] | None = None
) -> dict[str, float]:
    """Of clips of one class each: the share that is right; the first name selects.

    Args:
        said: (N, K); of equal ones the lowest class is the answer.
        truth: (N,) classes.
        pitches: MIDI number of each class, where classes are pitches: then chroma, the pitch less
            its octave, is scored too.
    """
    guess = said.argmax(1)
    if pitches is None:
        return {TOP1: float((guess == truth).mean())}
    chroma = np.asarray(pitches) % _PITCHES_AN_OCTAVE
    right = float((guess == truth).mean())
    return {PITCH: right, CHROMA: float((chroma[guess] == chroma[truth]).mean())}


def multilabel_scores(said: Probabilities, truth: NDArray[np.floating]) -> dict[str, float]:
    """Of clips of several classes; the first name selects.

    As the kit has them: a class without a positive counts 0 in mAP, which lowers it, and d' is the
    mean of each class's own; classes without one have no d' and no AUC, and are left out of these.
    """
    score = multilabel_score(said, truth)
    known = score.auc[~np.isnan(score.auc)]
    return {
        MAP: float(np.nan_to_num(score.precision).mean()),
        D_PRIME: float(np.mean([d_prime(auc) for auc in known])) if len(known) else float("nan"),
        AUC: score.mean_auc,
    }


def pitches_of(labels: Sequence[str]) -> tuple[int, ...] | None:
    """The classes as MIDI numbers; None where one is no number."""
    if all(label.isdecimal() for label in labels):
        return tuple(map(int, labels))
    return None


def octave_confusion(
    said: Probabilities, truth: NDArray[np.int64], pitches: Sequence[int]
) -> tuple[NDArray[np.float64], list[int], list[int]]:
    """Share of the clips of each octave, (octaves, distances), by how far the answer is.

    The distance is in octaves, rounded to the nearest; the octaves and the distances that there are
    come with it. Octave 4 begins with middle C, MIDI 60.
    """
    number = np.asarray(pitches)
    octave = number[truth] // _PITCHES_AN_OCTAVE - 1
    far = np.round((number[said.argmax(1)] - number[truth]) / _PITCHES_AN_OCTAVE).astype(int)
    octaves = np.unique(octave).tolist()
    reach = int(np.abs(far).max(initial=1))
    distances = list(range(-reach, reach + 1))
    shares = [[float((far[octave == o] == d).mean()) for d in distances] for o in octaves]
    return np.array(shares), octaves, distances


def as_metrics(scores: Mapping[str, float]) -> tuple[str, float]:
    """The name and the value that select."""
    return next(iter(scores.items()))
