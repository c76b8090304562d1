"""What an unfinished shard directory has already got: survives a kill at any point."""

import errno
import fcntl
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from slvr.command.record import package_versions
from slvr.shards.clip import Clip
from slvr.shards.manifest import Row, ShardInfo

LEDGER = "ledger.sqlite"
LOCK = "ledger.lock"
DECODERS = ("yt-dlp", "av", "soundfile", "soxr")

_TABLES = """
CREATE TABLE IF NOT EXISTS plan (sha256 TEXT, about TEXT);
CREATE TABLE IF NOT EXISTS shards (name TEXT PRIMARY KEY, info TEXT);
CREATE TABLE IF NOT EXISTS clips (key TEXT PRIMARY KEY, status TEXT, reason TEXT, row TEXT);
CREATE TABLE IF NOT EXISTS attempts (
    id INTEGER PRIMARY KEY, key TEXT, started_s REAL, took_s REAL,
    status TEXT, reason TEXT, detail TEXT, source_uri TEXT,
    source_bytes INTEGER, source_sha256 TEXT, source_format TEXT, source_codec TEXT,
    n_samples INTEGER, pcm_sha256 TEXT, versions TEXT
);
CREATE INDEX IF NOT EXISTS attempts_of_clip ON attempts (key);
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


class Ledger:
    """SQLite beside the shards: finished shards, the rows of their clips, and every attempt.

    One process at a time: the lock is the operating system's and ends with the process. Its
    threads may share a ledger.
    """

    def __init__(self, directory: Path, plan_sha256: str, about: About) -> None:
        """Opens or begins the ledger of a directory.

        Raises:
            ValueError: another process works there, or the directory was begun with another plan.
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
        self._db = sqlite3.connect(self._path, check_same_thread=False)
        with self._transaction():
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.executescript(_TABLES)
        with self._transaction():
            found = self._db.execute("SELECT sha256 FROM plan").fetchone()
            if found is None:
                row = (plan_sha256, json.dumps(asdict(about)))
                self._db.execute("INSERT INTO plan VALUES (?, ?)", row)
        if found is not None and found[0] != plan_sha256:
            raise ValueError(
                f"{directory}: begun with other sources or options; give another --out, or remove "
                "the directory to build it anew"
            )

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
                ((row["key"], row["status"], row["reason"], json.dumps(row)) for row in rows),
            )

    def forget(self, shard: str, keys: Iterable[str]) -> None:
        """Takes a shard and its clips for unfinished again, in one transaction."""
        with self._transaction():
            self._db.execute("DELETE FROM shards WHERE name = ?", (shard,))
            self._db.executemany("DELETE FROM clips WHERE key = ?", ((key,) for key in keys))

    def record(self, attempt: Attempt) -> None:
        """Adds an attempt."""
        clip = attempt.clip
        values = (
            *(clip.key, attempt.started_s, attempt.took_s),
            *(clip.status, clip.reason, clip.detail, clip.source.uri),
            *(clip.source_bytes, clip.source_sha256, clip.source_format, clip.source_codec),
            *(clip.n_samples, clip.pcm_sha256, self._versions),
        )
        marks = ", ".join("?" * len(values))
        with self._transaction():
            self._db.execute(f"INSERT INTO attempts VALUES (NULL, {marks})", values)

    def rows(self) -> list[Row]:
        """The `clips.parquet` rows of all finished shards."""
        return [json.loads(row) for (row,) in self._db.execute("SELECT row FROM clips")]


def open_to_read(directory: Path) -> sqlite3.Connection:
    """The ledger of a directory, which another process may be writing.

    Raises:
        ValueError: there is none.
    """
    path = (directory / LEDGER).resolve()
    if not path.is_file():
        raise ValueError(f"{directory}: no {LEDGER}; expected a directory that `ingest` has made")
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)


def read_about(directory: Path) -> About:
    """What a directory was begun with."""
    with closing(open_to_read(directory)) as db:
        (about,) = db.execute("SELECT about FROM plan").fetchone()
    return About(**json.loads(about))


def writer_of(directory: Path) -> int | None:
    """Process id of the ingest that is writing a directory, or None."""
    with (directory / LOCK).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(lock.read() or 0) or None
    return None
