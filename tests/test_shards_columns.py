"""A field of a clip is declared once: every form of the record follows and comes back."""

import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slvr.shards.clip import STATUSES, Clip, Event, Source
from slvr.shards.columns import column, columns_of, record_of, values_of
from slvr.shards.read import ShardDirectory
from slvr.shards.rows import (
    CLIPS,
    CLIPS_SCHEMA,
    Place,
    Row,
    read_rows,
    read_table,
    row_of,
    sample_fields,
    write_rows,
)

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=9)
seconds = st.floats(0, 1e6)
numbers = st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False)
events = st.builds(lambda label, at, length: Event(label, at, at + length), texts, seconds, seconds)
clips = st.builds(
    Clip,
    key=st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,8}", fullmatch=True),
    split=texts,
    source=st.builds(
        Source, texts, start_s=st.none() | seconds, end_s=st.none() | seconds, id=texts
    ),
    labels=st.lists(texts, max_size=3).map(tuple),
    events=st.lists(events, max_size=3).map(tuple),
    attributes=st.dictionaries(texts, numbers | texts, max_size=4),
    status=st.sampled_from(STATUSES),
    detail=texts,
    n_samples=st.integers(0, 2**40),
    source_rate_hz=st.integers(0, 2**31),
)
places = st.builds(Place, texts, st.integers(0, 2**40), st.integers(0, 2**40))
rows = st.builds(Row, clips, st.none() | places)


@given(rows)
def test_a_row_survives_json_and_pickle(row: Row) -> None:
    assert record_of(Row, json.loads(json.dumps(values_of(row)))) == row
    assert pickle.loads(pickle.dumps(row)) == row


@settings(deadline=None, max_examples=30)
@given(st.lists(rows, max_size=5))
def test_rows_survive_parquet_and_numbers_stay_numbers(
    tmp_path_factory: pytest.TempPathFactory, written: list[Row]
) -> None:
    path = tmp_path_factory.mktemp("rows") / CLIPS
    write_rows(path, written)
    found = read_rows(path)
    assert found == sorted(written, key=lambda row: (row.clip.split, row.clip.key))
    for before, after in zip(
        sorted(written, key=lambda row: (row.clip.split, row.clip.key)), found, strict=True
    ):
        kinds = {name: type(value) for name, value in before.clip.attributes.items()}
        assert kinds == {name: type(value) for name, value in after.clip.attributes.items()}


def test_equal_attributes_have_equal_bytes() -> None:
    one, other = (
        Clip("a", "train", Source("x"), attributes=attributes)
        for attributes in ({"pitch": 60, "fold": 1}, {"fold": 1, "pitch": 60})
    )
    assert json.dumps(values_of(one)) == json.dumps(values_of(other))
    assert json.dumps(sample_fields(one)) == json.dumps(sample_fields(other))


@dataclasses.dataclass(frozen=True)
class Longer(Clip):
    """A clip with one more field."""

    loudness_db: float = dataclasses.field(default=0.0, metadata=column("Loudness in dB."))


def test_a_further_field_is_one_line() -> None:
    names = [each.name for each in columns_of(Longer)]
    assert names == [*(each.name for each in columns_of(Clip)), "loudness_db"]
    clip = Longer("a", "train", Source("x"), loudness_db=-23.0)
    assert values_of(clip)["loudness_db"] == -23.0 and record_of(Longer, values_of(clip)) == clip


def test_a_sample_says_what_is_known_of_its_clip_but_not_of_the_ingest() -> None:
    clip = Clip("a", "train", Source("u", 1.0, 2.0, "id"), ("x",), (Event("e", 0.5, 1.0),))
    assert sample_fields(dataclasses.replace(clip, attributes={"pitch": 60})) == {
        **{"key": "a", "split": "train", "source_uri": "u", "start_s": 1.0, "end_s": 2.0},
        **{"source_id": "id", "labels": ["x"], "attributes": {"pitch": 60}, "licence": ""},
        "events": [{"label": "e", "start_s": 0.5, "end_s": 1.0}],
        **{"sample_rate_hz": 16_000, "n_samples": 0, "source_bytes": 0, "source_sha256": ""},
        **{"source_format": "", "source_codec": "", "source_rate_hz": 0, "source_channels": 0},
        "pcm_sha256": "",
    }


def test_pandas_and_the_parquet_tools_read_the_table(
    make_directory: Callable[..., ShardDirectory],
) -> None:
    path = make_directory().path / CLIPS
    assert pq.read_schema(path).equals(CLIPS_SCHEMA)
    assert CLIPS_SCHEMA.field("attributes").type == pa.string()
    frame = pd.read_parquet(path).set_index("key")
    assert json.loads(frame.loc["clip_0003", "attributes"]) == {
        **{"pitch": 3, "level_db": -0.75, "speaker": "1"}
    }
    assert list(frame.loc["clip_0000", "events"]) == [
        {"label": "click", "start_s": 0.05, "end_s": 0.1}
    ]


def test_hugging_face_datasets_reads_the_table(
    make_directory: Callable[..., ShardDirectory],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    datasets = pytest.importorskip("datasets")
    path = make_directory().path / CLIPS
    found = datasets.load_dataset("parquet", data_files=str(path), cache_dir=str(tmp_path))
    by_key = {row["key"]: row for row in found["train"]}
    assert json.loads(by_key["clip_0004"]["attributes"])["pitch"] == 4
    assert [event["label"] for event in by_key["clip_0004"]["events"]] == ["click"]


def test_a_table_of_schema_1_or_of_somebody_else_is_refused(tmp_path: Path) -> None:
    first = {
        **{"key": ["a"], "split": ["train"], "labels": [["x"]], "status": ["ok"]},
        "pcm_sha256": ["00"],
    }
    pq.write_table(pa.table(first), tmp_path / CLIPS)
    with pytest.raises(ValueError, match=r"schema 1 .*run the same `ingest \.\.\.` with another"):
        read_table(tmp_path / CLIPS)
    pq.write_table(pa.table({"path": ["a.wav"]}), tmp_path / CLIPS)
    with pytest.raises(ValueError, match=r"no clips.parquet of a shard directory.* attributes"):
        read_rows(tmp_path / CLIPS)


def test_the_bytes_of_a_table_do_not_tell_how_its_rows_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = [Clip(f"k{i:03d}", "train", Source(f"u{i % 7}"), ("x",) * (i % 3)) for i in range(99)]
    for n in (1, 10, 99, 1000):
        monkeypatch.setattr("slvr.shards.rows.ROWS_A_PIECE", n)
        write_rows(tmp_path / f"{n}.parquet", map(row_of, planned))
    whole = (tmp_path / "1000.parquet").read_bytes()
    assert all((tmp_path / f"{n}.parquet").read_bytes() == whole for n in (1, 10, 99))
    write_rows(tmp_path / "none.parquet", [])
    assert read_rows(tmp_path / "none.parquet") == []
