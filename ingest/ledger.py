"""What an unfinished shard directory has already got: survives a kill at any point."""

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from shards.manifest import Row, ShardInfo

LEDGER = "ledger.sqlite"
LOCK = "ledger.lock"


class Ledger:
    """SQLite beside the shards: finished shards and the rows of their clips.

    One process at a time: the lock is the operating system's and ends with the process.
    """

    def __init__(self, directory: Path, plan_sha256: str) -> None:
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

        self._db = sqlite3.connect(directory / LEDGER)
        self._db.execute("PRAGMA journal_mode=WAL")
        with self._db:
            self._db.execute("CREATE TABLE IF NOT EXISTS plan (sha256 TEXT)")
            self._db.execute("CREATE TABLE IF NOT EXISTS shards (name TEXT PRIMARY KEY, info TEXT)")
            self._db.execute("CREATE TABLE IF NOT EXISTS clips (key TEXT PRIMARY KEY, row TEXT)")
            found = self._db.execute("SELECT sha256 FROM plan").fetchone()
            if found is None:
                self._db.execute("INSERT INTO plan VALUES (?)", (plan_sha256,))
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
        self._db.close()
        self._lock.close()

    def finished(self) -> dict[str, ShardInfo]:
        """Finished shards by name."""
        rows = self._db.execute("SELECT name, info FROM shards ORDER BY name")
        return {name: ShardInfo(**json.loads(info)) for name, info in rows}

    def commit(self, info: ShardInfo, rows: Iterable[Row]) -> None:
        """Records a finished shard and its clips in one transaction."""
        with self._db:
            self._db.execute(
                "INSERT OR REPLACE INTO shards VALUES (?, ?)", (info.name, json.dumps(asdict(info)))
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO clips VALUES (?, ?)",
                ((row["key"], json.dumps(row)) for row in rows),
            )

    def rows(self) -> list[Row]:
        """The `clips.parquet` rows of all finished shards."""
        return [json.loads(row) for (row,) in self._db.execute("SELECT row FROM clips")]
