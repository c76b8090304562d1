"""A task of the HEAR benchmark before its audio is read: clips, vocabulary, and what was amiss."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from slvr.shards.clip import Event

OVERLAPS = "overlap another one of their label and are kept as they are"
OUTCOMES = (
    "begin before their clip and are cut to its beginning",
    "end after their clip and are cut to its end",
    "lie outside of their clip and are left out",
    "end before they begin and are left out",
    "have no label or no times and are left out",
    OVERLAPS,
)
"""What becomes of an event that no clip can hold as its list says; one sentence for each."""
BEFORE, AFTER, OUTSIDE, BACKWARDS, UNREADABLE, _ = OUTCOMES


@dataclass(frozen=True)
class Amiss:
    """An event that is not kept as its list says, or a strange one; times in milliseconds."""

    file: str
    label: str
    start: Any
    end: Any
    outcome: str

    def told(self) -> dict[str, Any]:
        """What the manifest keeps of it."""
        return {
            "file": self.file,
            "label": self.label,
            "start": _plain(self.start),
            "end": _plain(self.end),
            "outcome": self.outcome,
        }


@dataclass
class Amends:
    """Everything amiss in the events of a task, as it is found."""

    found: list[Amiss] = field(default_factory=list)

    def notes(self) -> list[str]:
        """One sentence for each kind of event that is amiss."""
        sentences = []
        for outcome in OUTCOMES:
            if alike := [each for each in self.found if each.outcome == outcome]:
                one = alike[0]
                sentences.append(
                    f"{len(alike)} events {outcome}, e.g. {one.label!r} of {one.file} from "
                    f"{_plain(one.start)} to {_plain(one.end)} ms; dataset.json keeps the list's "
                    "times of all"
                )
        return sentences


def events_of(
    file: str, listed: Sequence[tuple[str, Any, Any]], clip_s: float, amends: Amends
) -> tuple[Event, ...]:
    """The events of a clip, in order of their start: within [0, clip_s], as the kit cuts them.

    Args:
        file: of the clip, for the notes.
        listed: label, start and end of each in milliseconds, as its list says.
        clip_s: length of the clip in seconds; infinite where nobody knows.
        amends: where what is amiss is kept.
    """
    events: list[Event] = []
    for label, start, end in listed:

        def amiss(outcome: str, about: tuple[str, Any, Any] = (label, start, end)) -> None:
            amends.found.append(Amiss(file, *about, outcome))

        start_s, end_s = _seconds(start), _seconds(end)
        if start_s is None or end_s is None or not label:
            amiss(UNREADABLE)
            continue
        if end_s < start_s:
            amiss(BACKWARDS)
            continue
        if start_s >= clip_s or (start_s < 0 and end_s <= 0):
            amiss(OUTSIDE)
            continue
        if start_s < 0:
            amiss(BEFORE)
        if end_s > clip_s:
            amiss(AFTER)
        event = Event(label, max(start_s, 0.0), min(end_s, clip_s))
        if any(_overlap(event, other) for other in events):
            amiss(OVERLAPS)
        events.append(event)
    return tuple(sorted(events, key=lambda event: (event.start_s, event.end_s, event.label)))


def vocabulary(
    known: Sequence[str], used: Mapping[str, str], where: str
) -> tuple[tuple[str, ...], list[str]]:
    """The labels in the order of the class index, and a sentence for each that had to be added.

    Args:
        known: those of the list, in its order.
        used: label -> a file that has it.
        where: the list, for the sentences.
    """
    strange = [label for label in used if label not in set(known)]
    notes = [
        f"label {label!r}, e.g. of {used[label]}, is not in {where}; its clips are kept, and it "
        f"becomes class {len(known) + i}"
        for i, label in enumerate(strange)
    ]
    return (*known, *strange), notes


def _seconds(milliseconds: Any) -> float | None:
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        return None
    return milliseconds / 1000 if math.isfinite(milliseconds) else None


def _overlap(one: Event, other: Event) -> bool:
    return one.label == other.label and one.start_s < other.end_s and other.start_s < one.end_s


def _plain(value: Any) -> int | float | str:
    """A number, or whatever else was there as short text."""
    if isinstance(value, int | float) and math.isfinite(value):
        return value
    return repr(value)[:60]
