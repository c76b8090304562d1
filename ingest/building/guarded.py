"""No exception of one clip ends a job: whatever is raised for it becomes its row."""

import errno
import functools
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from slvr.ingest.building.deal import expected_s
from slvr.ingest.crew import HANG_S, CrashedError, Crew, HungError
from slvr.ingest.recipe import ClipFailure, Recipe, UsageError
from slvr.shards.clip import Clip

MACHINE_ERRNOS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EMFILE, errno.ENFILE}
)
"""A full disk, a file table that is full: the next clip would meet them as well."""
LONGEST_DETAIL = 400


def guarded(work: Callable[[Clip], Clip], clip: Clip) -> Clip:
    """work(clip), or the clip as the failure that was raised, whatever that is.

    Raises:
        UsageError: what the user gave is of no use for any clip.
        OSError: the machine's trouble, which every clip would meet.
    """
    try:
        return work(clip)
    except ClipFailure as failure:
        return failure.of(clip)
    except UsageError:
        raise
    except OSError as error:
        if error.errno in MACHINE_ERRNOS:
            raise
        return clip.failed("corrupt", "unreadable", told(error))
    except Exception as error:
        return clip.failed("corrupt", "unexpected_error", told(error))


def told(error: Exception) -> str:
    """Type and text of an exception; its traceback on stderr where SLVR_TRACEBACK is set."""
    if os.environ.get("SLVR_TRACEBACK"):
        traceback.print_exception(error, file=sys.stderr)
    return f"{type(error).__name__}: {error}"[:LONGEST_DETAIL]


def crashed(clip: Clip, crash: CrashedError) -> Clip:
    """The clip whose decoder took its process down or never came back, twice."""
    if isinstance(crash, HungError):
        return clip.failed("corrupt", "decoder_hung", str(crash))
    return clip.failed("corrupt", "decoder_crashed", str(crash))


def limit_s(clips: Sequence[Clip]) -> float:
    """So long may making them take: decoding is a hundred times as fast as listening."""
    return HANG_S + sum(map(expected_s, clips))


def made_by(recipe: Recipe, codec: str) -> Callable[[Clip], Clip]:
    """Makes one clip here, whatever happens; pickles with its recipe."""
    return functools.partial(guarded, functools.partial(recipe.make, codec=codec))


def made_apart(crew: Crew, recipe: Recipe, codec: str) -> Callable[[Sequence[Clip]], list[Clip]]:
    """Makes a task's clips in a worker process; one that goes down costs the clip it was at."""
    make = made_by(recipe, codec)
    return lambda task: crew.each(make, task, crashed, limit_s(task))
