from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch

from slvr.pipeline.loaders.batching import Batching, cut_batch, cut_starts, drawn_clips


def drawn(n: int, batch: int, steps: int, world: int = 1, first: int = 0, seed: int = 3) -> list:
    """The (epoch, clip) pairs that all processes of a world draw, step by step."""
    ranks = [
        islice(drawn_clips(np.arange(n), Batching(batch, 1, seed, rank, world), first), steps)
        for rank in range(world)
    ]
    return [
        [pair for part in parts for pair in zip(*map(np.ndarray.tolist, part), strict=True)]
        for parts in zip(*ranks, strict=True)
    ]


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_an_epoch_loses_and_repeats_nothing(world: int) -> None:
    pairs = [pair for step in drawn(n=35, batch=4, steps=40, world=world) for pair in step]
    for epoch in range(len(pairs) // 35):
        part = pairs[35 * epoch : 35 * (epoch + 1)]
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


def test_cuts_are_uniform_and_of_seed_epoch_and_clip_alone() -> None:
    n, n_samples = 20_000, np.full(20_000, 109)
    clips, epochs = np.arange(n), np.zeros(n, np.int64)
    starts = cut_starts(Batching(8, 100, seed=5), epochs, clips, n_samples)
    expected = n / 10
    counts = np.bincount(starts, minlength=10)
    assert len(counts) == 10
    assert ((counts - expected) ** 2 / expected).sum() < 27.9  # chi-square, 9 degrees, p = 0.001
    one = cut_starts(
        Batching(1, 100, seed=5, rank=2, world=3), *(x[7:8] for x in (epochs, clips, n_samples))
    )
    assert one == starts[7]
    for other in (
        cut_starts(Batching(8, 100, seed=6), epochs, clips, n_samples),
        cut_starts(Batching(8, 100, seed=5), epochs + 1, clips, n_samples),
        np.roll(starts, 1),
    ):
        assert (starts == other).mean() == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    ("how", "expected"),
    [("loop", [1, 2, 3, 1, 2]), ("silence", [1, 2, 3, 0, 0]), ("centre", [0, 1, 2, 3, 0])],
)
def test_long_clips_are_cut_within_their_ends_short_ones_filled(
    how: str, expected: list[int]
) -> None:
    batching = Batching(2, 5, seed=0, short=how)
    short, long = np.arange(1, 4, dtype=np.int16), np.arange(100, 108, dtype=np.int16)
    seen = set()
    for epoch in range(60):
        batch, _ = cut_batch(batching, np.full(2, epoch), np.array([4, 9]), [short, long])
        assert batch.dtype == torch.int16
        assert batch[0].tolist() == expected
        assert batch[1].diff().tolist() == [1] * 4
        seen.add(int(batch[1, 0]))
    assert seen == {100, 101, 102, 103}


@pytest.mark.parametrize(("batch", "n_samples"), [(0, 10), (4, 0)])
def test_nothing_to_take_is_said(batch: int, n_samples: int) -> None:
    with pytest.raises(ValueError, match="check --batch and --clip-s"):
        Batching(batch, n_samples, seed=0)
