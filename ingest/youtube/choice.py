"""Which of AudioSet's clips are asked for: a list, a part of it, and the names of its labels."""

import difflib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from slvr.command.line import sentence
from slvr.ingest.download import PATIENT, QUICK
from slvr.ingest.youtube.segments import (
    Segment,
    download_csv,
    is_label,
    is_youtube_id,
    read_ids,
    read_label_names,
    read_segments,
)
from slvr.ingest.youtube.subsets import mtslvr_sides
from slvr.shards.clip import SAMPLE_RATE_HZ, Clip, Source
from slvr.shards.files import file_sha256
from slvr.shards.rows import read_rows


@dataclass(frozen=True)
class Choice:
    """The options that say what for, in distinction to how."""

    split: Literal["balanced", "eval", "unbalanced"] = "balanced"
    """Official list."""
    subset: Literal["mtslvr"] | None = None
    """Only the 20,550 clips published with MT-SLVR, in its splits `train` and `validation`."""
    strong: Literal["train", "eval"] | None = None
    """AudioSet-strong's list, whose labels are events with times, in place of that list."""
    segments: str | None = None
    """A segment csv of the official form, or AudioSet-strong's tsv, in place of that list."""
    from_manifest: str | None = None
    """The clips.parquet of another AudioSet directory: asks for exactly its clips."""
    ids: str | None = None
    """A text file with one YouTube id on each line: only these clips of the list."""
    classes: tuple[str, ...] = ()
    """Only clips with one of these labels: display names or ontology ids (/m/09x0r)."""
    limit: int | None = None
    """Take only the first clips of the list, 1 or more."""
    label_names: str | None = None
    """A class_labels_indices.csv, or a mid_to_display_name.tsv, in place of the official one."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"expected --limit of 1 or more, got {self.limit}")
        if self.from_manifest and (self.segments or self.subset):
            raise ValueError("--from-manifest is a list already; leave out --segments and --subset")
        if self.strong and (self.segments or self.subset or self.from_manifest):
            raise ValueError(
                "--strong is a list already; leave out --segments, --subset and --from-manifest"
            )
        if self.subset and self.split != "balanced":
            raise ValueError(
                f"--subset {self.subset} is part of --split balanced, not {self.split}"
            )

    @property
    def official(self) -> str:
        """Name of the official list."""
        return f"strong_{self.strong}" if self.strong else self.split

    @property
    def own_list(self) -> str | None:
        """A list of the user's own in its place."""
        return self.from_manifest or self.segments

    @property
    def chosen(self) -> dict[str, Any]:
        """What of these options changes the result; files by their hashes."""
        return {
            "list": f"sha256:{file_sha256(Path(self.own_list))}"
            if self.own_list
            else self.official,
            "subset": self.subset,
            "ids": _sha256(self.ids),
            "classes": list(self.classes),
            "limit": self.limit,
        }

    def clips(self, cache: Path) -> tuple[list[Clip], dict[str, str], list[str]]:
        """The chosen clips in the order of the list, the names of their labels, and notes."""
        names, without = self._names(cache)
        clips = self._of_options(self._listed(cache), names)
        if without:  # the ids are kept in their place
            names = {label: label for label in sorted({x for clip in clips for x in clip.labels})}
        unknown = {label for clip in clips for label in clip.labels} - names.keys()
        if unknown:
            raise ValueError(
                f"{self.own_list or self.split}: label {min(unknown)} is not "
                "in the list of classes; expected those of class_labels_indices.csv; give the "
                "matching one with --label-names, for AudioSet-strong its mid_to_display_name.tsv"
            )
        return clips, names, without

    def _names(self, cache: Path) -> tuple[dict[str, str], list[str]]:
        """The display name of each label; for a list of the user's own, a note where none are had.

        What is on this disk needs no network: Google's list gets one look.
        """
        if self.label_names:
            return read_label_names(self.label_names), []
        try:
            return read_label_names(
                download_csv(
                    "strong_labels" if self.strong else "labels",
                    *(cache, QUICK if self.own_list else PATIENT),
                )
            ), []
        except OSError as error:
            if not self.own_list:
                raise
            if names := [text for text in self.classes if not is_label(text)]:
                raise ValueError(
                    f"--classes {names[0]}: no names of classes are there: {sentence(error)}; or "
                    "give ids such as /m/09x0r"
                ) from error
            return {}, [f"labels keep their ids in place of names: {sentence(error)}"]

    def _listed(self, cache: Path) -> list[Clip]:
        """Every clip of the list that is the source of this plan."""
        if self.from_manifest:
            return _manifest_clips(Path(self.from_manifest))
        listed = read_segments(self.segments or download_csv(self.official, cache))
        n_segments = Counter(segment.youtube_id for segment in listed)
        if self.subset is None:
            split = "eval" if "eval" in (self.strong, self.split) else "train"
            splits = dict.fromkeys(n_segments, split)
        else:
            # As splits and not as a column: `train` then sees just the published training clips.
            splits = mtslvr_sides(cache)
        return [
            _clip(s, splits[s.youtube_id], alone=n_segments[s.youtube_id] == 1)
            for s in listed
            if s.youtube_id in splits
        ]

    def _of_options(self, listed: list[Clip], names: dict[str, str]) -> list[Clip]:
        """Those of the listed clips that the options ask for, in the order of the list."""
        chosen = listed
        if self.ids:
            wanted = set(read_ids(self.ids))
            strange = wanted - {clip.source.id for clip in listed}
            if strange:
                raise ValueError(
                    f"{self.ids}: {len(strange)} ids are not in the list, for example "
                    f"{min(strange)}; expected ids of --split, --segments or --from-manifest"
                )
            chosen = [clip for clip in chosen if clip.source.id in wanted]
        if self.classes:
            labels = {_label(text, names) if names else text for text in self.classes}
            chosen = [clip for clip in chosen if labels.intersection(clip.labels)]
        if not chosen:
            raise ValueError("no clip of the list is left; choose other --ids, --classes, --subset")
        return chosen[: self.limit]


def _sha256(path: str | None) -> str | None:
    return f"sha256:{file_sha256(Path(path))}" if path else None


def _clip(segment: Segment, split: str, alone: bool) -> Clip:
    """The clip of a segment; one that is not alone in its video has its start in its key."""
    start_ms = round(segment.start_s * 1000)
    key = f"Y{segment.youtube_id}"  # an id may begin with '-', a key may not
    return Clip(
        key=key if alone else f"{key}_{start_ms}",
        split=split,
        source=Source("", segment.start_s, segment.end_s, segment.youtube_id),
        labels=segment.labels,
        events=segment.events,
        n_samples=_n_samples(segment.start_s, segment.end_s),
    )


def _n_samples(start_s: float, end_s: float) -> int:
    return round((end_s - start_s) * SAMPLE_RATE_HZ)


def _manifest_clips(path: Path) -> list[Clip]:
    """Every clip that another directory asked for, as planned there."""
    clips = []
    for row in read_rows(path):
        source = row.clip.source
        if source.start_s is None or source.end_s is None or not is_youtube_id(source.id):
            raise ValueError(
                f"{path}: clip {row.clip.key} is no AudioSet segment; expected the clips.parquet "
                "of a directory made by `ingest audioset`"
            )
        clips.append(
            Clip(
                key=row.clip.key,
                split=row.clip.split,
                source=source,
                labels=row.clip.labels,
                events=row.clip.events,
                attributes=row.clip.attributes,
                n_samples=_n_samples(source.start_s, source.end_s),
            )
        )
    return clips


def _label(text: str, names: dict[str, str]) -> str:
    """The ontology id of a label given by id or display name."""
    ids = {name.lower(): label for label, name in names.items()} | {label: label for label in names}
    label = ids.get(text) or ids.get(text.lower())
    if label is None:
        close = difflib.get_close_matches(text.lower(), ids, n=3)
        hint = f", for example {' or '.join(names[ids[name]] for name in close)}" if close else ""
        raise ValueError(f"--classes: no label {text!r}; expected a name or id of AudioSet's{hint}")
    return label
