"""Clips made by threads or processes, in the order of the plan."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait

import numpy as np

from slvr.ingest.building.deal import expected_s
from slvr.ingest.recipe import Recipe
from slvr.shards.clip import Clip

TASK_S = 20.0
"""Audio that a worker gets at a time: clip by clip, sending them costs a tenth of the work."""
KEPT_BYTES = 31 << 20
"""Twice this much freed memory stays with a worker; glibc takes no more than 2 x 32 MB."""
BLOCKED_RETRIES = 2
"""A clip that is refused this often again, while others are not, stays `blocked`."""


def open_pool(recipe: Recipe, workers: int) -> Executor:
    """Threads for a recipe that waits for a network, processes for one that computes."""
    if recipe.ONLINE:
        return ThreadPoolExecutor(workers)
    # spawn: a forked child would inherit the locks of the parent's threads
    return ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin_worker)


def _begin_worker() -> None:
    """In a worker: Ctrl-C is the parent's affair, and nobody outlives a killed parent."""
    # glibc gives back what is free beyond twice the largest block freed so far (mallopt(3)): the
    # arrays of every clip would be faulted in anew, a fifth of the work. So a large one is freed
    np.empty(KEPT_BYTES, np.uint8)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def tasks_of(clips: Iterable[Clip], task_s: float) -> Iterator[list[Clip]]:
    """The clips in order, in lists of about task_s seconds and at least one clip."""
    task: list[Clip] = []
    filled_s = 0.0
    for clip in clips:
        task.append(clip)
        filled_s += expected_s(clip)
        if filled_s >= task_s:
            yield task
            task, filled_s = [], 0.0
    if task:
        yield task


def _make_all(make: Callable[[Clip], Clip], task: list[Clip]) -> list[Clip]:
    return [make(clip) for clip in task]


def in_order(
    pool: Executor, make: Callable[[Clip], Clip], tasks: Iterable[list[Clip]], window: int
) -> Iterator[Clip]:
    """Clips made in the order of the tasks, at most `window` tasks ahead of the consumer."""
    ahead: deque[tuple[list[Clip], Future[list[Clip]]]] = deque()

    def first() -> Iterator[Clip]:
        task, future = ahead.popleft()
        for clip, first_try in zip(task, future.result(), strict=True):
            made = first_try
            for _ in range(BLOCKED_RETRIES):
                if made.status != "blocked":
                    break
                made = pool.submit(make, clip).result()  # behind the clips that wait for a worker
            yield made

    for task in tasks:
        ahead.append((task, pool.submit(_make_all, make, task)))
        if len(ahead) >= window:
            yield from first()
    while ahead:
        yield from first()
