"""Clips made by threads and worker processes, in the order of the plan."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from queue import SimpleQueue

from slvr.ingest.building.deal import expected_s
from slvr.ingest.crew import Crew
from slvr.ingest.recipe import Recipe
from slvr.shards.clip import Clip

TASK_S = 20.0
"""Audio that a worker gets at a time: clip by clip, sending them costs a tenth of the work."""
BLOCKED_RETRIES = 2
"""A clip that is refused this often again, while others are not, stays `blocked`."""
AHEAD = 4096
"""Clips that may wait on the disk for a slower one before them: 0.8 GB of AudioSet's."""


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
    ahead: deque[Future[list[Clip]]] = deque()
    for task in tasks:
        ahead.append(pool.submit(make, task))
        if len(ahead) >= window:
            yield from ahead.popleft().result()
    while ahead:
        yield from ahead.popleft().result()


class Overtaking:
    """Clips made as workers and sources are free for them, and given in the order of the plan.

    A slow one holds up nobody: the others are made, at most `ahead` clips beyond it. One that was
    refused is asked for again behind those that wait for a worker.
    """

    def __init__(
        self,
        pool: Executor,
        make: Callable[[Clip], Clip],
        clips: Sequence[Clip],
        running: int,
        on_made: Callable[[], None],
        ahead: int = AHEAD,
    ) -> None:
        """Starts nothing yet.

        Args:
            pool: the workers.
            make: makes a clip, and keeps its audio elsewhere.
            clips: in the order of the plan.
            running: clips that are with the workers, or wait for one, at a time.
            on_made: called when a clip is made, in the thread that iterates.
            ahead: clips that may be made before a slow one is.
        """
        self._pool = pool
        self._make = make
        self._clips = clips
        self._running = running
        self._on_made = on_made
        self._ahead = ahead
        self._answers: SimpleQueue[tuple[int, Future[Clip]]] = SimpleQueue()
        self._n_running = 0
        self._refusals: dict[int, int] = {}  # of clips that are not made yet
        self._again: deque[int] = deque()

    def __iter__(self) -> Iterator[Clip]:
        made: dict[int, Clip] = {}
        n_begun = 0
        for n in range(len(self._clips)):
            while n not in made:
                while self._n_running < self._running and self._again:
                    self._begin(self._again.popleft())
                last = min(n + self._ahead, len(self._clips))
                while self._n_running < self._running and n_begun < last:
                    self._begin(n_begun)
                    n_begun += 1
                self._take(made)
            yield made.pop(n)

    def _begin(self, n: int) -> None:
        self._n_running += 1
        future = self._pool.submit(self._make, self._clips[n])
        future.add_done_callback(lambda done: self._answers.put((n, done)))

    def _take(self, made: dict[int, Clip]) -> None:
        n, future = self._answers.get()
        self._n_running -= 1
        clip = future.result()
        refusals = self._refusals.pop(n, 0)
        if clip.status == "blocked" and refusals < BLOCKED_RETRIES:
            self._refusals[n] = refusals + 1
            self._again.append(n)
            return
        made[n] = clip
        self._on_made()
