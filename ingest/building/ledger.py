"""What an unfinished shard directory has already got: survives a kill at any point."""

import errno
import fcntl
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from slvr.command.record import package_versions
from slvr.shards.clip import OK, UNSETTLED, Clip
from slvr.shards.columns import record_of, values_of
from slvr.shards.manifest import SCHEMA, ShardInfo, of_schema_1
from slvr.shards.rows import CLIP_COLUMNS, Row

LEDGER = "ledger.sqlite"
LOCK = "ledger.lock"
REPEATED = ("split", "licence", "status", "reason", "source_format", "source_codec", "shard")
"""Columns of a few texts: in each row anew they would be a quarter of its memory."""
DECODERS = ("yt-dlp", "av", "soundfile", "soxr")

_SQL = {pa.int64(): "INTEGER", pa.float64(): "REAL"}
_OF_CLIP = ", ".join(f"{each.name} {_SQL.get(each.type, 'TEXT')}" for each in CLIP_COLUMNS)
_TABLES = f"""
CREATE TABLE IF NOT EXISTS plan (sha256 TEXT, about TEXT);
CREATE TABLE IF NOT EXISTS shards (name TEXT PRIMARY KEY, info TEXT);
CREATE TABLE IF NOT EXISTS clips (key TEXT PRIMARY KEY, status TEXT, reason TEXT, row TEXT);
CREATE TABLE IF NOT EXISTS attempts (
    id INTEGER PRIMARY KEY, started_s REAL, took_s REAL, {_OF_CLIP}, versions TEXT
);
CREATE INDEX IF NOT EXISTS attempts_of_clip ON attempts (key);
CREATE TABLE IF NOT EXISTS exits (
    number INTEGER PRIMARY KEY, name TEXT, begun_s REAL, last_s REAL, ok INTEGER, answered INTEGER,
    refused INTEGER, paused_until_s REAL, closed INTEGER
);
"""


@dataclass(frozen=True)
class About:
    """What a directory was begun with.

    Attributes:
        recipe: name in the registry.
        options: those of the recipe that are no secrets.
        codec: of the shards' audio.
        shard_mb: size of a shard before FLAC.
        n_clips: how many clips were asked for.
    """

    recipe: str
    options: Mapping[str, Any]
    codec: Literal["flac", "wav"]
    shard_mb: float
    n_clips: int


@dataclass(frozen=True)
class Attempt:
    """One try to get a clip over a network: when (Unix time), how long, and what became of it."""

    started_s: float
    took_s: float
    clip: Clip


@dataclass(frozen=True)
class ExitNow:
    """How an exit stands after an attempt: paused until (Unix time) or None, closed for good."""

    number: int
    paused_until_s: float | None
    closed: bool


class Ledger:
    """SQLite beside the shards: finished shards, the rows of their clips, and every attempt.

    One process at a time: the lock is the operating system's and ends with the process. Its
    threads may share a ledger.

    Attributes:
        is_new: was begun now.
        was_damaged: the one before it was, and is gone.
    """

    def __init__(self, directory: Path, plan_sha256: str, about: About) -> None:
        """Opens or begins the ledger of a directory.

        Raises:
            ValueError: another process works there, or the directory was begun with another plan
                or is of schema 1.
        """
        self._lock = (directory / LOCK).open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.seek(0)
            raise ValueError(
                f"{directory}: another ingest (process {self._lock.read().strip()}) writes there; "
                "wait for it or choose another --out"
            ) from error
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()

        self._one_thread = threading.Lock()
        self._versions = json.dumps(package_versions(DECODERS))
        self._path = directory / LEDGER
        self.was_damaged = _is_damaged(self._path)
        if self.was_damaged:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        self._db = sqlite3.connect(self._path, check_same_thread=False)
        with self._transaction():
            _refuse_schema_1(self._db, directory)
            self._db.execute("PRAGMA journal_mode=WAL")
            # before the tables: those without a number are of schema 1
            self._db.execute(f"PRAGMA user_version={SCHEMA}")
            self._db.executescript(_TABLES)
        with self._transaction():
            found = self._db.execute("SELECT sha256 FROM plan").fetchone()
            if found is None:
                row = (plan_sha256, json.dumps(asdict(about)))
                self._db.execute("INSERT INTO plan VALUES (?, ?)", row)
        self.is_new = found is None
        if found is not None and found[0] != plan_sha256:
            raise ValueError(
                f"{directory}: begun with other sources or options; give another --out, or remove "
                "the directory to build it anew"
            )

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._one_thread:
            self._db.close()
        self._lock.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, one thread at a time.

        Raises:
            OSError: the disk is full or broken; SQLite's own error is none.
        """
        try:
            with self._one_thread, self._db:
                yield
        except sqlite3.OperationalError as error:
            raise OSError(errno.EIO, str(error), str(self._path)) from error

    def finished(self) -> dict[str, ShardInfo]:
        """Finished shards by name."""
        rows = self._db.execute("SELECT name, info FROM shards ORDER BY name")
        return {name: ShardInfo(**json.loads(info)) for name, info in rows}

    def commit(self, info: ShardInfo, rows: Iterable[Row]) -> None:
        """Records a finished shard and its clips in one transaction."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO shards VALUES (?, ?)", (info.name, json.dumps(asdict(info)))
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO clips VALUES (?, ?, ?, ?)",
                (
                    (row.clip.key, row.clip.status, row.clip.reason, json.dumps(values_of(row)))
                    for row in rows
                ),
            )

    def forget(self, shard: str, keys: Iterable[str]) -> None:
        """Takes a shard and its clips for unfinished again, in one transaction."""
        with self._transaction():
            self._db.execute("DELETE FROM shards WHERE name = ?", (shard,))
            self._db.executemany("DELETE FROM clips WHERE key = ?", ((key,) for key in keys))

    def begin_exits(self, names: Sequence[str]) -> None:
        """Counts anew what comes through each exit of this run."""
        with self._transaction():
            self._db.execute("DELETE FROM exits")
            self._db.executemany(
                "INSERT INTO exits VALUES (?, ?, NULL, NULL, 0, 0, 0, NULL, 0)", enumerate(names)
            )

    def record(self, attempt: Attempt, through: ExitNow) -> None:
        """Adds an attempt, and counts it for its exit."""
        of_clip = (
            json.dumps(value) if isinstance(value, list | dict) else value
            for value in values_of(attempt.clip).values()
        )
        values = (attempt.started_s, attempt.took_s, *of_clip, self._versions)
        marks = ", ".join("?" * len(values))
        with self._transaction():
            self._db.execute(f"INSERT INTO attempts VALUES (NULL, {marks})", values)
            self._db.execute(
                "UPDATE exits SET begun_s = IFNULL(begun_s, ?), last_s = ?, ok = ok + ?, "
                "answered = answered + ?, refused = refused + ?, "
                "paused_until_s = IFNULL(?, paused_until_s), closed = ? WHERE number = ?",
                (
                    *(attempt.started_s, attempt.started_s + attempt.took_s),
                    *(attempt.clip.status == OK, attempt.clip.status not in UNSETTLED),
                    *(attempt.clip.status == "blocked", through.paused_until_s, through.closed),
                    through.number,
                ),
            )

    def rows(self) -> list[Row]:
        """The `clips.parquet` rows of all finished shards."""
        found = self._db.execute("SELECT row FROM clips")
        once: dict[str, str] = {}
        return [record_of(Row, _sharing(json.loads(row), once)) for (row,) in found]


def _sharing(fields: dict[str, Any], once: dict[str, str]) -> dict[str, Any]:
    """The values of a row, with texts that many rows have kept once."""
    for name in REPEATED:
        if fields[name]:
            fields[name] = once.setdefault(fields[name], fields[name])
    fields["labels"] = [once.setdefault(label, label) for label in fields["labels"]]
    return fields


def open_to_read(directory: Path) -> sqlite3.Connection:
    """The ledger of a directory, which another process may be writing.

    Raises:
        ValueError: there is none, or one of schema 1.
    """
    path = (directory / LEDGER).resolve()
    if not path.is_file():
        raise ValueError(f"{directory}: no {LEDGER}; expected a directory that `ingest` has made")
    if _is_damaged(path):
        raise _damaged(directory, "not to be read")
    db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        _refuse_schema_1(db, directory)
        if db.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'plan'").fetchone() == (0,):
            raise _damaged(directory, "empty, as a full disk leaves it")
    except BaseException:
        db.close()
        raise
    return db


def _damaged(directory: Path, how: str) -> ValueError:
    return ValueError(
        f"{directory / LEDGER}: damaged ({how}); run the `ingest` command that made {directory} "
        "again: it keeps what the finished shards prove, and makes the rest"
    )


def _is_damaged(path: Path) -> bool:
    """Whether there is a ledger that cannot be read; an empty one can."""
    if not path.is_file():
        return False
    try:
        with closing(sqlite3.connect(path)) as db:
            if db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                return True
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
            for table, column in (("plan", "about"), ("shards", "info"), ("clips", "row")):
                wrong = f"SELECT 1 FROM {table} WHERE json_valid({column}) IS NOT 1 LIMIT 1"
                if table in tables and db.execute(wrong).fetchone():
                    return True
    except sqlite3.OperationalError as error:
        return "lock" not in str(error)  # the one who writes it has no damage to tell of
    except sqlite3.DatabaseError:
        return True
    return False


def _refuse_schema_1(db: sqlite3.Connection, directory: Path) -> None:
    """Raises ValueError where a directory's ledger is one of schema 1, which had no number."""
    (schema,) = db.execute("PRAGMA user_version").fetchone()
    (n_tables,) = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if n_tables and schema != SCHEMA:
        raise ValueError(of_schema_1(str(directory)))


def read_about(directory: Path) -> About:
    """What a directory was begun with."""
    with closing(open_to_read(directory)) as db:
        found = db.execute("SELECT about FROM plan").fetchone()
    if found is None:
        raise _damaged(directory, "it holds no plan")
    try:
        return About(**json.loads(found[0]))
    except TypeError as error:
        raise _damaged(directory, "its plan has other fields") from error


def writer_of(directory: Path) -> int | None:
    """Process id of the ingest that is writing a directory, or None."""
    with (directory / LOCK).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = lock.read()
            return int(text) if text.isdecimal() else None
    return None
