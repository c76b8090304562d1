"""Clips made by threads and worker processes, in the order of the plan."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future

from slvr.ingest.building.deal import expected_s
from slvr.ingest.crew import Crew
from slvr.ingest.recipe import Recipe
from slvr.shards.clip import Clip

TASK_S = 20.0
"""Audio that a worker gets at a time: clip by clip, sending them costs a tenth of the work."""
BLOCKED_RETRIES = 2
"""A clip that is refused this often again, while others are not, stays `blocked`."""


def crew_of(recipe: Recipe, workers: int) -> Crew:
    """The processes that decode for so many workers, which may wait for a network."""
    cores = os.cpu_count() or 1
    return Crew(min(workers, cores) if recipe.ONLINE else workers)


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


def in_order(
    pool: Executor,
    make: Callable[[list[Clip]], list[Clip]],
    tasks: Iterable[list[Clip]],
    window: int,
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
                # behind the clips that wait for a worker
                (made,) = pool.submit(make, [clip]).result()
            yield made

    for task in tasks:
        ahead.append((task, pool.submit(make, task)))
        if len(ahead) >= window:
            yield from first()
    while ahead:
        yield from first()
