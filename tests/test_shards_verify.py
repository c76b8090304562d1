import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from slvr.shards.croissant import CROISSANT
from slvr.shards.files import file_sha256
from slvr.shards.read import ShardDirectory
from slvr.shards.rows import CLIPS
from slvr.shards.verify import verify

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


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("events", [{"label": "click", "start_s": 0.05, "end_s": 0.3}]),
        ("attributes", '{"level_db": 0.0, "pitch": "0", "speaker": "0"}'),
        ("labels", ["class_0", "class_1"]),
        ("start_s", 0.5),
        ("licence", "CC0-1.0"),
        ("attributes", "no JSON"),
    ],
)
def test_a_table_that_says_something_else_than_the_samples(
    make_directory: MakeDirectory, field: str, value: object
) -> None:
    directory = make_directory()
    before = directory.manifest.clips_sha256
    table = pq.read_table(directory.path / CLIPS)
    cells = table.to_pylist()
    changed = next(cell for cell in cells if cell["key"] == "clip_0000")
    assert changed[field] != value
    changed[field] = value
    pq.write_table(pa.Table.from_pylist(cells, schema=table.schema), directory.path / CLIPS)
    for name in ("dataset.json", CROISSANT):
        text = (directory.path / name).read_text()
        (directory.path / name).write_text(
            text.replace(before, file_sha256(directory.path / CLIPS))
        )
    what = "words, one of them no JSON" if value == "no JSON" else field
    found = damages(directory)
    assert found.startswith(f"{TAR}: clip clip_0000 has other {what}")
    assert found.endswith("in clips.parquet") and "\n" not in found


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
