"""How many clips and classes a complete data set gives, and what was got instead."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from slvr.shards.clip import OK
from slvr.shards.rows import Row

SHOWN = 10
"""Classes named one by one."""


@dataclass(frozen=True)
class Expected:
    """The counts of the benchmark.

    Attributes:
        n_clips: clips that are ok.
        n_classes: classes that have one.
        known: why another count is no surprise, as a clause; or nothing.
        per_class: clips of each class, where that is known.
        classes: the benchmark's classes, where they are known.
    """

    n_clips: int
    n_classes: int
    known: str = ""
    per_class: Mapping[str, int] = field(default_factory=dict)
    classes: frozenset[str] = frozenset()


def compare(expected: Expected, name: str, rows: Iterable[Row]) -> list[str]:
    """Lines that say whether the counts are the expected ones, and if not, where they differ."""
    planned: Counter[str] = Counter()
    ok: Counter[str] = Counter()
    for row in rows:
        planned.update(row.clip.labels)
        if row.clip.status == OK:
            ok.update(row.clip.labels)
    found = (ok.total(), len(ok))
    strange = sorted(ok.keys() - expected.classes) if expected.classes else []
    absent = sorted(expected.classes - ok.keys())
    if found == (expected.n_clips, expected.n_classes) and not strange and not absent:
        return [f"{name}: {found[0]} clips of {found[1]} classes, as expected"]
    known = f"; known: {expected.known}" if expected.known else ""
    lines = [
        f"warning: {name}: {found[0]} clips of {found[1]} classes, expected {expected.n_clips} of "
        f"{expected.n_classes}{known}"
    ]
    if absent:
        lines.append(f"  without a clip: {_some(absent)}")
    if strange:
        lines.append(f"  not in the benchmark: {_some(strange)}")
    counts = expected.per_class or planned
    word = "expected" if expected.per_class else "planned"
    different = [
        f"{label}: {ok[label]}, {word} {counts.get(label, 0)}"
        for label in sorted(counts.keys() | ok.keys())
        if ok[label] != counts.get(label, 0)
    ]
    return [*lines, *([f"  {_some(different)}"] if different else [])]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return "; ".join(names[:SHOWN]) + more
