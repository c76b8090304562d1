from collections.abc import Callable

import pytest

from slvr.eval.config import Models
from slvr.eval.sets import EvaluatedSet, clip_labels, open_sets
from slvr.shards.read import ShardDirectory

MakeDirectory = Callable[..., ShardDirectory]


def test_clips_need_one_label_each(
    make_directory: MakeDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = make_directory()
    clips = directory.clips("train")
    data = EvaluatedSet(directory, "train", 5.0)
    assert clip_labels(data) == [labels[0] for labels in clips["labels"]]
    with pytest.raises(ValueError, match="12 of 12 clips have no label"):
        clip_labels(EvaluatedSet(make_directory("bare", n_classes=0), "train", 5.0))
    clips.at[3, "labels"] = ["dog", "rain"]
    monkeypatch.setattr(ShardDirectory, "clips", lambda self, split, only=None: clips)
    with pytest.raises(ValueError, match="1 of 12 clips have several labels"):
        clip_labels(data)


def test_a_split_without_clips_is_refused(
    make_directory: MakeDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = make_directory()
    none = directory.clips("train").iloc[:0]
    monkeypatch.setattr(ShardDirectory, "clips", lambda self, split, only=None: none)
    config = Models(shards=(str(directory.path),), checkpoint=("x",))
    with pytest.raises(ValueError, match="no clips; see "):
        open_sets(config)


@pytest.mark.parametrize(
    ("split", "chosen"), [("test", "test"), ("eval", "eval"), ("train", "train")]
)
def test_the_split_that_is_there_is_taken(
    make_directory: MakeDirectory, split: str, chosen: str
) -> None:
    path = str(make_directory(split=split).path)
    (data,) = open_sets(Models(shards=(path,), checkpoint=("x",)))
    assert data.split == chosen
