"""No step holds a recording twice, in an order that any step can be the first of."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slvr.pipeline.loaders.batching import Batching, drawn_clips
from slvr.pipeline.loaders.order import Order, full_steps

N_EPOCHS = 4


def steps_of(order: Order, n_epochs: int = N_EPOCHS) -> list[list[int]]:
    """The clips of each whole step of the first epochs."""
    clips = np.concatenate([order.epoch(epoch) for epoch in range(n_epochs)]).tolist()
    return [clips[i : i + order.step] for i in range(0, len(clips) - order.step + 1, order.step)]


def surplus(order: Order, steps: list[list[int]]) -> Counter[int]:
    """Recording -> clips of it that meet another one in their step."""
    found: Counter[int] = Counter()
    for step in steps:
        found.update({r: n - 1 for r, n in Counter(order.recordings[step]).items() if n > 1})
    return found


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_recording_with_no_more_copies_than_steps_is_never_twice_in_one(data) -> None:
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=25))
    recordings = np.repeat(np.arange(len(sizes)), sizes)
    recordings = np.random.default_rng(len(sizes)).permutation(recordings)
    order = Order(recordings, data.draw(st.integers(1, 12)), data.draw(st.integers(0, 99)))
    for epoch in range(N_EPOCHS):
        assert sorted(order.epoch(epoch)) == list(range(len(recordings)))
    copies = Counter(recordings.tolist())
    for recording in surplus(order, steps_of(order)):
        assert copies[recording] > full_steps(len(recordings), order.step)


@pytest.mark.parametrize(("copies", "expected"), [(10, 0), (11, 1), (14, 4)])
def test_copies_that_are_too_many_share_steps_and_no_more_than_these(
    copies: int, expected: int
) -> None:
    recordings = np.concatenate([np.zeros(copies, np.int64), 1 + np.arange(80 - copies)])
    order = Order(recordings, 8, seed=1)  # ten steps an epoch
    for epoch in range(N_EPOCHS):
        steps = order.epoch(epoch).reshape(10, 8).tolist()
        assert surplus(order, steps) == ({0: expected} if expected else {})


def test_pairs_everywhere_are_separated() -> None:
    order = Order(np.repeat(np.arange(30), 2), 30, seed=0)  # each step holds one of each pair
    for step in steps_of(order):
        assert sorted(order.recordings[step]) == list(range(30))


def test_a_set_without_copies_keeps_its_permutations() -> None:
    n, step = 48, 8
    order = Order(np.arange(n), step, seed=5)
    for epoch in range(N_EPOCHS):
        drawn = np.random.default_rng([5, epoch]).permutation(n)
        assert np.array_equal(order.epoch(epoch), drawn)


def test_few_clips_of_a_large_set_change_places() -> None:
    recordings = np.concatenate([np.arange(9_000), np.arange(1_000)])
    order = Order(recordings, 100, seed=5)
    drawn = np.random.default_rng([5, 1]).permutation(10_000)
    assert 0 < (order.epoch(1) != drawn).sum() < 100
    assert not surplus(order, steps_of(order))


def test_a_clip_does_not_meet_itself_where_epochs_meet() -> None:
    order = Order(np.arange(35), 8, seed=3)
    plain = [
        np.random.default_rng([3, epoch]).permutation(35).tolist() for epoch in range(N_EPOCHS)
    ]
    joined = [clip for epoch in plain for clip in epoch]
    assert any(len({*joined[i : i + 8]}) < 8 for i in range(0, len(joined) - 7, 8))
    assert not surplus(order, steps_of(order))


def test_every_step_can_be_the_first_and_processes_share_it() -> None:
    recordings = np.random.default_rng(0).integers(0, 20, 45)
    whole = [
        [*zip(*map(np.ndarray.tolist, pair), strict=True)]
        for pair in islice(drawn_clips(recordings, Batching(6, 1, 2), 0), 30)
    ]
    for first in (1, 8, 23):
        ranks = [
            drawn_clips(recordings, Batching(3, 1, 2, rank, world=2), first) for rank in range(2)
        ]
        for step in range(first, 30):
            halves = [[*zip(*map(np.ndarray.tolist, next(r)), strict=True)] for r in ranks]
            assert halves[0] + halves[1] == whole[step]
