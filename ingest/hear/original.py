"""A task of HEAR that is made from the archives of a data set, as the kit makes it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from slvr.ingest.archives.files import Files
from slvr.ingest.download import RemoteFile
from slvr.ingest.expected import Expected
from slvr.ingest.hear.draws import first_of
from slvr.ingest.hear.task import Amends, events_of, vocabulary
from slvr.ingest.recipe import ClipPlan
from slvr.shards.clip import SAMPLE_RATE_HZ, Attribute, Clip, Source, key_of

SPLITS = ("train", "valid", "test")
NOMINAL_S = 1.0
"""Of a clip that is kept whole: what the plan expects."""
Parts = Mapping[str, Files]
"""Part -> its files."""


@dataclass(frozen=True)
class Picked:
    """A clip of a task: the part and path of its file, and what the task says of it."""

    part: str
    uri: str
    stem: str
    split: str
    label: str = ""
    start_s: float | None = None
    events: tuple[tuple[str, Any, Any], ...] = ()
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True)
class Original:
    """A task that is made from a data set.

    Attributes:
        about: as in the kit's `task_metadata.json`.
        archives: part -> its official archive.
        home: folder of the downloaded archives, shared with other recipes of the data set.
        member: regular expression of an audio file's path.
        pick: its clips, from the files of its parts.
        labels: in the order of the class index, where the clips do not say it.
        length_s: of each clip, which is filled up with silence or cut; None keeps it whole.
        limits_s: split -> seconds that its clips may have together; without it, all.
        n_clips: of the official archives.
        n_classes: of its labels.
        size_bytes: of the archives, roughly; 0 for unknown.
    """

    about: Mapping[str, Any]
    archives: Mapping[str, RemoteFile]
    home: str
    member: str
    pick: Callable[[Parts], Iterator[Picked]]
    labels: tuple[str, ...]
    length_s: float | None
    n_clips: int
    n_classes: int
    limits_s: Mapping[str, float] = field(default_factory=dict)
    size_bytes: int = 0
    licence: str = "CC-BY-4.0"

    def plan(self, name: str, parts: Parts) -> ClipPlan:
        """The clips of the task of this name."""
        picked: dict[str, Picked] = {}
        for each in self.pick(parts):
            if picked.setdefault(each.stem, each) is not each:
                other = picked[each.stem]
                raise ValueError(
                    f"{each.part}/{each.uri} has the name of {other.part}/{other.uri}; leave one "
                    "of them there"
                )
        amends, clips = Amends(), []
        used: dict[str, str] = {}
        for split in SPLITS:
            stems = [each.stem for each in picked.values() if each.split == split]
            limit_s = self.limits_s.get(split)
            for key in first_of(stems, split, limit_s, self.length_s or NOMINAL_S):
                clip = self._clip(picked[key], amends)
                clips.append(clip)
                used |= {label: used.get(label, clip.source.uri) for label in clip.labels}
        labels, notes = vocabulary(self.labels or sorted(used), used, "the task's vocabulary")
        amiss = [each.told() for each in amends.found]
        one_each = self.about["prediction_type"] == "multiclass"
        return ClipPlan(
            clips=tuple(clips),
            labels={label: label.replace("_", " ").strip() for label in labels},
            options={"task": name, "made_from": "the original data set"},
            notes=(*notes, *amends.notes()),
            extra={"hear": {**self.about, "splits": list(SPLITS)}}
            | ({"events_amiss": amiss} if amiss else {}),
            expected=Expected(self.n_clips, self.n_classes) if one_each else None,
        )

    def _clip(self, picked: Picked, amends: Amends) -> Clip:
        length_s = self.length_s or NOMINAL_S
        events = events_of(picked.uri, picked.events, length_s, amends)
        start_s = picked.start_s
        heard = tuple(dict.fromkeys(event.label for event in events))
        return Clip(
            key=key_of(picked.stem),
            split=picked.split,
            source=Source(
                f"{picked.part}/{picked.uri}", start_s, None if start_s is None else start_s + 1.0
            ),
            labels=(picked.label,) if picked.label else heard,
            events=events,
            attributes=picked.attributes,
            licence=self.licence,
            n_samples=round(length_s * SAMPLE_RATE_HZ),
        )
