from collections import Counter
from collections.abc import Callable
from itertools import islice

import numpy as np
import pytest
import torch

from pipeline.loader import Crops, EndlessSampler, batches, to_float
from shards.read import ShardDirectory

MakeDirectory = Callable[..., ShardDirectory]


def drawn(n: int, batch: int, steps: int, world: int = 1, first: int = 0, seed: int = 3) -> list:
    """The places that all processes of a world draw, step by step."""
    ranks = [
        islice(EndlessSampler(n, batch, seed, first, rank, world), steps) for rank in range(world)
    ]
    return [[place for part in parts for place in part] for parts in zip(*ranks, strict=True)]


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_an_epoch_loses_and_repeats_nothing(world: int) -> None:
    places = [place for step in drawn(n=35, batch=4, steps=40, world=world) for place in step]
    for epoch in range(len(places) // 35):
        part = places[35 * epoch : 35 * (epoch + 1)]
        assert {e for e, _ in part} == {epoch}
        assert Counter(i for _, i in part) == dict.fromkeys(range(35), 1)


def test_the_order_is_of_seed_and_epoch_alone_whatever_the_world() -> None:
    one = [p for step in drawn(n=35, batch=8, steps=30, world=1) for p in step]
    four = [p for step in drawn(n=35, batch=2, steps=30, world=4) for p in step]
    assert one == four
    assert one != [p for step in drawn(n=35, batch=8, steps=30, seed=4) for p in step]
    first, second = one[:35], one[35:70]
    assert [i for _, i in first] != [i for _, i in second]


def test_a_position_is_one_number() -> None:
    assert drawn(n=35, batch=8, steps=30)[11:] == drawn(n=35, batch=8, steps=19, first=11)


def test_more_clips_a_batch_than_there_are() -> None:
    assert [len(step) for step in drawn(n=3, batch=8, steps=2)] == [8, 8]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_from_any_number_of_workers(
    make_directory: MakeDirectory, workers: int
) -> None:
    clips = make_directory(lengths_s=(0.2, 0.5)).dataset("train")
    stream = batches(clips, 5, 0.3, seed=1, first_step=2, workers=workers)
    for step, batch in zip(range(2, 6), stream, strict=False):
        assert batch.dtype == torch.int16 and batch.shape == (5, 4800)
        places = next(iter(EndlessSampler(12, 5, 1, step, 0, 1)))
        crops = Crops(clips, 4800, seed=1)
        assert torch.equal(batch, torch.stack([crops[place] for place in places]))


def test_long_clips_are_cut_short_ones_repeated(make_directory: MakeDirectory) -> None:
    clips = make_directory(lengths_s=(0.2, 0.5)).dataset("train")
    crops = Crops(clips, 4800, seed=0)
    short = next(i for i in range(12) if len(clips[i]) == 3200)
    long = next(i for i in range(12) if len(clips[i]) == 8000)
    expected = np.concatenate([clips[short], clips[short][:1600]])
    np.testing.assert_array_equal(crops[0, short].numpy(), expected)
    starts = set()
    for epoch in range(20):
        cut = crops[epoch, long].numpy()
        whole = clips[long]
        start = next(s for s in range(3201) if np.array_equal(whole[s : s + 4800], cut))
        starts.add(start)
        assert torch.equal(crops[epoch, long], torch.from_numpy(cut))
    assert len(starts) > 10


def test_no_clips_is_said(make_directory: MakeDirectory) -> None:
    clips = make_directory().dataset("train")
    with pytest.raises(ValueError, match="expected clips and a length above 0"):
        batches(clips, 5, 0.0, seed=0)


def test_full_scale_is_one() -> None:
    pcm = torch.tensor([[-32768, 0, 16384]], dtype=torch.int16)
    assert to_float(pcm).tolist() == [[-1.0, 0.0, 0.5]]
