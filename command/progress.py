"""Progress of long work: a bar on a terminal, plain lines elsewhere; rate and time left in both."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from slvr.command.text import plain, say

LINE_EVERY_S = 10.0


class Track:
    """Counts finished items and shows them."""

    def __init__(self, label: str, total: int, unit: str, done: int) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._done = self._done_before = self._done_shown = done
        self._start_s = self._line_s = time.monotonic()
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]} {task.fields[note]}", markup=False),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task(
                plain(label), total=total, completed=done, rate="", note=""
            )

    def advance(self, n: int = 1, note: str = "") -> None:
        """Counts n more items; note stands beside them, for example a loss."""
        self._done += n
        if self._bar is not None:
            self._bar.update(self._task, advance=n, rate=self._rate(), note=note)
        elif time.monotonic() - self._line_s >= LINE_EVERY_S:
            self._line_s = time.monotonic()
            self._print_line(note)

    def stop(self) -> None:
        """Ends the display."""
        if self._bar is not None:
            self._bar.stop()
        elif self._done > self._done_shown:
            self._print_line("")

    def _print_line(self, note: str) -> None:
        self._done_shown = self._done
        per_s = self._per_s()
        left = f", {(self._total - self._done) / per_s:.0f} s left" if per_s else ""
        line = f"{self._label}: {self._done}/{self._total} {self._rate()}{left}  {note}"
        say(line.rstrip(), sys.stderr)

    def _per_s(self) -> float:
        return (self._done - self._done_before) / max(time.monotonic() - self._start_s, 1e-9)

    def _rate(self) -> str:
        return f"{self._per_s():.1f} {self._unit}/s"


@contextmanager
def track(label: str, total: int, unit: str, done: int = 0) -> Iterator[Track]:
    """Shows progress of `total` items of which `done` are there already, on stderr."""
    shown = Track(label, total, unit, done)
    try:
        yield shown
    finally:
        shown.stop()
