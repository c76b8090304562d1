"""AudioSet's csv files: which seconds of which YouTube video carry which labels.

The official segment csv has comment lines that begin with `#`, then one line per segment; the
separator is comma and blank, and the label list is quoted:

    # YTID, start_seconds, end_seconds, positive_labels
    --PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"

AudioSet-strong's tsv has a header and one line per event; a segment is its video's id and its start
in milliseconds, and lasts 10 s:

    segment_id	start_time_seconds	end_time_seconds	label
    YxlGt805lTA_30000	2.627	7.237	/m/053hz1

Copies in circulation were often damaged by spreadsheets (ids that begin with `-` become
`#NAME?`, labels spread over columns), so everything is checked and nothing is guessed.
"""

import csv
import logging
import math
import re
from dataclasses import dataclass
from pathlib import Path

from slvr.ingest.download import PATIENT, Patience, RemoteFile, checksum_fault, download
from slvr.shards.clip import Event

logger = logging.getLogger(__name__)

LICENSE = "CC-BY-4.0"  # of the csv files; the audio belongs to its uploaders
HOMEPAGE = "https://research.google.com/audioset/download.html"

_BASE_URL = "https://storage.googleapis.com/us_audioset/youtube_corpus/v1/csv/"
_STRONG_URL = "https://storage.googleapis.com/us_audioset/youtube_corpus/strong/"
_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
_LABEL = re.compile(r"/[a-z]/[a-z0-9_]+")
_STRONG_ID = re.compile(r"([A-Za-z0-9_-]{11})_([0-9]{1,9})")
_STRONG_COLUMNS = ["segment_id", "start_time_seconds", "end_time_seconds", "label"]
STRONG_S = 10.0
"""Length of every clip of AudioSet-strong, whose list gives the start alone."""
STRONG_SLACK_S = 0.01
"""What rounding may make of an event's end."""
LATEST_S = 1e6
"""No video is as long: eleven days."""
_SEGMENT_COLUMNS = "YTID, start_seconds, end_seconds, positive_labels"
_LABEL_COLUMNS = ["index", "mid", "display_name"]
_SPREADSHEET_ERROR = "#NAME?"


@dataclass(frozen=True)
class OfficialFile:
    """One csv of the AudioSet release.

    Attributes:
        url: where Google serves it.
        n_rows: rows without comments and header, as the files' own headers say (the numbers on
            the web page are larger and wrong).
        sha256: of the copy we know, or None. Google publishes no checksum, so it is a soft check.
    """

    url: str
    n_rows: int
    sha256: str | None


OFFICIAL = {
    "balanced": OfficialFile(
        url=_BASE_URL + "balanced_train_segments.csv",
        n_rows=22_160,
        sha256="3b83e5ff9ed72cfda37d4e36ce08250e107c1ea70f109f6ab6668ac200db5e94",
    ),
    "eval": OfficialFile(
        url=_BASE_URL + "eval_segments.csv",
        n_rows=20_371,
        sha256="f7055f53935f70e74e39494a5c8c4c78f1700fce275028bd36e31186f33d45db",
    ),
    "unbalanced": OfficialFile(
        url=_BASE_URL + "unbalanced_train_segments.csv", n_rows=2_041_789, sha256=None
    ),
    "labels": OfficialFile(
        url=_BASE_URL + "class_labels_indices.csv",
        n_rows=527,
        sha256="cdd1049833c4b86127c2773ac0d14a2754b6a6d0d1798002ed5c66e699708429",
    ),
    "strong_train": OfficialFile(_STRONG_URL + "audioset_train_strong.tsv", 934_821, None),
    "strong_eval": OfficialFile(_STRONG_URL + "audioset_eval_strong.tsv", 139_538, None),
    "strong_labels": OfficialFile(_STRONG_URL + "mid_to_display_name.tsv", 456, None),
}


@dataclass(frozen=True)
class Segment:
    """One labelled stretch of a video: `[start_s, end_s)` in seconds, labels as ontology ids."""

    youtube_id: str
    start_s: float
    end_s: float
    labels: tuple[str, ...]
    events: tuple[Event, ...] = ()


def read_segments(path: str | Path) -> list[Segment]:
    """The segments of a list of AudioSet, in the order of the file.

    Args:
        path: a csv as `OFFICIAL` names, or any other of that form (a subset, a new selection); or
            a tsv of AudioSet-strong, which has a line for each event.

    Raises:
        ValueError: a line is not of that form, an id is mangled, a segment is there twice or ends
            before it starts, or there is no segment; names the file and the line.
        OSError: the file cannot be read.
    """
    lines = _lines(path)
    if lines and lines[0].startswith("segment_id\t"):
        return _read_strong(path, lines)
    segments: list[Segment] = []
    line_of: dict[tuple[str, float], int] = {}
    for number, line in enumerate(lines, start=1):
        is_comment = line.startswith("#") and not line.startswith(_SPREADSHEET_ERROR)
        if is_comment or not line.strip():
            continue
        where = f"{path}, line {number}"
        segment = _parse_segment(line, where)
        first = line_of.setdefault((segment.youtube_id, segment.start_s), number)
        if first != number:
            raise ValueError(
                f"{where}: id {segment.youtube_id} from {segment.start_s} s was already on line "
                f"{first}; expected each segment once. Remove one of the two lines."
            )
        segments.append(segment)
    if not segments:
        raise ValueError(f"{path}: no segment in this file; expected lines {_SEGMENT_COLUMNS!r}")
    return segments


def _read_strong(path: str | Path, lines: list[str]) -> list[Segment]:
    """The segments of AudioSet-strong: events count from the start of their 10 s."""
    if lines[0].rstrip().split("\t") != _STRONG_COLUMNS:
        raise ValueError(
            f"{path}, line 1: got columns {lines[0].split()}, expected {_STRONG_COLUMNS}"
        )
    events: dict[tuple[str, int], list[Event]] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        fields = line.rstrip().split("\t")
        segment = _STRONG_ID.fullmatch(fields[0])
        if len(fields) != len(_STRONG_COLUMNS) or segment is None:
            raise ValueError(
                f"{where}: got {line.strip()[:120]!r}, expected {_STRONG_COLUMNS}, the first "
                f"YouTube's id, '_' and the start in ms. {_fresh_copy_hint()}"
            )
        _check_label(fields[3], where)
        start_s, end_s = (_seconds(text, where) for text in fields[1:3])
        if not start_s <= end_s <= STRONG_S + STRONG_SLACK_S:
            raise ValueError(
                f"{where}: the event goes from {start_s} to {end_s} s; expected an end after the "
                f"start, within the {STRONG_S:g} s of its segment"
            )
        key = (segment[1], int(segment[2]))
        events.setdefault(key, []).append(Event(fields[3], start_s, end_s))
    if not events:
        raise ValueError(f"{path}: no event in this file; expected lines {_STRONG_COLUMNS}")
    return [
        Segment(
            *(youtube_id, start_ms / 1000, start_ms / 1000 + STRONG_S),
            labels=tuple(dict.fromkeys(event.label for event in found)),
            events=tuple(found),
        )
        for (youtube_id, start_ms), found in events.items()
    ]


def _parse_segment(line: str, where: str) -> Segment:
    # Without skipinitialspace the blank before the quote makes csv split the label list.
    fields = next(csv.reader([line], skipinitialspace=True))
    if len(fields) != 4:
        raise ValueError(
            f"{where}: got {len(fields)} columns, expected 4 ({_SEGMENT_COLUMNS}, the labels "
            f"within one pair of quotes): {line.strip()[:120]!r}. {_fresh_copy_hint()}"
        )
    youtube_id, start, end, labels_text = (field.strip() for field in fields)
    if not _YOUTUBE_ID.fullmatch(youtube_id):
        cause = " (a spreadsheet's mark)" if youtube_id == _SPREADSHEET_ERROR else ""
        raise ValueError(
            f"{where}: got the id {youtube_id!r}{cause}, expected 11 characters of A-Z, a-z, "
            f"0-9, '-' and '_'. {_fresh_copy_hint()}"
        )
    start_s, end_s = (_seconds(text, where) for text in (start, end))
    if end_s <= start_s:
        raise ValueError(
            f"{where}: {youtube_id} ends at {end_s} s and starts at {start_s} s; "
            f"expected an end after the start"
        )
    labels = tuple(label.strip() for label in labels_text.split(","))
    for label in labels:
        _check_label(label, where)
    return Segment(youtube_id, start_s, end_s, labels)


def _check_label(label: str, where: str) -> None:
    if not _LABEL.fullmatch(label):
        raise ValueError(
            f"{where}: got the label {label!r}, expected ontology ids such as '/m/09x0r'. "
            f"{_fresh_copy_hint()}"
        )


def _seconds(text: str, where: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LATEST_S:
        raise ValueError(
            f"{where}: got {text[:40]!r} where seconds stand, expected a number from 0 to "
            f"{LATEST_S:g}"
        )
    return seconds


def is_youtube_id(text: str) -> bool:
    """Whether a text is a YouTube id."""
    return _YOUTUBE_ID.fullmatch(text) is not None


def is_label(text: str) -> bool:
    """Whether a text is an ontology id."""
    return _LABEL.fullmatch(text) is not None


def read_ids(path: str | Path) -> tuple[str, ...]:
    """The YouTube ids of a text file: one on each line, `#` begins a comment.

    Raises:
        ValueError: a line is no id, or there is none; names the file and the line.
        OSError: the file cannot be read.
    """
    ids = []
    for number, line in enumerate(_lines(path), start=1):
        is_comment = line.startswith("#") and not line.startswith(_SPREADSHEET_ERROR)
        if is_comment or not line.strip():
            continue
        if not _YOUTUBE_ID.fullmatch(line.strip()):
            raise ValueError(
                f"{path}, line {number}: got {line.strip()[:40]!r}, expected a YouTube id: 11 "
                "characters of A-Z, a-z, 0-9, '-' and '_'"
            )
        ids.append(line.strip())
    if not ids:
        raise ValueError(f"{path}: no id in this file; expected one on each line")
    return tuple(ids)


def read_label_names(path: str | Path) -> dict[str, str]:
    """The display name of each ontology id, in the order of the label indices.

    Args:
        path: a `class_labels_indices.csv`, or AudioSet-strong's `mid_to_display_name.tsv`, whose
            lines hold id and name alone.

    Raises:
        ValueError: another header, a row of another width, an id twice, or no rows.
        OSError: the file cannot be read.
    """
    lines = _lines(path)
    columns = _LABEL_COLUMNS
    if lines and _LABEL.fullmatch(lines[0].partition("\t")[0]):
        columns = _LABEL_COLUMNS[1:]
        rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        rows = csv.reader(lines)
        header = next(rows, [])
        if header != columns:
            raise ValueError(f"{path}, line 1: got columns {header}, expected {columns}")
    names: dict[str, str] = {}
    for row in rows:
        where = f"{path}, line {rows.line_num}"
        if len(row) != len(columns):
            raise ValueError(f"{where}: got {len(row)} columns, expected {columns}")
        mid, name = row[-2:]
        if mid in names:
            raise ValueError(f"{where}: id {mid} occurs twice, expected each id once")
        names[mid] = name
    if not names:
        raise ValueError(f"{path}: no label in this file, expected rows of {_LABEL_COLUMNS}")
    return names


def _lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error}), expected a csv file") from error


def _fresh_copy_hint() -> str:
    return f"Take a fresh copy from {HOMEPAGE}"


def download_csv(name: str, cache: Path, patience: Patience = PATIENT) -> Path:
    """The path of an official csv, fetched on the first call and kept in the cache.

    A checksum that differs from the copy we know is logged as a warning with both sums, not
    refused.

    Args:
        name: a key of `OFFICIAL`.
        cache: folder for the file; made if missing.
        patience: with Google's server.

    Raises:
        OSError: the file could not be fetched or stored; says which URL and what to do instead.
    """
    official = OFFICIAL[name]
    option = "--label-names" if name.endswith("labels") else "--segments"
    file = RemoteFile(official.url.rpartition("/")[2], (official.url,))
    own = f"give your own csv with {option} FILE"
    download([file], cache, instead=own, patience=patience)
    path = cache / file.name
    if official.sha256 and (fault := checksum_fault(path, f"sha256:{official.sha256}")):
        logger.warning("%s: %s: the list may have changed", path, fault)
    return path
