"""The same clips across groups: two directories hold different parts of one list."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from conftest import write_directory
from slvr.shards.common import common_keys, pcm_hashes
from slvr.shards.read import ShardDirectory
from slvr.shards.rows import CLIPS


@pytest.fixture
def ours(tmp_path: Path) -> ShardDirectory:
    """Clips 0 to 11, and one that failed."""
    return write_directory(tmp_path / "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Clips 8 to 17 in other shards and another codec: the table alone."""
    directory = write_directory(tmp_path / "theirs", n_clips=10, first=8, n_shards=3, codec="wav")
    (tmp_path / "table").mkdir()
    return Path(shutil.copy(directory.path / CLIPS, tmp_path / "table" / CLIPS))


COMMON = {"clip_0008", "clip_0009", "clip_0010", "clip_0011"}


def test_the_clips_that_both_have(ours: ShardDirectory, theirs: Path) -> None:
    before = {path.name: path.read_bytes() for path in ours.path.iterdir()}
    assert common_keys(ours, "train", theirs) == COMMON
    assert common_keys(ours, "train", theirs.parent) == COMMON  # the directory will do
    only = pcm_hashes(theirs)
    clips, dataset = ours.clips("train", only), ours.dataset("train", only=only)
    assert set(clips["key"]) == COMMON and list(clips.index) == [0, 1, 2, 3]
    whole = ours.dataset("train")
    place = {key: i for i, key in enumerate(ours.clips("train")["key"])}
    for i, key in enumerate(clips["key"]):
        np.testing.assert_array_equal(dataset[i], whole[place[key]])
    kept = ours.dataset("train", keep=lambda key: key < "clip_0010", only=only)
    assert len(kept) == 2
    assert before == {path.name: path.read_bytes() for path in ours.path.iterdir()}


def test_both_groups_get_the_same_clips(tmp_path: Path, ours: ShardDirectory) -> None:
    theirs = write_directory(tmp_path / "b", n_clips=10, first=8, n_shards=1)
    mine, others = common_keys(ours, "train", theirs.path), common_keys(theirs, "train", ours.path)
    assert mine == others == COMMON


def test_what_counts_is_the_samples_not_the_key(ours: ShardDirectory, theirs: Path) -> None:
    table = pq.read_table(theirs)
    keys = table.column_names.index("key")
    renamed = table.set_column(keys, "key", [[f"k{i}" for i in range(len(table))]])
    pq.write_table(renamed, theirs)
    assert common_keys(ours, "train", theirs) == COMMON


def test_nothing_in_common_and_no_table_are_sentences(tmp_path: Path, ours: ShardDirectory) -> None:
    other = write_directory(tmp_path / "other", n_clips=3, first=50)
    with pytest.raises(ValueError, match=r"ours: none of the 12 clips of split train has the same"):
        ours.dataset("train", only=pcm_hashes(other.path))
    with pytest.raises(ValueError, match=r"nowhere/clips\.parquet: no such file; give the clips"):
        pcm_hashes(tmp_path / "nowhere")
    failed = write_directory(tmp_path / "failed", n_clips=0)
    with pytest.raises(ValueError, match="no clip in it is ok"):
        pcm_hashes(failed.path)
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(ValueError, match="unreadable"):
        pcm_hashes(tmp_path / "text.parquet")
