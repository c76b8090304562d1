"""How far an ingest has come, told from its ledger; also while it is running."""

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from slvr.ingest.building.ledger import About, open_to_read, read_about, writer_of
from slvr.shards.clip import UNSETTLED

RATE_WINDOW_S = 3600.0

# A clip is what its row in a finished shard says, else what its last attempt said.
_OF_EACH_CLIP = """
    SELECT status, reason FROM clips
    UNION ALL
    SELECT status, reason FROM attempts
    WHERE id IN (SELECT MAX(id) FROM attempts GROUP BY key) AND key NOT IN (SELECT key FROM clips)
"""
_OF_EXITS = """
    SELECT name, answered / (last_s - begun_s) * 3600, ok, refused, paused_until_s, closed
    FROM exits ORDER BY number
"""


@dataclass(frozen=True)
class ExitState:
    """What came through one exit in the last run.

    Attributes:
        name: without secrets.
        per_hour: clips that were answered, or None if there were none.
        n_ok: clips that came.
        n_refused: attempts that were refused.
        paused_until_s: Unix time of the end of its last pause, or None.
        closed: it was of no more use to the run.
    """

    name: str
    per_hour: float | None
    n_ok: int
    n_refused: int
    paused_until_s: float | None
    closed: bool

    def __str__(self) -> str:
        rate = f"{self.per_hour:.0f} clips an hour" if self.per_hour else "no clips"
        line = f"exit {self.name}: {rate}, {self.n_ok} ok, {self.n_refused} refused"
        if self.closed:
            return f"{line}, closed for this run"
        if self.paused_until_s is not None and self.paused_until_s > time.time():
            until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.paused_until_s))
            return f"{line}, closed until {until}"
        return line


@dataclass(frozen=True)
class IngestState:
    """How far an ingest has come.

    Attributes:
        about: what it was begun with.
        writer: process id of the ingest that is running, or None.
        counts: (status, reason, clips), most frequent first; what is not in there was not tried.
        n_attempts: tries over a network.
        fetched_bytes: of the sources that came.
        per_hour: clips settled in the last hour of the run, or None if there are too few.
        exits: the ways of its last run to the source.
    """

    about: About
    writer: int | None
    counts: tuple[tuple[str, str, int], ...]
    n_attempts: int
    fetched_bytes: int
    per_hour: float | None
    exits: tuple[ExitState, ...] = ()

    @property
    def n_settled(self) -> int:
        """Clips whose fate is known."""
        return sum(n for status, _, n in self.counts if status not in UNSETTLED)

    @property
    def left_s(self) -> float | None:
        """Seconds until the run is over, at the rate of its last hour."""
        if not self.per_hour:
            return None
        return (self.about.n_clips - self.n_settled) / self.per_hour * 3600

    def __str__(self) -> str:
        running = f"running, process {self.writer}" if self.writer else "not running"
        share = 100 * self.n_settled / self.about.n_clips
        lines = [
            f"{self.about.recipe}, {running}: {self.n_settled} of {self.about.n_clips} clips "
            f"settled ({share:.1f} %)"
        ]
        if self.n_attempts:
            lines.append(
                f"{self.n_attempts} attempts, {self.fetched_bytes / 1e6:.1f} MB fetched"
                + (f", {self.per_hour:.0f} clips an hour" if self.per_hour else "")
                + (
                    f", about {self.left_s / 3600:.1f} h left"
                    if self.writer and self.left_s
                    else ""
                )
            )
        untried = self.about.n_clips - sum(n for _, _, n in self.counts)
        lines += map(str, self.exits)
        counts = (*self.counts, *([("not tried", "", untried)] if untried else []))
        return "\n".join([*lines, *(f"{s:<10} {r:<20} {n:>9}" for s, r, n in counts)])


def read_state(directory: Path) -> IngestState:
    """The status of a directory that `ingest` is writing or has written.

    Raises:
        ValueError: it has no ledger.
    """
    about = read_about(directory)
    with closing(open_to_read(directory)) as db:
        counts = db.execute(
            f"SELECT status, reason, COUNT(*) AS n FROM ({_OF_EACH_CLIP}) "
            "GROUP BY status, reason ORDER BY n DESC, status, reason"
        ).fetchall()
        n_attempts, n_bytes, end_s = db.execute(
            "SELECT COUNT(*), TOTAL(source_bytes), MAX(started_s + took_s) FROM attempts"
        ).fetchone()
        # begun by an earlier version it may have no such table
        (has_exits,) = db.execute(
            "SELECT COUNT(*) FROM sqlite_master WHERE name = 'exits'"
        ).fetchone()
        exits = db.execute(_OF_EXITS).fetchall() if has_exits else []
        n_recent, begin_s = db.execute(
            "SELECT COUNT(DISTINCT key), MIN(started_s) FROM attempts "
            "WHERE started_s > ? AND status NOT IN ('blocked', 'transient')",
            ((end_s or 0.0) - RATE_WINDOW_S,),
        ).fetchone()
    return IngestState(
        about=about,
        writer=writer_of(directory),
        counts=tuple(counts),
        n_attempts=n_attempts,
        fetched_bytes=round(n_bytes),
        per_hour=n_recent / (end_s - begin_s) * 3600 if n_recent else None,
        exits=tuple(ExitState(*row) for row in exits),
    )
