"""Clips that lie in files of many: each file is read once from end to end, decoding goes on beside.

In which shard a clip belongs is another order than that of such files, so what was decoded waits
in the spool, as small as it will be in its shard.
"""

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from typing import Any

from slvr.command.progress import track
from slvr.ingest.building.guarded import crashed, guarded
from slvr.ingest.building.spool import Spool
from slvr.ingest.crew import Crew, threads_of
from slvr.ingest.recipe import CopiedRecipe
from slvr.shards.clip import Clip

COPIES_A_TASK = 4
"""Sent to a worker at a time: one by one the sending costs a tenth of the work."""

Task = list[tuple[Clip, Any]]


def spool_copies(
    recipe: CopiedRecipe, clips: Iterable[Clip], spool: Spool, codec: str, workers: int
) -> None:
    """Decodes what there is of the clips as copies into the spool; what lies there is not read."""
    there = spool.keys()
    wanted = [clip for clip in clips if clip.key not in there]
    if not wanted:
        return
    keep = functools.partial(_kept, recipe, codec, spool)
    window = 2 * workers + 2  # tasks, whose files are held in memory
    crew = Crew(workers)

    def work(task: Task) -> int:
        return sum(crew.each(keep, task, lambda item, how: _put(spool, crashed(item[0], how))))

    with (
        track("read copies", len(wanted), "clips") as progress,
        threads_of(crew, 2 * workers) as pool,
    ):
        ahead: deque[Future[int]] = deque()
        for task in _tasks(recipe.copies(wanted)):
            ahead.append(pool.submit(work, task))
            if len(ahead) >= window:
                _count(ahead, progress.advance)
        while ahead:
            _count(ahead, progress.advance)


def _count(ahead: deque[Future[int]], advance: Callable[[], None]) -> None:
    for _ in range(ahead.popleft().result()):
        advance()


def _tasks(copies: Iterator[tuple[Clip, Any]]) -> Iterator[Task]:
    while task := list(islice(copies, COPIES_A_TASK)):
        yield task


def _kept(recipe: CopiedRecipe, codec: str, spool: Spool, item: tuple[Clip, Any]) -> int:
    """Decodes a clip into the spool, in a worker process: its audio passes through no pipe."""
    clip, copy = item
    return _put(spool, guarded(functools.partial(recipe.copied, copy=copy, codec=codec), clip))


def _put(spool: Spool, clip: Clip) -> int:
    spool.put(clip, synced=False)
    return 1
