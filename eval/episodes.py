"""Few-shot episodes, drawn from the labels alone.

Letters: T episodes, N ways (classes of an episode), k supports and q queries a class.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Episodes:
    """T few-shot episodes as index tensors into the clips they were drawn from."""

    support: Indices
    """Clips of the supports, (T, N, k); the second axis is the class of the episode."""
    query: Indices
    """Clips of the queries, (T, N, q); never one of the episode's supports."""
    support_draw: NDArray[np.float64]
    """Uniform draws in [0, 1), (T, N, k): of P pieces the support is number `floor(P * draw)`."""
    classes: tuple[str, ...]
    """Names of the classes that had clips enough, sorted."""
    dropped: tuple[str, ...]
    """Names of the classes with fewer than k + q clips, sorted; no episode holds them."""


def sample_episodes(
    labels: Sequence[str], n_way: int, k_shot: int, n_query: int, n_tasks: int, seed: int
) -> Episodes:
    """`n_tasks` episodes: classes, and clips within a class, uniform without replacement.

    The episodes depend on the arguments alone, so every model is judged on the same ones.

    Args:
        labels: the class of each clip.
        n_way: classes of an episode (N).
        k_shot: supports of a class (k).
        n_query: queries of a class (q).
        n_tasks: number of episodes (T).
        seed: seed of every draw.

    Raises:
        ValueError: fewer than `n_way` classes hold `k_shot + n_query` clips.
    """
    names, class_of_clip, n_clips = np.unique(
        np.asarray(labels, dtype=str), return_inverse=True, return_counts=True
    )
    kept = n_clips >= k_shot + n_query
    if kept.sum() < n_way:
        raise ValueError(_too_few_classes(n_clips, n_way, k_shot, n_query))

    # Clips sorted by class: class c owns by_class[first[c] : first[c] + n_clips[c]].
    by_class = np.argsort(class_of_clip, kind="stable")
    first = np.cumsum(n_clips) - n_clips
    kept_classes = np.flatnonzero(kept)

    rng = np.random.default_rng(seed)
    classes = kept_classes[_draw_distinct(rng, np.full(n_tasks, len(kept_classes)), n_way)]
    within = _draw_distinct(rng, n_clips[classes], k_shot + n_query)
    clips = by_class[first[classes][..., None] + within]
    return Episodes(
        support=clips[..., :k_shot],
        query=clips[..., k_shot:],
        support_draw=rng.random(clips[..., :k_shot].shape),
        classes=tuple(names[kept].tolist()),
        dropped=tuple(names[~kept].tolist()),
    )


def _draw_distinct(rng: np.random.Generator, sizes: Indices, n: int) -> Indices:
    """`n` distinct integers below each of `sizes`, uniform and in random order: (..., n).

    Draw j is uniform among the `size - j` values left, named by their rank; adding one for each
    value already taken, in ascending order, turns the rank into the value. The cost does not grow
    with the sizes, where shuffling thousands of clips a task would.
    """
    drawn = np.empty((*sizes.shape, n), dtype=np.int64)
    for j in range(n):
        value = rng.integers(0, sizes - j)
        for taken in np.moveaxis(np.sort(drawn[..., :j], axis=-1), -1, 0):
            value += value >= taken
        drawn[..., j] = value
    return drawn


def _too_few_classes(n_clips: Indices, n_way: int, k_shot: int, n_query: int) -> str:
    needed, queries = k_shot + n_query, "query" if n_query == 1 else "queries"
    enough = int((n_clips >= needed).sum())
    message = (
        f"{n_way}-way {k_shot}-shot tasks with {n_query} {queries} a class need {n_way} classes of "
        f"at least {needed} clips; {enough} of the {len(n_clips)} classes have so many"
    )
    if n_query > 1 and (n_clips > k_shot).sum() >= n_way:
        return f"{message}; try --n-query 1"
    if enough >= 2:
        return f"{message}; try --n-way {enough}"
    return f"{message}; choose a set or a split with more labelled clips"
