"""Which files of a set become clips: what a recipe's `samples` gives back."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from slvr.shards.clip import Attribute


@dataclass(frozen=True)
class Sample:
    """A file that is to become a clip.

    Attributes:
        uri: its path below the set's own top folder, as it matches `MEMBER`.
        key: of the clip.
        label: its class.
        licence: its own, where each clip has one.
        duration_s: where it was measured.
        attributes: what else the set says of it, name -> number or text.
    """

    uri: str
    key: str
    label: str
    licence: str = ""
    duration_s: float | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True)
class Selection:
    """The samples of a set, and what the user should know about those left out."""

    samples: list[Sample]
    notes: tuple[str, ...] = ()


def at_least(samples: Iterable[Sample], n: int) -> list[Sample]:
    """The samples whose class has n or more of them."""
    listed = list(samples)
    counts = Counter(sample.label for sample in listed)
    return [sample for sample in listed if counts[sample.label] >= n]


def stem(uri: str) -> str:
    """The file name without folder and ending."""
    return PurePosixPath(uri).stem


def folder(uri: str) -> str:
    """The name of the file's folder."""
    return PurePosixPath(uri).parent.name
