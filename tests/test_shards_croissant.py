import dataclasses
import json
from collections.abc import Callable

import mlcroissant as mlc
import pytest

from slvr.shards.croissant import CROISSANT, croissant
from slvr.shards.files import file_sha256
from slvr.shards.manifest import Manifest
from slvr.shards.read import ShardDirectory
from slvr.shards.rows import CLIPS, CLIPS_SCHEMA, COLUMNS

MakeDirectory = Callable[..., ShardDirectory]


@pytest.mark.parametrize("codec", ["flac", "wav"])
def test_it_is_valid_and_its_records_are_the_rows(
    make_directory: MakeDirectory, codec: str
) -> None:
    directory = make_directory(codec=codec)
    dataset = mlc.Dataset(jsonld=str(directory.path / CROISSANT))
    assert not dataset.metadata.ctx.issues.errors
    assert str(dataset.metadata.ctx.conforms_to.to_json()).endswith("croissant/1.1")
    expected = directory.rows()
    records = list(dataset.records("clips"))
    assert len(records) == len(expected) == 13
    for record, row in zip(records, expected.to_dict("records"), strict=True):
        assert set(record) == {f"clips/{name}" for name in CLIPS_SCHEMA.names}
        assert record["clips/key"].decode() == row["key"]
        assert record["clips/n_samples"] == row["n_samples"]
        assert [label.decode() for label in record["clips/labels"]] == row["labels"]
        assert record["clips/events"] == [
            {
                "clips/events/label": event["label"].encode(),
                "clips/events/start_s": event["start_s"],
                "clips/events/end_s": event["end_s"],
            }
            for event in row["events"]
        ]
        assert json.loads(record["clips/attributes"]) == row["attributes"]
    assert sum(len(record["clips/events"]) for record in records) == 6
    assert {record["clips/status"] for record in records} == {b"ok", b"gone"}


def test_it_says_what_the_manifest_says_but_the_date_that_nobody_knows(
    make_directory: MakeDirectory,
) -> None:
    manifest = dataclasses.replace(
        make_directory().manifest, citation="Somebody, 2026", homepage="https://example.org/data"
    )
    metadata = mlc.Dataset(jsonld=json.loads(croissant(manifest))).metadata
    assert metadata.name == "data" and metadata.cite_as == "Somebody, 2026"
    assert metadata.url == "https://example.org/data" and metadata.license == ["CC0-1.0"]
    assert metadata.version == "1"
    (clips,) = metadata.record_sets
    arrays = [field.id for field in clips.fields if field.is_array]
    assert arrays == ["clips/labels", "clips/events"]
    assert [field.description for field in clips.fields] == [each.description for each in COLUMNS]
    assert len(metadata.ctx.issues.warnings) == 1
    assert "datePublished" in metadata.ctx.issues.report()


def test_it_says_what_the_clips_were_computed_from(make_directory: MakeDirectory) -> None:
    manifest = make_directory().manifest
    derived = dataclasses.replace(manifest, derived_from={"shards": "aa", "separator": "bb"})
    stated = json.loads(croissant(derived))
    assert not mlc.Dataset(jsonld=stated).metadata.ctx.issues.errors
    assert [(work["name"], work["identifier"]) for work in stated["isBasedOn"]] == [
        *(("separator", "sha256:bb"), ("shards", "sha256:aa")),
    ]
    assert "isBasedOn" not in json.loads(croissant(manifest))
    assert Manifest.from_json(derived.to_json(), "here") == derived


def test_every_file_is_named_with_its_hash(make_directory: MakeDirectory) -> None:
    directory = make_directory()
    stated = json.loads((directory.path / CROISSANT).read_text())
    files = {file["@id"]: file for file in stated["distribution"]}
    assert set(files) == {CLIPS, "train-000000.tar", "train-000001.tar", "audio"}
    for name in set(files) - {"audio"}:
        assert files[name]["sha256"] == file_sha256(directory.path / name)
    tars = [tar["@id"] for tar in files["audio"]["containedIn"]]
    assert tars == ["train-000000.tar", "train-000001.tar"]


def test_equal_directories_have_equal_bytes(make_directory: MakeDirectory) -> None:
    one = make_directory()
    assert (one.path / CROISSANT).read_text() == croissant(one.manifest)
    assert (make_directory("other/data").path / CROISSANT).read_text() == croissant(one.manifest)


def test_a_set_of_failures_alone_is_described(make_directory: MakeDirectory) -> None:
    directory = make_directory(n_clips=0)
    assert len(list(mlc.Dataset(jsonld=str(directory.path / CROISSANT)).records("clips"))) == 1
