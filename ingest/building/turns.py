"""Who asks next, and through which exit: each exit has a pace and pauses of its own."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from slvr.ingest.building.pace import REFUSING, Pace
from slvr.ingest.crew import StoppedError
from slvr.ingest.recipe import Politeness

logger = logging.getLogger(__name__)


class RefusedError(OSError):
    """The source does not want us now; later it may."""


@dataclass(frozen=True)
class Turn:
    """Leave to ask once: through the exit of this number, as its pace's request `number`."""

    through: int
    number: int


@dataclass(frozen=True)
class Closing:
    """How an exit stands after a report: paused for so many seconds, or closed for this run."""

    pause_s: float | None
    closed: bool


class Turns:
    """Turns for all threads of a run, through several exits."""

    def __init__(self, politeness: Politeness, exits: Sequence[str]) -> None:
        """Nobody waits yet.

        Args:
            politeness: of each exit.
            exits: their names for people, 1 or more.
        """
        self._names = tuple(exits)
        self._paces = [Pace(politeness) for _ in exits]
        self._changed = threading.Condition()
        self._end: Exception | None = None

    def wait(self, failed_at: Collection[int] = ()) -> Turn:
        """Waits until the next request may start.

        Args:
            failed_at: numbers of the exits where this clip has failed. It goes to one that lets us
                in, and then to another one rather than there: only fresh clips try what refuses.

        Raises:
            RefusedError: the source went on refusing at every exit.
            StoppedError: the run is over.
        """
        turn = self._wait(lambda: self._candidates(failed_at))
        assert turn is not None  # where no exit is left, the run is over
        return turn

    def wait_elsewhere(self, asked: Collection[int]) -> Turn | None:
        """Waits as `wait` does, for an exit that lets us in and is none of these.

        None where there is none: nobody waits for a refusal to pass.

        Raises:
            RefusedError: see `wait`.
            StoppedError: see `wait`.
        """
        return self._wait(lambda: self._letting_in(asked))

    def _wait(self, candidates: Callable[[], list[int]]) -> Turn | None:
        with self._changed:
            while True:
                if self._end is not None:
                    raise self._end
                now_s = time.monotonic()
                numbers = candidates()
                if not numbers:
                    return None
                ready = {n: at_s for n in numbers if (at_s := self._paces[n].ready_s) is not None}
                if open_now := [n for n, at_s in ready.items() if at_s <= now_s]:
                    n = min(open_now, key=self._load)
                    return Turn(n, self._paces[n].take())
                self._changed.wait(min(ready.values()) - now_s if ready else None)

    def _load(self, n: int) -> tuple[int, int]:
        """The least is asked next: a slow exit shall not collect everybody."""
        return self._paces[n].n_running, self._paces[n].n_taken

    def _letting_in(self, but: Collection[int]) -> list[int]:
        """Numbers of the exits where a request would not wait for a refusal to pass."""
        return [
            n
            for n, pace in enumerate(self._paces)
            if n not in but and not pace.closed and pace.standing != REFUSING
        ]

    def _candidates(self, failed_at: Collection[int]) -> list[int]:
        """Numbers of the exits that a clip may take."""
        alive = [n for n, pace in enumerate(self._paces) if not pace.closed]
        if not failed_at:
            return alive

        def rank(n: int) -> tuple[int, bool]:
            return self._paces[n].standing, n in failed_at

        best = min(map(rank, alive))
        return [n for n in alive if rank(n) == best]

    def report(
        self, turn: Turn, status: str, why: str = "", retry_after_s: float | None = None
    ) -> Closing:
        """Tells what became of a request; how its exit stands now.

        Args:
            turn: what `wait` gave for it.
            status: of the clip; `blocked` pauses the exit.
            why: the refusal, without secrets.
            retry_after_s: what the server asked to wait, in seconds.
        """
        with self._changed:
            pace = self._paces[turn.through]
            was_closed = bool(pace.closed)
            pace.report(turn.number, status, why, retry_after_s or 0.0)
            at = f" at {self._names[turn.through]}" if len(self._names) > 1 else ""
            if pace.pause_s is not None:
                logger.warning(
                    "paused for %.0f s: the source refuses us%s (%s)", pace.pause_s, at, why
                )
            if pace.closed and not was_closed:
                self._close(pace.closed, at)
            self._changed.notify_all()
            return Closing(pace.pause_s, bool(pace.closed))

    def _close(self, why: str, at: str) -> None:
        if n_left := sum(not pace.closed for pace in self._paces):
            logger.warning("closed%s: the source %s; %d more are open", at, why, n_left)
            return
        of_all = f"; all {len(self._paces)} exits are closed" if at else ""
        self._end = self._end or RefusedError(
            f"stopped: the source {why}{at}{of_all}. "
            "Nothing is lost: run the same command again in an hour or more, with a lower "
            "--rate, or with --cookies FILE or another --proxy"
        )

    def sleep(self, seconds: float) -> None:
        """Sleeps so many seconds, or until the run is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._end is not None, seconds)

    def stop(self) -> None:
        """Ends the run: nobody gets a turn any more."""
        with self._changed:
            self._end = self._end or StoppedError()
            self._changed.notify_all()
