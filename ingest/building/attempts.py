"""Clips that come over a network: paced, tried again, every attempt on record."""

import dataclasses
import functools
import random
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from slvr.ingest.building.guarded import crashed, guarded, limit_s, told
from slvr.ingest.building.ledger import Attempt, ExitNow, Ledger
from slvr.ingest.building.spool import Spool
from slvr.ingest.building.turns import Turn, Turns
from slvr.ingest.crew import Crew, StoppedError
from slvr.ingest.recipe import ClipFailure, OnlineRecipe, UsageError
from slvr.shards.clip import UNSETTLED, Clip

COUNTRIES = 4
"""A clip that is not offered in a country is asked for through so many exits: at all of a hundred,
such clips alone would double the requests."""


class AttemptingMaker:
    """Makes clips in threads; what is settled lies in the spool and is not asked for again."""

    def __init__(
        self,
        recipe: OnlineRecipe,
        codec: str,
        spool: Spool,
        ledger: Ledger,
        turns: Turns,
        crew: Crew,
    ) -> None:
        self.recipe = recipe
        self.codec = codec
        self.spool = spool
        self.ledger = ledger
        self.turns = turns
        self.crew = crew
        self._failed_at: dict[str, set[int]] = {}  # key -> exits; a clip is in one thread's hands

    def __call__(self, clip: Clip) -> Clip:
        """The clip, settled or as it failed for now, its audio in the spool.

        A passing failure is tried again, and what is not offered in the country of one exit through
        others; a clip that was refused will go to another exit when it is asked for once more.

        Raises:
            RefusedError: the source refuses the whole run.
        """
        if clip.key in self.spool:
            return clip
        made = self._tried(clip)
        if made.status not in UNSETTLED:
            self.spool.put(made)
        return dataclasses.replace(made, audio=None)

    def with_audio(self, made: Clip) -> Clip:
        """What a call gave, with its audio."""
        return self.spool.get(made.key) or made

    def _tried(self, clip: Clip) -> Clip:
        """What came of the last attempt that is worth its while."""
        politeness = self.recipe.politeness
        turn: Turn | None = self.turns.wait(self._failed_at.get(clip.key, ()))
        not_offered_at: set[int] = set()
        n_failed = 0
        while turn is not None:
            made = self._attempt(clip, turn)
            if made.status == "geo":
                not_offered_at.add(turn.through)
            elif made.status == "transient" and n_failed < politeness.retries:
                self.turns.sleep(politeness.backoff_s * 2**n_failed * random.uniform(0.5, 1.0))
                n_failed += 1
            else:
                break
            if not not_offered_at:
                turn = self.turns.wait(self._failed_at.get(clip.key, ()))
            elif len(not_offered_at) < COUNTRIES:
                turn = self.turns.wait_elsewhere(not_offered_at)
            else:
                break
        return made

    def _attempt(self, clip: Clip, turn: Turn) -> Clip:
        started_s = time.time()
        retry_after_s = None
        try:
            made = self._fetched_and_decoded(clip, turn)
        except ClipFailure as failure:
            made = failure.of(clip)
            retry_after_s = failure.retry_after_s
        except (OSError, UsageError, StoppedError):
            raise
        except Exception as error:  # while fetching: another try may be luckier
            made = clip.failed("transient", "unexpected_error", told(error))
        if made.status in UNSETTLED:
            self._failed_at.setdefault(clip.key, set()).add(turn.through)
        else:
            self._failed_at.pop(clip.key, None)
        ended_s = time.time()
        now = self.turns.report(turn, made.status, f"{made.reason}: {made.detail}", retry_after_s)
        until_s = None if now.pause_s is None else ended_s + now.pause_s
        self.ledger.record(
            Attempt(started_s, ended_s - started_s, dataclasses.replace(made, audio=None)),
            ExitNow(turn.through, until_s, now.closed),
        )
        return made

    def _fetched_and_decoded(self, clip: Clip, turn: Turn) -> Clip:
        """One attempt: this thread waits for the network, a process of its own decodes."""
        with TemporaryDirectory(prefix="slvr-") as folder:
            fetched = self.recipe.fetch(clip, Path(folder), turn.through)
            decode = functools.partial(
                guarded, functools.partial(self.recipe.decode, fetched=fetched, codec=self.codec)
            )
            (made,) = self.crew.each(decode, [clip], crashed, limit_s([clip]))
        return made
