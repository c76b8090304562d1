"""A task as HEAR's kit prepares it: `task_metadata.json` and what lies around it.

    task_metadata.json          name, version, kind of embedding and prediction, splits, length
    labelvocabulary.csv         idx,label
    <split>.json                {"file.wav": ["label", ...]}, of sound events
                                {"file.wav": [{"label", "start", "end"}, ...]} in milliseconds
    <rate>/<split>/file.wav     the same clips at one or more sample rates

Splits are train, valid and test, or fold00, fold01, ... Published tarballs have
`hear-2021.0.6/tasks/<task>/` or `tasks/<task>/` above all of it.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from slvr.ingest.archives.files import Files
from slvr.ingest.hear.task import Amends, events_of, vocabulary
from slvr.ingest.recipe import ClipPlan
from slvr.shards.clip import SAMPLE_RATE_HZ, Attribute, Clip, Source, key_of

MEMBER = r"\d{4,6}/[^/]+/[^/]+\.wav"
METADATA = "task_metadata.json"
VOCABULARY = "labelvocabulary.csv"
SPLITS = ("train", "valid", "test")
SPLIT_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
"""It becomes the name of shards."""
KEPT = (
    *("task_name", "version", "mode", "embedding_type", "prediction_type", "split_mode"),
    *("sample_duration", "evaluation", "splits", "nfolds", "evaluation_params"),
)
"""Of the task's metadata, what an evaluation needs and the manifest keeps."""
KINDS = {
    "embedding_type": ("scene", "event"),
    "prediction_type": ("multiclass", "multilabel"),
}

Listed = dict[str, list[Any]]
"""File -> its labels, or its events."""


def read_metadata(files: Files) -> dict[str, Any]:
    """The task's own description.

    Raises:
        ValueError: there is none or more than one, or it is of no task.
    """
    try:
        found = _object(files.text(METADATA), METADATA)
    except ValueError as error:
        raise ValueError(f"{error}; give the folder or tarball of one prepared task") from error
    for name, expected in KINDS.items():
        if found.get(name) not in expected:
            raise ValueError(
                f"{METADATA}: {name} is {found.get(name)!r}, expected {' or '.join(expected)}"
            )
    if not isinstance(found.get("task_name"), str):
        raise ValueError(f"{METADATA}: task_name is {found.get('task_name')!r}, expected a name")
    length_s = found.get("sample_duration")
    if not (length_s is None or (isinstance(length_s, int | float) and 0 < length_s < 86_400)):
        raise ValueError(
            f"{METADATA}: sample_duration is {length_s!r}, expected seconds, or null where clips "
            "have lengths of their own"
        )
    return found


def name_of(metadata: Mapping[str, Any]) -> str:
    """The name of the task's folder, `<task>-<version>-<mode>`, as a name of our own."""
    parts = [str(metadata[name]) for name in ("task_name", "version", "mode") if metadata.get(name)]
    return re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(parts))[:64].lstrip(".")


def plan_of(files: Files, licence: str) -> ClipPlan:
    """The clips of a prepared task.

    Raises:
        ValueError: a list is missing, or is none.
    """
    metadata = read_metadata(files)
    listed, notes = _splits(files, metadata)
    places, of_rates = _places(files, listed)
    length_s = metadata.get("sample_duration")
    is_event = metadata["embedding_type"] == "event"
    lengths_s = files.durations_s("measure") if is_event and length_s is None else {}
    stems = Counter(PurePosixPath(file).stem for names in listed.values() for file in names)
    is_pitch = "pitch" in metadata["task_name"]
    amends, clips = Amends(), []
    used: dict[str, str] = {}
    for split, names in listed.items():
        for file, items in names.items():
            uri = places[split, file]
            known_s = length_s or lengths_s.get(uri)
            events = events_of(file, _events(items), known_s or float("inf"), amends)
            labels = [event.label for event in events] if is_event else _labels(items)
            used |= {label: used.get(label, file) for label in labels}
            stem = PurePosixPath(file).stem
            clips.append(
                Clip(
                    key=key_of(stem if stems[stem] == 1 else f"{split}_{stem}"),
                    split=split,
                    source=Source(uri),
                    labels=tuple(dict.fromkeys(labels)),
                    events=events if is_event else (),
                    attributes=_attributes(split, labels, is_pitch),
                    licence=licence,
                    n_samples=round((known_s or 0.0) * SAMPLE_RATE_HZ),
                )
            )
    all_labels, of_labels = vocabulary(_vocabulary(files), used, VOCABULARY)
    amiss = [each.told() for each in amends.found]
    return ClipPlan(
        clips=tuple(clips),
        labels={label: label.replace("_", " ") for label in all_labels},
        options={"task": name_of(metadata), "made_from": "the prepared task"},
        notes=(*notes, *of_rates, *of_labels, *_odd_labels(metadata, clips), *amends.notes()),
        extra={"hear": {name: metadata[name] for name in KEPT if name in metadata}}
        | ({"events_amiss": amiss} if amiss else {}),
    )


def _splits(files: Files, metadata: Mapping[str, Any]) -> tuple[dict[str, Listed], list[str]]:
    """The list of each split that is there, and a sentence on those that are not."""
    named = metadata.get("splits")
    folds = metadata.get("nfolds") if "kfold" in str(metadata.get("split_mode")) else None
    if not (isinstance(named, list) and named and all(isinstance(n, str) for n in named)):
        n_folds = folds if isinstance(folds, int) and 0 < folds < 100 else 0
        named = [f"fold{i:02d}" for i in range(n_folds)] or list(SPLITS)
    if strange := [split for split in named if not SPLIT_NAME.fullmatch(split)]:
        raise ValueError(
            f"{METADATA}: split {strange[0][:60]!r}, expected a name of letters, digits, _ and -"
        )
    here = {PurePosixPath(name).name for name in files.others}
    there = [split for split in named if f"{split}.json" in here]
    absent = [f"{split}.json" for split in named if split not in there]
    if not there:
        raise ValueError(
            f"none of {', '.join(absent)} is there, which {METADATA} names; fetch the task again"
        )
    note = f"{', '.join(absent)} is not there, though {METADATA} names it; the task is ingested "
    note += f"without, and an evaluation that needs the whole of it cannot use {', '.join(there)}"
    listed = {split: _listed(files, f"{split}.json") for split in there}
    return listed, [note] if absent else []


def _listed(files: Files, name: str) -> Listed:
    """File -> labels or events; one label alone counts as a list of one."""
    found = _object(files.text(name), name)
    return {file: item if isinstance(item, list) else [item] for file, item in found.items()}


def _places(
    files: Files, listed: Mapping[str, Listed]
) -> tuple[dict[tuple[str, str], str], list[str]]:
    """(split, file) -> the path of the audio nearest above our rate, and what to say of it."""
    rates_hz = sorted({int(uri.partition("/")[0]) for uri in files.audio}, key=_preference)
    places, taken = {}, Counter[int]()
    for split, names in listed.items():
        for file in names:
            paths = {rate: f"{rate:d}/{split}/{file}" for rate in rates_hz}
            there = [rate for rate, path in paths.items() if path in files.audio]
            rate_hz = there[0] if there else rates_hz[0]
            places[split, file] = paths[rate_hz]
            taken[rate_hz] += 1
    notes = []
    if set(taken) != {SAMPLE_RATE_HZ} or len(rates_hz) > 1:
        which = ", ".join(f"{n} clips of {rate} Hz" for rate, n in sorted(taken.items()))
        there_are = " and ".join(str(rate) for rate in sorted(rates_hz))
        notes.append(f"the task has audio of {there_are} Hz; taken: {which}")
        notes[0] += "" if set(taken) == {SAMPLE_RATE_HZ} else f", resampled to {SAMPLE_RATE_HZ} Hz"
    if low := [rate for rate in taken if rate < SAMPLE_RATE_HZ]:
        notes.append(
            f"audio of {low[0]} Hz holds nothing above {low[0] // 2} Hz: scores are not those of "
            f"the task at {SAMPLE_RATE_HZ} Hz"
        )
    wanted = {(split, file) for split, names in listed.items() for file in names}
    left = sorted(uri for uri in files.audio if tuple(uri.split("/")[1:]) not in wanted)
    if left:
        notes.append(f"{len(left)} audio files are in no list and left out, e.g. {left[0]}")
    return places, notes


def _preference(rate_hz: int) -> tuple[bool, int]:
    """The least rate from ours up first, then the greatest below it."""
    below = rate_hz < SAMPLE_RATE_HZ
    return below, -rate_hz if below else rate_hz


def _events(items: list[Any]) -> list[tuple[str, Any, Any]]:
    """Label, start and end of each event; nothing of what is no event."""
    found = [item if isinstance(item, dict) else {"label": item} for item in items]
    return [(str(e.get("label", "")), e.get("start"), e.get("end")) for e in found]


def _labels(items: list[Any]) -> list[str]:
    return [str(item) for item in items]


def _attributes(split: str, labels: list[str], is_pitch: bool) -> dict[str, Attribute]:
    known: dict[str, Attribute] = {}
    if fold := re.fullmatch(r"fold(\d{1,6})", split):
        known["fold"] = int(fold[1])
    if is_pitch and len(labels) == 1 and re.fullmatch(r"\d{1,3}", labels[0]):
        known["pitch"] = int(labels[0])
    return known


def _odd_labels(metadata: Mapping[str, Any], clips: list[Clip]) -> list[str]:
    """A sentence where clips of a task of one label each have none or several."""
    one_each = metadata["prediction_type"] == "multiclass" and metadata["embedding_type"] == "scene"
    odd = [clip for clip in clips if one_each and len(clip.labels) != 1]
    if not odd:
        return []
    return [
        f"{len(odd)} clips of a multiclass task do not have one label each, e.g. "
        f"{odd[0].source.uri}: {', '.join(odd[0].labels) or 'none'}; they are kept as they are"
    ]


def _vocabulary(files: Files) -> list[str]:
    """The labels in the order of their index, which runs from 0."""
    rows = list(csv.DictReader(files.text(VOCABULARY).splitlines()))
    indices = [str(row.get("idx", "")).strip() for row in rows]
    labels = [str(row.get("label", "")) for row in rows]
    if sorted(indices, key=lambda i: (len(i), i)) != [str(i) for i in range(len(rows))]:
        raise ValueError(f"{VOCABULARY}: column idx holds not each number from 0 up once")
    if len(set(labels)) < len(labels) or "" in labels:
        raise ValueError(f"{VOCABULARY}: a label is empty or there twice")
    return [label for _, label in sorted(zip(map(int, indices), labels, strict=True))]


def _object(text: str, name: str) -> dict[str, Any]:
    """A JSON object in which no name is there twice.

    Raises:
        ValueError: it is none.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(key for key, n in Counter(key for key, _ in pairs).items() if n > 1)
            raise ValueError(f"{twice!r} is there twice")
        return found

    try:
        found = json.loads(text, object_pairs_hook=once)
        json.dumps(found, ensure_ascii=False).encode()  # half a character would break the table
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: no JSON that can be used ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"{name}: expected a JSON object, got {type(found).__name__}")
    return found
