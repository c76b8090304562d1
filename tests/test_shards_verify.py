import dataclasses
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from slvr.ingest.looks.commands import Verify
from slvr.ingest.looks.commands import verify as verify_command
from slvr.shards.croissant import CROISSANT, croissant
from slvr.shards.files import file_sha256
from slvr.shards.manifest import MANIFEST
from slvr.shards.read import ShardDirectory
from slvr.shards.rows import CLIPS
from slvr.shards.verify import verify
from slvr.shards.write import index_of

MakeDirectory = Callable[..., ShardDirectory]
TAR = "train-000000.tar"


def damages(directory: ShardDirectory) -> str:
    return "\n".join(map(str, verify(ShardDirectory.open(directory.path))))


def test_an_intact_directory_has_no_damage(make_directory: MakeDirectory) -> None:
    seen: list[str] = []
    assert verify(make_directory(), on_shard=seen.append) == []
    assert seen == [TAR, "train-000001.tar"]


@pytest.mark.parametrize("place", ["samples", "header", "padding"])
def test_flipped_byte(make_directory: MakeDirectory, place: str) -> None:
    directory = make_directory()
    row = directory.clips("train").iloc[0]
    offset = {
        "samples": int(row["audio_offset_bytes"] + row["audio_length_bytes"] // 2),
        "header": int(row["audio_offset_bytes"] - 500),
        "padding": -1,
    }[place]
    content = bytearray((directory.path / TAR).read_bytes())
    content[offset] ^= 1
    (directory.path / TAR).write_bytes(content)
    assert f"{TAR}: changed: its SHA-256" in damages(directory)
    if place == "samples":
        assert "clip clip_0000" in damages(directory)


def test_truncated_tar(make_directory: MakeDirectory) -> None:
    directory = make_directory()
    content = (directory.path / TAR).read_bytes()
    (directory.path / TAR).write_bytes(content[: len(content) // 2])
    found = damages(directory)
    assert f"{TAR}: truncated: {len(content) // 2} bytes, expected {len(content)}" in found
    assert "row without clip" in found


def test_missing_shard(make_directory: MakeDirectory) -> None:
    directory = make_directory()
    (directory.path / TAR).unlink()
    assert damages(directory) == f"{TAR}: missing"


def test_tar_cut_between_members(make_directory: MakeDirectory) -> None:
    directory = make_directory()
    path = directory.path / TAR
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-1]
        assert last.name.endswith(".json")
    content = path.read_bytes()[: last.offset]
    path.write_bytes(content + bytes(1024))
    found = damages(directory)
    assert "cut between members: clip clip_0010 has flac, expected flac, json" in found


def test_row_without_clip_and_clip_without_row(make_directory: MakeDirectory) -> None:
    directory = make_directory()
    other = make_directory("other", n_clips=11)
    for name in ("train-000001.tar", "train-000001.idx"):
        (directory.path / name).write_bytes((other.path / name).read_bytes())
    assert "row without clip: clips.parquet has clip_0011" in damages(directory)
    for name in ("train-000001.tar", "train-000001.idx"):
        (other.path / name).write_bytes((make_directory(f"x{name}").path / name).read_bytes())
    assert "clip without row: the shard has clip_0011" in damages(other)


def test_stale_manifest(make_directory: MakeDirectory) -> None:
    directory = make_directory()
    table = pq.read_table(directory.path / CLIPS)
    pq.write_table(table.slice(0, 5), directory.path / CLIPS)
    found = damages(directory)
    assert "clips.parquet: stale manifest or changed table" in found
    extra = directory.path / "train-000007.tar"
    extra.write_bytes((directory.path / TAR).read_bytes())
    assert "train-000007.tar: stale manifest: it does not name this shard" in damages(directory)


def test_missing_or_broken_table_and_index(make_directory: MakeDirectory) -> None:
    directory = make_directory()
    (directory.path / "train-000000.idx").unlink()
    (directory.path / "train-000001.idx").write_text("v1.2 0\n")
    found = damages(directory)
    assert "train-000000.idx: missing" in found and "train-000001.idx: stale" in found
    (directory.path / CLIPS).write_bytes(b"no parquet")
    assert "clips.parquet: unreadable" in damages(directory)
    (directory.path / CLIPS).unlink()
    assert "clips.parquet: missing" in damages(directory)


@pytest.mark.parametrize("place", ["name", "sha256", "contentSize"])
def test_changed_or_missing_croissant(make_directory: MakeDirectory, place: str) -> None:
    directory = make_directory()
    path = directory.path / CROISSANT
    content = bytearray(path.read_bytes())
    content[content.index(f'"{place}": "'.encode()) + len(place) + 6] ^= 1
    path.write_bytes(content)
    stale = f"{CROISSANT}: stale or changed: it is not what the manifest gives"
    assert damages(directory) == stale
    path.unlink()
    assert damages(directory) == f"{CROISSANT}: missing"


def test_counts_that_do_not_add_up(make_directory: MakeDirectory, tmp_path: Path) -> None:
    directory = make_directory()
    manifest = directory.path / "dataset.json"
    manifest.write_text(manifest.read_text().replace('"gone": 1', '"gone": 2'))
    assert "counts by status" in damages(directory)
    assert file_sha256(directory.path / CLIPS) == directory.manifest.clips_sha256


def reseal(directory: ShardDirectory) -> None:
    """Makes manifest and Croissant agree with the files again: a lie that no hash gives away."""
    path = directory.path
    shards = tuple(
        dataclasses.replace(
            shard,
            bytes=(path / shard.name).stat().st_size,
            sha256=file_sha256(path / shard.name),
        )
        for shard in directory.manifest.shards
    )
    manifest = dataclasses.replace(
        directory.manifest, shards=shards, clips_sha256=file_sha256(path / CLIPS)
    )
    (path / MANIFEST).write_text(manifest.to_json())
    (path / CROISSANT).write_text(croissant(manifest))


def with_cells(directory: ShardDirectory, row: int, **cells: Any) -> None:
    """Changes cells of the table."""
    table = pq.read_table(directory.path / CLIPS)
    rows = table.to_pylist()
    rows[row] |= cells
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), directory.path / CLIPS)


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        ({"labels": ["class_1"]}, "clip clip_0000: labels is ['class_0'] in its json"),
        ({"labels": ["no class"]}, "labels that the manifest's vocabulary has not: 'no class'"),
        ({"n_samples": 7}, "clip clip_0000: n_samples is"),
        ({"pcm_sha256": "0" * 64}, "clip clip_0000: pcm_sha256 is"),
        ({"source_uri": "elsewhere"}, "clip clip_0000: source_uri is 'made/0.wav' in its json"),
        ({"sample_rate_hz": 8000}, "clips of [8000] Hz, the manifest says 16000 Hz"),
        ({"attributes": "[]"}, "clip clip_0000: its row in clips.parquet is none"),
        ({"attributes": "{"}, "clip clip_0000: its row in clips.parquet is none"),
        ({"attributes": '{"pitch": 1}'}, "clip clip_0000: attributes is"),
        ({"events": []}, "clip clip_0000: events is"),
        ({"start_s": 0.5}, "clip clip_0000: start_s is 0.0 in its json, 0.5 in clips.parquet"),
        ({"licence": "CC0-1.0"}, "clip clip_0000: licence is '' in its json"),
        (
            {"attributes": '{"level_db": 0.0, "pitch": "0", "speaker": "0"}'},
            "clip clip_0000: attributes is",
        ),
        ({"events": [{"label": "x", "start_s": 2.0, "end_s": 1.0}]}, "its row in clips.parquet is"),
        ({"audio_offset_bytes": 1}, "clip clip_0000: not at the place"),
        ({"shard": None}, "clip clip_0000: it is ok or it has no shard, never both or none"),
        ({"shard": "../x.tar"}, "clips lie in ../x.tar, which the manifest does not name"),
        ({"key": "clip_0002"}, "key clip_0002 occurs twice"),
        ({"split": "test"}, "counts by status: manifest says"),
        ({"status": "gone"}, "counts by status: manifest says"),
        ({"labels": None}, "column labels has 1 empty cells, expected none"),
        ({"labels": [None]}, "column labels has 1 empty cells, expected none"),
        ({"key": None}, "column key has 1 empty cells, expected none"),
    ],
)
def test_a_table_that_says_something_else(
    make_directory: MakeDirectory, cells: dict[str, Any], found: str
) -> None:
    directory = make_directory()
    with_cells(directory, 0, **cells)
    reseal(directory)
    assert found in damages(directory)


def test_columns_of_other_types_are_a_damage(make_directory: MakeDirectory) -> None:
    directory = make_directory()
    table = pq.read_table(directory.path / CLIPS)
    place = table.schema.get_field_index("n_samples")
    texts = table["n_samples"].cast(pa.string())
    pq.write_table(table.set_column(place, "n_samples", texts), directory.path / CLIPS)
    reseal(directory)
    assert "column n_samples holds string, expected int64" in damages(directory)


def member(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


@pytest.mark.parametrize(
    ("extra", "found"),
    [
        (member("x.flac", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "no plain file"),
        (member("x.flac", type=tarfile.LNKTYPE, linkname="../victim"), "no plain file"),
        (member("folder", type=tarfile.DIRTYPE), "no plain file"),
        (member("x.flac", type=tarfile.CHRTYPE), "no plain file"),
        (member("../x.flac", b"x"), "expected <key>.flac or <key>.json"),
        (member("a/x.flac", b"x"), "expected <key>.flac or <key>.json"),
        (member("x.txt", b"x"), "expected <key>.flac or <key>.json"),
        (member("clip_0000.flac", b"x"), "a second one of this name"),
        (member("x.json", b"{}"), "cut between members: clip x has json"),
    ],
)
def test_members_that_a_shard_does_not_have(
    make_directory: MakeDirectory, extra: tuple[tarfile.TarInfo, bytes], found: str
) -> None:
    directory = make_directory()
    info, content = extra
    with tarfile.open(directory.path / TAR, "a") as tar:
        tar.addfile(info, io.BytesIO(content))
    reseal(directory)
    assert found in damages(directory)


@pytest.mark.parametrize(
    "text", [b"[]", b"{", b"null", b"[" * 10_000, b"\xff", b'{"n_samples": 1}']
)
def test_a_json_that_is_none(make_directory: MakeDirectory, text: bytes) -> None:
    directory = make_directory()
    path = directory.path / TAR
    with tarfile.open(path) as tar:
        members = [(each, tar.extractfile(each).read()) for each in tar]  # type: ignore[union-attr]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for info, content in members:
            changed = text if info.name == "clip_0000.json" else content
            tar.addfile(member(info.name, changed)[0], io.BytesIO(changed))
    path.with_suffix(".idx").write_text(index_of(path))
    reseal(directory)
    assert "clip clip_0000: " in damages(directory)


def first_shard(fields: dict[str, Any], **changes: Any) -> None:
    fields["shards"][0] |= changes


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda m: first_shard(m, name="../victim/train-000000.tar"), "in the directory itself"),
        (lambda m: first_shard(m, name="..\\train-000000.tar"), "in the directory itself"),
        (lambda m: first_shard(m, name="/tmp/train-000000.tar"), "in the directory itself"),
        (lambda m: first_shard(m, split="../train", name="../train-000000.tar"), "itself"),
        (lambda m: first_shard(m, name=7), "a shard's name is 7, expected text"),
        (lambda m: first_shard(m, n=-1), "a shard's n is -1"),
        (lambda m: first_shard(m, sha256="x"), "expected 64 hex digits"),
        (lambda m: m["shards"].append(m["shards"][0]), "is named twice"),
        (lambda m: m.update(shards=[7]), "fields are missing or unknown"),
        (lambda m: m.update(shards=None), "fields are missing or unknown"),
        (lambda m: m.update(labels=["a"]), "labels is ['a'], expected a JSON object of texts"),
        (lambda m: m.update(counts={"train": {"fine": 1}}), "counts is"),
        (lambda m: m.update(codec="mp3"), "codec is 'mp3', expected flac or wav"),
        (lambda m: m.update(sample_rate_hz=True), "sample_rate_hz is True"),
        (lambda m: m.pop("name"), "fields are missing or unknown"),
        (lambda m: m.update(more=1), "fields are missing or unknown"),
    ],
)
def test_a_manifest_that_cannot_be_is_one_sentence(
    make_directory: MakeDirectory,
    change: Callable[[dict[str, Any]], object],
    found: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    directory = make_directory()
    path = directory.path / MANIFEST
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=r"dataset\.json") as caught:
        ShardDirectory.open(directory.path)
    assert found in str(caught.value)
    assert verify_command(Verify(str(directory.path))) == 1
    assert found in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "[]", "null", "7", "[" * 100_000, "{", '{"schema": 2}'])
def test_a_manifest_that_is_none_is_one_sentence(make_directory: MakeDirectory, text: str) -> None:
    directory = make_directory()
    (directory.path / MANIFEST).write_text(text)
    with pytest.raises(ValueError, match=r"dataset\.json: "):
        ShardDirectory.open(directory.path)


def test_an_empty_vocabulary_is_a_damage(make_directory: MakeDirectory) -> None:
    directory = make_directory()
    manifest = dataclasses.replace(directory.manifest, labels={})
    (directory.path / MANIFEST).write_text(manifest.to_json())
    (directory.path / CROISSANT).write_text(croissant(manifest))
    assert "labels that the manifest's vocabulary has not: 'class_0'" in damages(directory)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda m: first_shard(m, n=10**400), "6 clips lie in train-000000.tar, the manifest says"),
        (lambda m: m.update(counts={}), "counts by status: manifest says {}, table holds"),
    ],
)
def test_numbers_that_differ_are_a_damage(
    make_directory: MakeDirectory, change: Callable[[dict[str, Any]], object], found: str
) -> None:
    directory = make_directory()
    path = directory.path / MANIFEST
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))
    assert found in damages(directory)
