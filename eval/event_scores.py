"""Scores of sound events: onset F-measure and segment error rate.

Definitions of Mesaros, Heittola & Virtanen, "Metrics for polyphonic sound event detection", 2016.
Counts are pooled over files and classes (micro average).

Letters: K classes.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor, nan

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from slvr.eval.sound_events import Events

_Span = tuple[float, float]
_Ints = NDArray[np.int64]


@dataclass(frozen=True)
class EventScore:
    """How many events were found, of one class or of all.

    Attributes:
        n_hits: pairs of a reference and an estimate, each of at most one pair.
        n_reference: events that are there.
        n_estimated: events that were said to be there.
    """

    n_hits: int
    n_reference: int
    n_estimated: int

    @property
    def precision(self) -> float:
        """Share of the estimates that are right; 0 without an estimate, NaN without both."""
        return _share(self.n_hits, self.n_estimated, self.n_reference)

    @property
    def recall(self) -> float:
        """Share of the references that were found; NaN where there is none."""
        return _share(self.n_hits, self.n_reference, 0)

    @property
    def f_measure(self) -> float:
        """Harmonic mean of both; 0 where nothing was estimated, NaN where there is no reference."""
        if not self.n_reference:
            return nan
        p, r = self.precision, self.recall
        return 2 * p * r / (p + r) if p + r else 0.0

    @property
    def remark(self) -> str:
        """Why it is 0 or NaN by convention; empty where it is neither."""
        if not self.n_reference:
            return "no reference: NaN"
        return "" if self.n_estimated else "no estimate: 0"


@dataclass(frozen=True)
class SegmentScore:
    """Errors in segments of a second.

    Attributes:
        n_substituted: of another class than the one that is there.
        n_deleted: that are there and were not estimated.
        n_inserted: that were estimated and are not there.
        n_reference: segments and classes that are there.
    """

    n_substituted: int
    n_deleted: int
    n_inserted: int
    n_reference: int

    @property
    def error_rate(self) -> float:
        """(S + D + I) / N; NaN where there is no reference."""
        if not self.n_reference:
            return nan
        return (self.n_substituted + self.n_deleted + self.n_inserted) / self.n_reference


def event_score(
    reference: Events,
    estimated: Events,
    onset_s: float = 0.2,
    offset_s: float | None = None,
    offset_share: float = 0.0,
) -> EventScore:
    """The score over all files and classes, from a greatest matching of each file and class.

    Args:
        reference: what is there.
        estimated: what was said to be there.
        onset_s: an estimate begins at most so far from its reference; exactly so far is a hit.
        offset_s: and ends at most so far from it; None: ends do not count.
        offset_share: of the reference's length, where that allows more than `offset_s`.
    """
    hits = sum(_hits(reference, estimated, onset_s, offset_s, offset_share).values())
    return EventScore(hits, len(reference), len(estimated))


def class_event_scores(
    reference: Events,
    estimated: Events,
    n_classes: int,
    onset_s: float = 0.2,
    offset_s: float | None = None,
    offset_share: float = 0.0,
) -> list[EventScore]:
    """The score of each class."""
    hits = _hits(reference, estimated, onset_s, offset_s, offset_share)
    n_reference = np.bincount(reference.label, minlength=n_classes).tolist()
    n_estimated = np.bincount(estimated.label, minlength=n_classes).tolist()
    return [EventScore(hits[k], n_reference[k], n_estimated[k]) for k in range(n_classes)]


def segment_scores(
    reference: Events, estimated: Events, n_classes: int, segment_s: float = 1.0
) -> tuple[SegmentScore, list[SegmentScore]]:
    """The score over all classes, and that of each class, in which nothing can be substituted.

    A class is there in all segments that an event touches. Each file counts up to the end of its
    last event of either list, beyond which there is nothing to count.
    """
    n_files = 1 + max([-1, *reference.file[-1:].tolist(), *estimated.file[-1:].tolist()])
    lengths = np.zeros(n_files + 1, dtype=np.int64)
    for events in (reference, estimated):
        np.maximum.at(lengths, events.file + 1, np.ceil(events.offset_s / segment_s).astype(int))
    first = lengths.cumsum()
    there = _roll(reference, first, n_classes, segment_s)
    said = _roll(estimated, first, n_classes, segment_s)
    missed, extra = there & ~said, said & ~there
    n_missed, n_extra = missed.sum(1), extra.sum(1)
    swapped = int(np.minimum(n_missed, n_extra).sum())
    n = int(n_missed.sum()) - swapped, int(n_extra.sum()) - swapped
    both = SegmentScore(swapped, *n, int(there.sum()))
    by_class = zip(
        missed.sum(0).tolist(), extra.sum(0).tolist(), there.sum(0).tolist(), strict=True
    )
    return both, [SegmentScore(0, *counts) for counts in by_class]


def _share(part: int, whole: int, other: int) -> float:
    if whole:
        return part / whole
    return 0.0 if other else nan


def _hits(
    reference: Events,
    estimated: Events,
    onset_s: float,
    offset_s: float | None,
    offset_share: float,
) -> defaultdict[int, int]:
    """Class -> number of pairs."""
    count: Callable[[list[_Span], list[_Span]], int]
    if offset_s is None:

        def count(there: list[_Span], said: list[_Span]) -> int:
            return _onset_pairs(there, said, onset_s)
    else:
        least_s = offset_s

        def count(there: list[_Span], said: list[_Span]) -> int:
            return _whole_pairs(there, said, onset_s, least_s, offset_share)

    said = _grouped(estimated)
    hits: defaultdict[int, int] = defaultdict(int)
    for (file, label), spans in _grouped(reference).items():
        if others := said.get((file, label)):
            hits[label] += count(spans, others)
    return hits


def _grouped(events: Events) -> dict[tuple[int, int], list[_Span]]:
    """File and class -> its (onset, offset), by onset."""
    groups: dict[tuple[int, int], list[_Span]] = {}
    columns = (events.file, events.label, events.onset_s, events.offset_s)
    for file, label, *span in zip(*(column.tolist() for column in columns), strict=True):
        groups.setdefault((file, label), []).append((span[0], span[1]))
    return groups


def _onset_pairs(there: list[_Span], said: list[_Span], within_s: float) -> int:
    """The most pairs whose onsets are near enough.

    Both lists are sorted, so the partners of an onset are a stretch that moves on with it, and
    taking the earliest pair that can be taken is never worse.
    """
    i = j = n = 0
    while i < len(there) and j < len(said):
        gap = there[i][0] - said[j][0]
        if abs(gap) <= within_s:
            i, j, n = i + 1, j + 1, n + 1
        elif gap > 0:
            j += 1
        else:
            i += 1
    return n


def _whole_pairs(
    there: list[_Span], said: list[_Span], onset_s: float, offset_s: float, share: float
) -> int:
    """The most pairs whose onsets and offsets are near enough."""
    onset, offset = np.array(there).T
    said_onset, said_offset = np.array(said).T
    near = np.abs(onset[:, None] - said_onset) <= onset_s
    reach = np.maximum(offset_s, share * (offset - onset))[:, None]
    near &= np.abs(offset[:, None] - said_offset) <= reach
    return int((maximum_bipartite_matching(csr_matrix(near), perm_type="column") >= 0).sum())


def _roll(events: Events, first: _Ints, n_classes: int, segment_s: float) -> NDArray[np.bool_]:
    """(segments of all files, K): where each class is there; `first`: segment of each file."""
    roll = np.zeros((int(first[-1]), n_classes), dtype=bool)
    columns = (events.file, events.label, events.onset_s, events.offset_s)
    for file, label, onset, offset in zip(*(column.tolist() for column in columns), strict=True):
        begin = int(first[file])
        roll[begin + floor(onset / segment_s) : begin + ceil(offset / segment_s), label] = True
    return roll
