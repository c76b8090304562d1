"""How fast a source may be asked through one exit, and when it must be left in peace."""

import time

from slvr.ingest.recipe import Politeness

SAVED_S = 60.0
"""The bucket holds the tokens of this time: what a slow download missed may be made up for."""
LONGEST_WAIT_S = 2 * 3600.0
"""YouTube's limit on a session lasts up to one hour; who asks for more closes the exit."""
PROVEN, UNKNOWN, REFUSING = range(3)
"""What an exit's last answer was; the lower, the surer the next one."""


class Pace:
    """A token bucket that closes while the source refuses us; for one thread at a time.

    After a pause one request goes ahead as a probe; the others follow when it was answered.

    Attributes:
        n_taken: requests so far.
        n_running: requests on their way.
        standing: PROVEN, UNKNOWN or REFUSING.
        pause_s: length of the pause that the last report began, or None.
        closed: why the exit is of no more use to this run, or "".
    """

    def __init__(self, politeness: Politeness) -> None:
        self.n_taken = 0
        self.n_running = 0
        self.standing = UNKNOWN
        self.pause_s: float | None = None
        self.closed = ""
        self._politeness = politeness
        self._every_s = 3600 / politeness.per_hour if politeness.per_hour else 0.0
        self._next_s = time.monotonic()
        self._open_s = 0.0
        self._n_refused = 0  # in a row
        self._n_pauses = 0  # in all
        self._probing = False

    @property
    def ready_s(self) -> float | None:
        """When the next request may start, by the monotonic clock; None: not before a report."""
        if self.closed or self._probing:
            return None
        return max(self._next_s, time.monotonic() - SAVED_S, self._open_s)

    def take(self) -> int:
        """Starts a request; the number belongs to its `report`."""
        self._next_s = max(self._next_s, time.monotonic() - SAVED_S) + self._every_s
        self._probing = self._n_refused > 0
        self.n_taken += 1
        self.n_running += 1
        return self._n_pauses

    def report(self, number: int, status: str, why: str, retry_after_s: float) -> None:
        """Tells what became of a request.

        Args:
            number: what `take` gave for it.
            status: of the clip; `blocked` closes the bucket.
            why: the refusal, without secrets.
            retry_after_s: what the server asked to wait, in seconds.
        """
        self.n_running -= 1
        self.pause_s = None
        if number != self._n_pauses:  # it started before the last refusal: old news
            return
        self._probing = False
        if status == "blocked":
            self._pause(why, retry_after_s)
        elif status != "transient":  # a reset or HTTP 503 does not say that we are let in
            self._n_refused = 0
            self.standing = PROVEN

    def _pause(self, why: str, retry_after_s: float) -> None:
        wait_s = max(retry_after_s, self._politeness.refusal_wait_s * 2**self._n_refused)
        self._n_refused += 1
        self._n_pauses += 1
        self.standing = REFUSING
        if self._n_refused > self._politeness.max_blocked or wait_s > LONGEST_WAIT_S:
            asked = f" and asks for {retry_after_s:.0f} s of peace" if retry_after_s else ""
            self.closed = f"refuses us ({why}), {self._n_refused} times in a row{asked}"
        else:
            self.pause_s = wait_s
            self._open_s = time.monotonic() + wait_s
