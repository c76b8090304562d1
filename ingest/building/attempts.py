"""Clips that come over a network: paced, tried again, every attempt on record."""

import dataclasses
import random
import time

from slvr.ingest.building.ledger import Attempt, Ledger
from slvr.ingest.building.pace import Pace
from slvr.ingest.building.spool import Spool
from slvr.ingest.recipe import ClipFailure, OnlineRecipe
from slvr.shards.clip import UNSETTLED, Clip


class AttemptingMaker:
    """Makes clips in threads; what is settled lies in the spool and is not asked for again."""

    def __init__(
        self, recipe: OnlineRecipe, codec: str, spool: Spool, ledger: Ledger, pace: Pace
    ) -> None:
        self.recipe = recipe
        self.codec = codec
        self.spool = spool
        self.ledger = ledger
        self.pace = pace

    def __call__(self, clip: Clip) -> Clip:
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
            made = self.recipe.make(clip, self.codec)
        except ClipFailure as failure:
            made = dataclasses.replace(
                clip.failed(failure.status, failure.reason, failure.detail),
                source_bytes=failure.source_bytes,
                source_sha256=failure.source_sha256,
            )
            retry_after_s = failure.retry_after_s
        made_without_audio = dataclasses.replace(made, audio=None)
        self.ledger.record(Attempt(started_s, time.time() - started_s, made_without_audio))
        why = f"{made.reason}: {made.detail}"
        self.pace.report(turn, made.status, why, retry_after_s)
        return made
