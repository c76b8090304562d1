"""The same clips across groups: --only trains on what another directory has too."""

import hashlib
import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from conftest import configured, run
from slvr.shards.read import ShardDirectory
from slvr.train.stream import Stream
from slvr.train.validation import Validation

MakeDirectory = Callable[..., ShardDirectory]
CPU = torch.device("cpu")
FABRIC = SimpleNamespace(device=CPU, is_global_zero=False, global_rank=0, world_size=1)
TINY = ("--encoder.width", "4", "--encoder.dim", "20", "--batch", "4", "--clip-s", "0.2")


@pytest.mark.parametrize("resident", [True, False])
def test_clips_that_the_other_table_has_not_are_neither_trained_nor_validated_on(
    make_directory: MakeDirectory, resident: bool
) -> None:
    ours = make_directory("ours", n_clips=12)
    theirs = make_directory("theirs", n_clips=12, first=6)  # clips 6 to 17
    config = configured(
        ours.path, only=str(theirs.path), holdout=0.5, clip_s=0.2, batch=4, resident=resident
    )
    batches = islice(Stream(config.data, ours, FABRIC).batches(0), 12)
    trained = {key for batch in batches for key in batch.keys}
    both = {f"clip_{i:04d}" for i in range(6, 12)}
    assert trained and trained < both
    held = Validation(config.data, ours, CPU)
    assert held.said == f"validation on {len(both - trained)} of 12 clips of split 'train'"


def test_the_command_records_which_table_it_was(
    make_directory: MakeDirectory, tmp_path: Path
) -> None:
    make_directory("ours", n_clips=12)
    make_directory("theirs", n_clips=12, first=6)
    make_directory("strangers", n_clips=4, first=40)
    before = {path: path.read_bytes() for path in (tmp_path / "ours").iterdir()}
    table = "theirs/clips.parquet"
    line = ("--shards", "ours", *TINY, "--steps", "2", "--out", "run", "--only")
    done = run("train", *line, table, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    expected = hashlib.sha256((tmp_path / table).read_bytes()).hexdigest()
    assert record["config"]["only"] == table and record["datasets"][table] == expected
    assert before == {path: path.read_bytes() for path in (tmp_path / "ours").iterdir()}
    for other, message in (
        ("strangers/clips.parquet", "none of the 12 clips of split train has the same samples"),
        ("nobody/clips.parquet", "nobody/clips.parquet: no such file or folder"),
    ):
        done = run("train", *line, other, "--out", "other", cwd=tmp_path)
        assert done.returncode == 2 and message in done.stderr, done.stderr
