"""How long files are, asked before any of them is decoded: what a plan expects."""

import functools
import math
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from slvr.command.progress import track
from slvr.ingest.crew import CrashedError, Crew, threads_of

TASK_FILES = 64
"""A worker gets so many at a time."""

Item = TypeVar("Item")


def durations_s(
    label: str, items: Sequence[Item], measure: Callable[[Item], float | None]
) -> list[float | None]:
    """measure(item) of every item in seconds, None where nothing can be told.

    In worker processes: reading a header can take its process down, too.

    Args:
        label: of the progress.
        items: files, by whatever `measure` finds them with; they pickle.
        measure: a function that pickles; whatever it raises makes a None.
    """
    tasks = [items[first : first + TASK_FILES] for first in range(0, len(items), TASK_FILES)]
    n = max(1, min(os.cpu_count() or 1, len(tasks)))
    crew = Crew(n)
    work = functools.partial(_told, measure)
    measured: list[float | None] = []
    with threads_of(crew, n) as pool, track(label, len(items), "files") as progress:
        for found in pool.map(lambda task: crew.each(work, task, _unknown), tasks):
            measured += found
            progress.advance(len(found))
    return measured


def _told(measure: Callable[[Item], float | None], item: Item) -> float | None:
    try:
        seconds = measure(item)
    except Exception:  # making the clip will say what is wrong with it
        return None
    return seconds if seconds is not None and math.isfinite(seconds) and seconds >= 0 else None


def _unknown(item: Item, crash: CrashedError) -> float | None:
    return None
