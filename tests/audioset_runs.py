"""`ingest audioset` from a loopback server: lists, routes, command lines, and what came of them."""

import sqlite3
from contextlib import closing
from pathlib import Path

from loopback import Route, Server, tones
from slvr.ingest.building.ledger import LEDGER
from slvr.shards.read import ShardDirectory

LABELS = 'index,mid,display_name\n0,/m/09x0r,Speech\n1,/t/dd00088,"Gush, spurt"\n'
SHORT = tones("m4a", 3)
QUICK = ("--rate", "unlimited", "--blocked-wait-s", "0.1", "--max-fail", "1")


def video(i: int) -> str:
    """An id; every third begins with a dash."""
    return f"{'-' if i % 3 == 0 else 'x'}{i:03d}_AAAAAA"


def lists(folder: Path, n_or_lines: int | list[str]) -> tuple[str, ...]:
    """Writes the two csv files; returns the options that name them."""
    if isinstance(n_or_lines, int):
        n_or_lines = [f'{video(i)}, 0.500, 2.000, "/m/09x0r"' for i in range(n_or_lines)]
    (folder / "segments.csv").write_text("# made here\n" + "\n".join(n_or_lines))
    (folder / "labels.csv").write_text(LABELS)
    return ("--segments", "segments.csv", "--label-names", "labels.csv")


def audioset(server: Server, listed: tuple[str, ...], out: str, *options: str) -> list[str]:
    source = ("--source-url", server.url("/{id}"))
    return ["audioset", *listed, *source, *QUICK, "--out", out, *options]


def routes_of(n: int, **faults: Route) -> dict[str, Route]:
    """Good routes for n videos; `v3=Route(...)` replaces one."""
    routes = {f"/{video(i)}": Route(SHORT) for i in range(n)}
    return routes | {f"/{video(int(name[1:]))}": route for name, route in faults.items()}


def attempts(out: Path) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(out / LEDGER)) as db:
        return db.execute("SELECT key, status, reason FROM attempts ORDER BY id").fetchall()


def shard_bytes(out: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in out.iterdir()
        if path.suffix in (".tar", ".idx", ".parquet")
    }


def statuses(out: Path) -> dict[str, str]:
    rows = ShardDirectory.open(out).rows()
    return dict(zip(rows["key"].str[1:], rows["status"], strict=True))
