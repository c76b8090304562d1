"""Clips that come over a network: paced, tried again, every attempt on record."""

import dataclasses
import functools
import random
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from slvr.ingest.building.guarded import crashed, guarded, limit_s, told
from slvr.ingest.building.ledger import Attempt, Ledger
from slvr.ingest.building.pace import Pace
from slvr.ingest.building.spool import Spool
from slvr.ingest.crew import Crew, StoppedError
from slvr.ingest.recipe import ClipFailure, OnlineRecipe, UsageError
from slvr.shards.clip import UNSETTLED, Clip


class AttemptingMaker:
    """Makes clips in threads; what is settled lies in the spool and is not asked for again."""

    def __init__(
        self,
        recipe: OnlineRecipe,
        codec: str,
        spool: Spool,
        ledger: Ledger,
        pace: Pace,
        crew: Crew,
    ) -> None:
        self.recipe = recipe
        self.codec = codec
        self.spool = spool
        self.ledger = ledger
        self.pace = pace
        self.crew = crew

    def __call__(self, task: Sequence[Clip]) -> list[Clip]:
        """The clips of a task, one after the other; see `_settled`."""
        return [self._settled(clip) for clip in task]

    def _settled(self, clip: Clip) -> Clip:
        """The clip with audio or as a failure; tries passing failures again.

        Raises:
            RefusedError: the source refuses the whole run.
        """
        kept = self.spool.get(clip.key)
        if kept is not None:
            return kept
        politeness = self.recipe.politeness
        made = self._attempt(clip)
        for n_failed in range(politeness.retries):
            if made.status != "transient":
                break
            self.pace.sleep(politeness.backoff_s * 2**n_failed * random.uniform(0.5, 1.0))
            made = self._attempt(clip)
        if made.status not in UNSETTLED:
            self.spool.put(made)
        return made

    def _attempt(self, clip: Clip) -> Clip:
        turn = self.pace.wait()
        started_s = time.time()
        retry_after_s = None
        try:
            made = self._fetched_and_decoded(clip)
        except ClipFailure as failure:
            made = failure.of(clip)
            retry_after_s = failure.retry_after_s
        except (OSError, UsageError, StoppedError):
            raise
        except Exception as error:  # while fetching: another try may be luckier
            made = clip.failed("transient", "unexpected_error", told(error))
        made_without_audio = dataclasses.replace(made, audio=None)
        self.ledger.record(Attempt(started_s, time.time() - started_s, made_without_audio))
        why = f"{made.reason}: {made.detail}"
        self.pace.report(turn, made.status, why, retry_after_s)
        return made

    def _fetched_and_decoded(self, clip: Clip) -> Clip:
        """One attempt: this thread waits for the network, a process of its own decodes."""
        with TemporaryDirectory(prefix="slvr-") as folder:
            fetched = self.recipe.fetch(clip, Path(folder))
            decode = functools.partial(
                guarded, functools.partial(self.recipe.decode, fetched=fetched, codec=self.codec)
            )
            (made,) = self.crew.each(decode, [clip], crashed, limit_s([clip]))
        return made
