"""How fast a source may be asked, and when it must be left in peace."""

import logging
import threading
import time

from slvr.ingest.crew import StoppedError
from slvr.ingest.recipe import Politeness

logger = logging.getLogger(__name__)

SAVED_S = 60.0
"""The bucket holds the tokens of this time: what a slow download missed may be made up for."""
LONGEST_WAIT_S = 2 * 3600.0
"""YouTube's limit on a session lasts up to one hour; a source that asks for more ends the run."""


class RefusedError(OSError):
    """The source does not want us now; later it may."""


class Pace:
    """Turns for all threads of a run: a token bucket that closes while the source refuses us.

    After a pause one request goes ahead as a probe; the others follow when it was answered.
    """

    def __init__(self, politeness: Politeness) -> None:
        self._politeness = politeness
        self._every_s = 3600 / politeness.per_hour if politeness.per_hour else 0.0
        self._changed = threading.Condition()
        self._next_s = time.monotonic()
        self._open_s = 0.0
        self._n_refused = 0  # in a row
        self._n_pauses = 0  # in all
        self._probing = False
        self._end: Exception | None = None

    def wait(self) -> int:
        """Waits until the next request may start; the number belongs to its `report`.

        Raises:
            RefusedError: the source went on refusing.
            StoppedError: the run is over.
        """
        with self._changed:
            turn_s = max(self._next_s, time.monotonic() - SAVED_S)
            self._next_s = turn_s + self._every_s
            while True:
                if self._end is not None:
                    raise self._end
                left_s = max(turn_s, self._open_s) - time.monotonic()
                if left_s <= 0 and not self._probing:
                    self._probing = self._n_refused > 0
                    return self._n_pauses
                self._changed.wait(left_s if left_s > 0 else None)

    def report(
        self, turn: int, status: str, why: str = "", retry_after_s: float | None = None
    ) -> None:
        """Tells what became of a request.

        Args:
            turn: what `wait` gave for it.
            status: of the clip; `blocked` closes the bucket.
            why: the refusal, without secrets.
            retry_after_s: what the server asked to wait, in seconds.
        """
        with self._changed:
            if turn == self._n_pauses:  # else it started before the last refusal: old news
                self._probing = False
                if status == "blocked":
                    self._pause(why, retry_after_s or 0.0)
                elif status != "transient":  # a reset or HTTP 503 does not say that we are let in
                    self._n_refused = 0
                self._changed.notify_all()

    def _pause(self, why: str, retry_after_s: float) -> None:
        wait_s = max(retry_after_s, self._politeness.refusal_wait_s * 2**self._n_refused)
        self._n_refused += 1
        self._n_pauses += 1
        if self._n_refused > self._politeness.max_blocked or wait_s > LONGEST_WAIT_S:
            asked = f" and asks for {retry_after_s:.0f} s of peace" if retry_after_s else ""
            self._end = RefusedError(
                f"stopped: the source refuses us ({why}), {self._n_refused} times in a row{asked}. "
                "Nothing is lost: run the same command again in an hour or more, with a lower "
                "--rate, or with --cookies FILE or another --proxy"
            )
        else:
            logger.warning("paused for %.0f s: the source refuses us (%s)", wait_s, why)
            self._open_s = time.monotonic() + wait_s

    def sleep(self, seconds: float) -> None:
        """Sleeps so many seconds, or until the run is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._end is not None, seconds)

    def stop(self) -> None:
        """Ends the run: nobody gets a turn any more."""
        with self._changed:
            self._end = self._end or StoppedError()
            self._changed.notify_all()
