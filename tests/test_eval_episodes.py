from collections import Counter

import numpy as np
import pytest

from slvr.eval.episodes import _draw_distinct, sample_episodes

# Classes of 2 to 9 clips, shuffled, so that a class is no run of neighbouring clips.
LABELS = np.random.default_rng(0).permutation(np.repeat(list("abcdefgh"), range(2, 10)))


def test_tasks_hold_distinct_classes_and_clips_with_the_labels_of_their_class() -> None:
    episodes = sample_episodes(LABELS, n_way=4, k_shot=2, n_query=3, n_tasks=2000, seed=1)
    assert episodes.support.shape == (2000, 4, 2)
    assert episodes.query.shape == (2000, 4, 3)
    assert episodes.support_draw.shape == episodes.support.shape
    clips = np.concatenate([episodes.support, episodes.query], axis=-1)
    labels = LABELS[clips]
    assert (labels == labels[..., :1]).all()
    assert all(len(set(task)) == 4 for task in labels[..., 0])
    assert all(len(set(task.ravel())) == 20 for task in clips)
    assert episodes.dropped == ("a", "b", "c")
    assert set(labels.ravel()) == set(episodes.classes) == set("defgh")


def test_the_seed_alone_decides() -> None:
    def draw(seed: int) -> np.ndarray:
        return sample_episodes(LABELS, 3, 1, 1, 50, seed).query

    np.testing.assert_array_equal(draw(3), draw(3))
    assert (draw(3) != draw(4)).any()


def test_classes_and_clips_are_uniform() -> None:
    n_tasks = 40_000
    episodes = sample_episodes(LABELS, n_way=3, k_shot=1, n_query=1, n_tasks=n_tasks, seed=2)
    classes, n_drawn = np.unique(LABELS[episodes.support], return_counts=True)
    assert len(classes) == 8
    # A class is in 3 of 8 tasks; 5 standard deviations of a binomial count.
    assert np.abs(n_drawn - n_tasks * 3 / 8).max() < 5 * np.sqrt(n_tasks * 3 / 8 * 5 / 8)
    for clips in (episodes.support, episodes.query):
        of_h = np.bincount(clips[LABELS[clips] == "h"], minlength=len(LABELS))[LABELS == "h"]
        assert np.abs(of_h - of_h.mean()).max() < 5 * np.sqrt(of_h.mean())


def test_every_ordered_pair_is_equally_likely() -> None:
    pairs = _draw_distinct(np.random.default_rng(0), np.full(60_000, 4), 2)
    counts = Counter(map(tuple, pairs))
    assert len(counts) == 12
    assert max(abs(n - 5000) for n in counts.values()) < 5 * np.sqrt(5000)


def test_all_of_a_class_can_be_drawn() -> None:
    drawn = _draw_distinct(np.random.default_rng(0), np.array([5, 5, 5]), 5)
    np.testing.assert_array_equal(np.sort(drawn, axis=-1), np.tile(np.arange(5), (3, 1)))


@pytest.mark.parametrize(
    ("n_way", "k_shot", "n_query", "advice"),
    [(9, 1, 1, "--n-way 8"), (5, 1, 9, "--n-query 1"), (2, 9, 1, "more labelled clips")],
)
def test_too_few_classes_are_told_with_numbers_and_advice(
    n_way: int, k_shot: int, n_query: int, advice: str
) -> None:
    needed = f"{n_way} classes of at least {k_shot + n_query} clips; . of the 8"
    with pytest.raises(ValueError, match=f"{needed}.*{advice}"):
        sample_episodes(LABELS, n_way, k_shot, n_query, 10, 0)
