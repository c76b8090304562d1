"""Sound events: from annotations, from frame probabilities, and back to labels of frames.

The post-processing is that of the HEAR 2021 kit (Turian et al., arXiv 2203.03022).

Letters: N events, T frames of a file, K classes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slvr.shards.clip import Event

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_AFTER_END_MS = 1e-4
"""An event is still heard so shortly after its end: a stamp that meets the end belongs to it."""


@dataclass(frozen=True)
class PostProcessing:
    """How frame probabilities become events.

    Attributes:
        threshold: a class is heard where its probability is greater.
        median_filter_ms: length of the median filter over time; 0 for none.
        min_duration_ms: what lasts less, from its first frame's stamp to its last one's, is left
            out; a single frame lasts 0.
    """

    threshold: float = 0.5
    median_filter_ms: float = 250.0
    min_duration_ms: float = 250.0


@dataclass(frozen=True)
class Events:
    """Events of several files, by file, class and onset.

    Attributes:
        file: (N,) number of the file.
        label: (N,) number of the class.
        onset_s: (N,).
        offset_s: (N,).
    """

    file: Ints
    label: Ints
    onset_s: Floats
    offset_s: Floats

    @classmethod
    def of(cls, rows: Iterable[tuple[int, int, float, float]]) -> "Events":
        """Those of (file, label, onset, offset), in any order."""
        table = np.array(list(rows), dtype=np.float64).reshape(-1, 4)
        file, label = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
        order = np.lexsort((table[:, 2], label, file))
        return cls(file[order], label[order], table[order, 2], table[order, 3])

    def __len__(self) -> int:
        return len(self.file)

    def where(self, chosen: Bools) -> "Events":
        """Some of them."""
        return Events(
            self.file[chosen], self.label[chosen], self.onset_s[chosen], self.offset_s[chosen]
        )


def annotated(clips: Sequence[Sequence[Event]], index: Mapping[str, int]) -> Events:
    """The events of clips, numbered as they come; `index` numbers the labels."""
    return Events.of(
        (i, index[event.label], event.start_s, event.end_s)
        for i, events in enumerate(clips)
        for event in events
    )


def events_of_frames(
    probabilities: Sequence[NDArray[np.floating]],
    times_ms: Sequence[Floats],
    how: PostProcessing,
) -> Events:
    """The events of files from the probabilities (T, K) of their frames.

    Per class: median over time, threshold, and each run of frames is an event from the stamp of its
    first frame to the stamp of its last one.

    Args:
        probabilities: of each file.
        times_ms: (T,) stamps of its frames, in any order.
        how: filter, threshold and least duration.
    """
    found: list[NDArray[np.float64]] = []
    for i, (values, stamps) in enumerate(zip(probabilities, times_ms, strict=True)):
        if not len(stamps):
            continue
        order = np.argsort(stamps, kind="stable")
        sorted_ms = np.asarray(stamps, dtype=np.float64)[order]
        width = filter_width(sorted_ms, how.median_filter_ms)
        # A median is over the threshold exactly where enough values are: no value need be sorted.
        heard = majority(np.asarray(values)[order] > how.threshold, width)
        label, first, last = runs(heard)
        start, end = sorted_ms[first], sorted_ms[last]
        kept = end - start >= how.min_duration_ms
        columns = (np.full(len(label), i), label, start / 1000, end / 1000)
        found.append(np.column_stack(columns)[kept])
    # files, classes and runs already come in order
    table = np.concatenate(found) if found else np.empty((0, 4))
    return Events(table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2], table[:, 3])


def filter_width(sorted_ms: Floats, median_filter_ms: float) -> int:
    """Frames that the median is taken over; 0 for no filter."""
    if len(sorted_ms) < 2 or not median_filter_ms:
        return 0
    hop_ms = float(np.diff(sorted_ms).mean())
    return round(median_filter_ms / hop_ms) if hop_ms > 0 else 0


def majority(heard: Bools, width: int) -> Bools:
    """(T, K): the median of each frame and those around it, both ends mirrored with their frame.

    Of an even number of frames, t - width/2 to t + width/2 - 1, it is the upper middle value.
    """
    if width < 2:
        return heard
    before = width // 2
    padded = np.pad(heard, ((before, width - 1 - before), (0, 0)), mode="symmetric")
    sums = np.zeros((len(padded) + 1, heard.shape[1]), dtype=np.int32)
    np.cumsum(padded, axis=0, out=sums[1:])
    enough: Bools = sums[width:] - sums[:-width] >= width - before
    return enough


def runs(heard: Bools) -> tuple[Ints, Ints, Ints]:
    """Class, first and last frame of each run of frames, by class and time."""
    edges = np.zeros((heard.shape[1], len(heard) + 1), dtype=np.int8)
    edges[:, :-1] = heard.T
    edges[:, 1:] -= heard.T
    label, first = np.nonzero(edges == 1)
    last = np.nonzero(edges == -1)[1] - 1
    return label, first, last


def frame_labels(events: Events, file: int, times_ms: Floats, n_classes: int) -> Bools:
    """(T, K): which classes are heard at the stamps of a file: start <= t < end + 0.0001 ms."""
    heard = np.zeros((len(times_ms), n_classes), dtype=bool)
    first, last = np.searchsorted(events.file, [file, file + 1])
    # rounded, because 1000 * 0.57 is less than 570
    start_ms, end_ms = (np.round(1000 * each, 6) for each in (events.onset_s, events.offset_s))
    for i in range(first, last):
        inside = (times_ms >= start_ms[i]) & (times_ms < end_ms[i] + _AFTER_END_MS)
        heard[inside, events.label[i]] = True
    return heard
