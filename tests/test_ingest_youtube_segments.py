"""AudioSet's csv files are read exactly, damaged copies are refused by name and line."""

import contextlib
import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopback import Route, Server, serve
from slvr.ingest import download as downloads
from slvr.ingest.download import Patience
from slvr.ingest.youtube import segments
from slvr.ingest.youtube.segments import (
    OFFICIAL,
    OfficialFile,
    Segment,
    download_csv,
    read_label_names,
    read_segments,
)
from slvr.shards.clip import Event

FACTS = Path(__file__).parents[2] / "shared" / "facts"
HEAD = "# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=1\n# YTID, start_seconds\n"
GOOD = '--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"\n'


@pytest.fixture
def write(tmp_path):
    def write_text(text: str) -> Path:
        path = tmp_path / "segments.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write_text


def test_reads_the_official_form(write):
    path = write(HEAD + GOOD + "AE5oZzfu2-E, 239.800, 249.800, /m/0326g\n\n")
    assert read_segments(path) == [
        Segment("--PJHxphWEs", 30.0, 40.0, ("/m/09x0r", "/t/dd00088")),
        Segment("AE5oZzfu2-E", 239.8, 249.8, ("/m/0326g",)),
    ]


IDS = st.text("abcXYZ019_-", min_size=11, max_size=11)
MILLISECONDS = st.integers(0, 600_000)
LABELS = st.lists(st.from_regex(r"/[mtg]/[a-z0-9_]{1,9}", fullmatch=True), min_size=1, max_size=5)


@given(
    st.dictionaries(
        IDS, st.tuples(MILLISECONDS, st.integers(1, 10_000), LABELS), min_size=1, max_size=5
    )
)
def test_what_is_written_in_the_official_form_is_read_back(tmp_path_factory, wanted):
    path = tmp_path_factory.mktemp("csv") / "segments.csv"
    expected = [
        Segment(key, start / 1000, (start + length) / 1000, tuple(labels))
        for key, (start, length, labels) in wanted.items()
    ]
    lines = (
        f'{s.youtube_id}, {s.start_s:.3f}, {s.end_s:.3f}, "{",".join(s.labels)}"' for s in expected
    )
    path.write_text(HEAD + "\n".join(lines))
    assert read_segments(path) == expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("#NAME?, 30.000, 40.000, /m/09x0r", ["#NAME?", "spreadsheet", "11 characters"]),
        ("short, 30.000, 40.000, /m/09x0r", ["'short'", "11 characters"]),
        ("abcdefghijk, 30.000, 40.000, /m/09x0r,/m/04rlf", ["5 columns", "expected 4"]),
        ("abcdefghijk;30;40;/m/09x0r", ["1 columns", "expected 4"]),
        ("abcdefghijk, 40.000, 40.000, /m/09x0r", ["ends at 40.0", "after the start"]),
        ("abcdefghijk, 41.000, 40.000, /m/09x0r", ["ends at 40.0", "after the start"]),
        ("abcdefghijk, start, 40.000, /m/09x0r", ["'start'", "number"]),
        ("abcdefghijk, -1.000, 40.000, /m/09x0r", ["'-1.000'", "number"]),
        ("abcdefghijk, nan, 40.000, /m/09x0r", ["'nan'", "number"]),
        ("abcdefghijk, 30.000, inf, /m/09x0r", ["'inf'", "number"]),
        ("abcdefghijk, 30.000, 40.000, Speech", ["'Speech'", "/m/09x0r"]),
        ('abcdefghijk, 30.000, 40.000, "/m/09x0r,"', ["label ''"]),
        ("--PJHxphWEs, 30.000, 60.000, /m/09x0r", ["--PJHxphWEs from 30.0", "line 4", "once"]),
    ],
)
def test_a_damaged_line_is_refused_with_file_and_line(write, line, words):
    path = write(HEAD + GOOD + line + "\n")
    with pytest.raises(ValueError) as caught:
        read_segments(path)
    for word in [f"{path}, line 5", *words]:
        assert word in str(caught.value)


def test_two_segments_of_one_video_are_two(write):
    path = write(HEAD + GOOD + '--PJHxphWEs, 50.000, 60.000, "/m/09x0r"\n')
    assert [(s.youtube_id, s.start_s) for s in read_segments(path)] == [
        ("--PJHxphWEs", 30.0),
        ("--PJHxphWEs", 50.0),
    ]


STRONG = "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n"


def test_reads_audioset_strong_with_its_events(write):
    lines = (
        "YxlGt805lTA_30000\t2.627\t7.237\t/m/053hz1",
        "-_lGt805_10_1500\t0.000\t10.000\t/m/09x0r",
        "YxlGt805lTA_30000\t0.000\t0.500\t/m/09x0r",
        "YxlGt805lTA_30000\t1.000\t1.000\t/m/053hz1",
        "YxlGt805lTA_0\t3.000\t4.000\t/t/dd00088",
    )
    assert read_segments(write(STRONG + "\n".join(lines) + "\n")) == [
        Segment(
            *("YxlGt805lTA", 30.0, 40.0, ("/m/053hz1", "/m/09x0r")),
            (
                Event("/m/053hz1", 2.627, 7.237),
                Event("/m/09x0r", 0.0, 0.5),
                Event("/m/053hz1", 1.0, 1.0),
            ),
        ),
        Segment("-_lGt805_10", 1.5, 11.5, ("/m/09x0r",), (Event("/m/09x0r", 0.0, 10.0),)),
        Segment("YxlGt805lTA", 0.0, 10.0, ("/t/dd00088",), (Event("/t/dd00088", 3.0, 4.0),)),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("YxlGt805lTA\t1.0\t2.0\t/m/09x0r", "YouTube's id, '_' and the start in ms"),
        ("short_30000\t1.0\t2.0\t/m/09x0r", "YouTube's id, '_' and the start in ms"),
        ("YxlGt805lTA_30000\t1.0\t2.0", "YouTube's id, '_' and the start in ms"),
        ("YxlGt805lTA_30000\t1.0\t2.0\tSpeech", "label 'Speech'"),
        ("YxlGt805lTA_30000\tx\t2.0\t/m/09x0r", "'x' where seconds stand"),
        ("YxlGt805lTA_30000\t3.0\t2.0\t/m/09x0r", "the event goes from 3.0 to 2.0 s"),
        ("YxlGt805lTA_30000\t9.0\t12.5\t/m/09x0r", "within the 10 s of its segment"),
        ("YxlGt805lTA_30000\t1e9\t2e9\t/m/09x0r", "a number from 0 to 1e"),
        ("YxlGt805lTA_" + "9" * 400 + "\t1.0\t2.0\t/m/09x0r", "the start in ms"),
    ],
)
def test_a_damaged_line_of_events_is_refused(write, line, words):
    good = "YxlGt805lTA_30000\t2.627\t7.237\t/m/053hz1\n"
    with pytest.raises(ValueError, match=rf"segments.csv, line 3: .*{words}"):
        read_segments(write(STRONG + good + line + "\n"))


def test_other_lists_of_audioset_strong_are_refused(write):
    with pytest.raises(ValueError, match=r"line 1: got columns .*'present'"):
        read_segments(write(STRONG.rstrip() + "\tpresent\n"))
    with pytest.raises(ValueError, match="no event in this file"):
        read_segments(write(STRONG))


@pytest.mark.parametrize("content", [b"", HEAD.encode(), b"\xff\xfe\x00\x01"])
def test_a_file_without_segments_is_refused(tmp_path, content):
    path = tmp_path / "empty.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"empty\.csv"):
        read_segments(path)


def test_label_names_keep_commas_and_order(write):
    path = write('index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/m/05zppz,"Male speech, man"\n')
    assert list(read_label_names(path).items()) == [
        ("/m/09x0r", "Speech"),
        ("/m/05zppz", "Male speech, man"),
    ]


def test_label_names_of_audioset_strong_have_neither_header_nor_index(write):
    path = write('/m/09x0r\tSpeech\n/t/dd00134\tCar "passing by", fast\n')
    assert list(read_label_names(path).items()) == [
        ("/m/09x0r", "Speech"),
        ("/t/dd00134", 'Car "passing by", fast'),
    ]
    with pytest.raises(ValueError, match="line 2: got 1 columns"):
        read_label_names(write("/m/09x0r\tSpeech\n/t/dd00134\n"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Column1,Column2\n", "line 1: got columns"),
        ("", "line 1: got columns"),
        ("index,mid,display_name\n", "no label"),
        ("index,mid,display_name\n0,/m/09x0r\n", "line 2: got 2 columns"),
        ("index,mid,display_name\n0,/m/a,A\n1,/m/a,B\n", "line 3: id /m/a occurs twice"),
    ],
)
def test_a_damaged_label_file_is_refused(write, text, words):
    with pytest.raises(ValueError, match=words):
        read_label_names(write(text))


def test_the_official_files_are_read_whole():
    balanced, labels = FACTS / "balanced_train_segments.csv", FACTS / "class_labels_indices.csv"
    if not balanced.exists():
        pytest.skip("the official csv files are not beside this checkout")
    rows = read_segments(balanced)
    names = read_label_names(labels)
    lengths_s = [round(row.end_s - row.start_s, 3) for row in rows]
    assert len(rows) == OFFICIAL["balanced"].n_rows
    assert len(names) == OFFICIAL["labels"].n_rows
    assert {label for row in rows for label in row.labels} == set(names)
    assert sum(len(row.labels) for row in rows) == 52_882
    assert sum(length_s < 10 for length_s in lengths_s) == 345
    assert max(lengths_s) == 10
    assert sum(not row.start_s.is_integer() for row in rows) == 7
    assert sum(row.youtube_id.startswith("-") for row in rows) == 459
    for path, name in ((balanced, "balanced"), (labels, "labels")):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == OFFICIAL[name].sha256


BODY = (HEAD + GOOD).encode()
NAME = "balanced_train_segments.csv"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Waits between attempts take no time here."""
    monkeypatch.setattr(downloads, "BACKOFF_S", 0.0)
    return monkeypatch


@contextlib.contextmanager
def official(route: Route | None, patch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The balanced list as this route serves it, and our copy known by its checksum."""
    with serve({f"/{NAME}": route} if route else {}) as server:
        file = OfficialFile(server.url(f"/{NAME}"), 1, hashlib.sha256(BODY).hexdigest())
        patch.setitem(segments.OFFICIAL, "balanced", file)
        yield server


def test_a_csv_is_fetched_once(tmp_path, patient, caplog):
    with official(Route(BODY, "text/csv"), patient) as server:
        for _ in range(2):
            path = download_csv("balanced", tmp_path / "new")
            assert path == tmp_path / "new" / NAME
            assert path.read_bytes() == BODY
        assert server.requests[f"/{NAME}"] == 1
    assert not caplog.records


def test_another_checksum_warns_with_both_sums(tmp_path, patient, caplog):
    other = BODY + b"abcdefghijk, 1.000, 2.000, /m/09x0r\n"
    with official(Route(other, "text/csv"), patient), caplog.at_level(logging.WARNING):
        path = download_csv("balanced", tmp_path)
    assert len(read_segments(path)) == 2
    for body in (BODY, other):
        assert hashlib.sha256(body).hexdigest() in caplog.text


PASSING = [
    Route(BODY, "text/csv", fault="status", status=503, times=2),
    Route(BODY, "text/csv", fault="truncate", times=2),
    Route(BODY, "text/csv", fault="reset", times=2),
]


@pytest.mark.parametrize("route", PASSING, ids=lambda route: route.fault)
def test_a_fault_that_passes_is_told_and_leaves_the_right_bytes(tmp_path, patient, caplog, route):
    with official(route, patient):
        assert download_csv("balanced", tmp_path).read_bytes() == BODY
    assert "trying again in 0 s" in caplog.text


LASTING = [
    Route(fault="status", status=404),
    Route(fault="status", status=503),
    Route(BODY, fault="truncate"),
    Route(BODY, fault="reset"),
    Route(BODY, fault="stall"),
    None,
]


@pytest.mark.parametrize("route", LASTING, ids=lambda route: route.fault if route else "no server")
def test_a_failed_fetch_names_url_and_way_out_and_leaves_nothing(tmp_path, patient, route):
    with contextlib.ExitStack() as serving:
        server = serving.enter_context(official(route, patient))
        if route is None:
            serving.close()
        with pytest.raises(OSError, match="or give your own csv with --segments FILE") as caught:
            download_csv("balanced", tmp_path, Patience(5, 0.3))
    assert server.url(f"/{NAME}") in str(caught.value)
    assert str(tmp_path / NAME) in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {".lock"}


def test_the_way_out_of_the_label_list_is_its_own_option(tmp_path, patient):
    with serve({}) as server:
        file = OfficialFile(server.url("/labels.csv"), 1, None)
        patient.setitem(segments.OFFICIAL, "labels", file)
        with pytest.raises(OSError, match="or give your own csv with --label-names FILE"):
            download_csv("labels", tmp_path)
