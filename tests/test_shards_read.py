import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader, IterableDataset

from conftest import noise, write_directory
from slvr.shards.read import ShardDirectory

MakeDirectory = Callable[..., ShardDirectory]


def test_positions_seek_to_the_right_clip(make_directory: MakeDirectory) -> None:
    directory = make_directory()
    dataset = directory.dataset("train")
    keys = directory.clips("train")["key"].tolist()
    for i in (11, 0, 5, 5):
        np.testing.assert_array_equal(dataset[i], noise(len(dataset[i]), int(keys[i][5:])))
    copy = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copy[3], dataset[3])


def test_failed_clips_are_rows_but_no_clips(make_directory: MakeDirectory) -> None:
    directory = make_directory()
    rows = directory.rows()
    assert len(rows) == 13
    gone = rows[rows["key"] == "clip_gone"].iloc[0]
    assert (gone["status"], gone["reason"], gone["detail"]) == ("gone", "removed", "by its owner")
    assert "clip_gone" not in set(directory.clips("train")["key"])
    assert directory.manifest.counts == {"train": {"gone": 1, "ok": 12}}


def test_the_stream_gives_every_clip_once_in_a_seeded_order(make_directory: MakeDirectory) -> None:
    directory = make_directory()

    def keys(seed: int, epoch: int) -> list[str]:
        return [key for key, _, _ in directory.stream("train", seed, epoch, shuffle_buffer=5)]

    first = keys(7, 0)
    assert first == keys(7, 0)
    assert first != keys(7, 1) and first != keys(8, 0)
    assert sorted(first) == sorted(keys(7, 1)) == sorted(directory.clips("train")["key"])
    key, pcm, fields = next(iter(directory.stream("train")))
    np.testing.assert_array_equal(pcm, noise(len(pcm), int(key[5:])))
    assert fields["labels"] == [f"class_{int(key[5:]) % 3}"]


class Stream(IterableDataset):
    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self):
        return (key for key, _, _ in ShardDirectory.open(self.path).stream("train"))


def test_dataloader_workers_share_the_stream(make_directory: MakeDirectory) -> None:
    directory = make_directory(n_shards=4)
    loader = DataLoader(Stream(directory.path), batch_size=None, num_workers=2)
    assert sorted(loader) == sorted(directory.clips("train")["key"])


def test_missing_directory_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no such shard directory.*ingest"):
        ShardDirectory.open(tmp_path / "nothing")


def test_missing_manifest_says_incomplete_and_how_to_go_on(make_directory: MakeDirectory) -> None:
    path = make_directory().path
    (path / "dataset.json").unlink()
    with pytest.raises(ValueError, match=r"incomplete.*run the same `ingest .* again"):
        ShardDirectory.open(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 99}, "schema is 99, expected 2"),
        ({"schema": None}, "schema is None, expected 2"),
        ({"colour": "red"}, "unknown"),
        ({"sample_rate_hz": 44100}, "44100 Hz, expected 16000 Hz"),
    ],
)
def test_foreign_manifests_are_refused(
    make_directory: MakeDirectory, change: dict[str, object], message: str
) -> None:
    path = make_directory().path
    fields = json.loads((path / "dataset.json").read_text())
    (path / "dataset.json").write_text(json.dumps(fields | change))
    with pytest.raises(ValueError, match=message):
        ShardDirectory.open(path)


def test_unknown_split_names_those_there_are(make_directory: MakeDirectory) -> None:
    with pytest.raises(ValueError, match="no split 'test'; expected one of train"):
        make_directory().dataset("test")


def test_a_damaged_clip_names_shard_key_and_what_to_run(tmp_path: Path) -> None:
    directory = write_directory(tmp_path / "data")
    tar = directory.path / "train-000001.tar"
    tar.write_bytes(tar.read_bytes()[:700])
    i = directory.clips("train")["shard"].tolist().index("train-000001.tar")
    with pytest.raises(ValueError, match=r"train-000001.tar: clip clip_0001: .*ingest verify"):
        directory.dataset("train")[i]


def test_opening_reading_and_verifying_load_no_torch(make_directory: MakeDirectory) -> None:
    code = """
import sys
from pathlib import Path
from slvr.shards.common import pcm_hashes
from slvr.shards.read import ClipDataset, ShardDirectory
from slvr.shards.verify import verify
from slvr.ingest.cli import main

directory = ShardDirectory.open(sys.argv[1])
assert verify(directory) == [] and len(directory.rows()) == 13
assert len(directory.dataset("train")[0]) and len(pcm_hashes(sys.argv[1])) == 12
assert main(["verify", sys.argv[1]]) == 0
assert not {"torch", "webdataset"} & sys.modules.keys()
assert len(list(directory.stream("train"))) == 12 and "webdataset" in sys.modules
"""
    line = [sys.executable, "-c", code, str(make_directory().path)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_directory_of_schema_1_is_refused_with_a_way_out(make_directory: MakeDirectory) -> None:
    path = make_directory().path
    fields = json.loads((path / "dataset.json").read_text())
    assert fields.pop("schema") == 2
    (path / "dataset.json").write_text(json.dumps(fields | {"schema_version": 1}))
    with pytest.raises(ValueError, match=r"schema 1 .*another --out, or remove the directory"):
        ShardDirectory.open(path)


def test_a_manifest_that_is_no_object_is_refused(make_directory: MakeDirectory) -> None:
    path = make_directory().path
    for text in ("[]", "3", "{", '{"schema": 2, "shards": 3}', "\xff"):
        (path / "dataset.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(ValueError, match=r"dataset\.json: fields are missing or unknown"):
            ShardDirectory.open(path)
