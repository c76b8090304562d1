"""`ingest audioset` through proxies on this machine: one forwards, one refuses, one clip is slow.

Clips a second count from the first attempt to the last answer, by the ledger. The bar: with a
refusing proxy beside it at least 0.9 of the healthy one's rate alone, and no clip left `blocked`;
one source that takes a minute costs the others the worker that waits for it and no more.

python tests/benchmarks/exits.py --clips 200 --workers 4
"""

import argparse
import multiprocessing
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch
from measure import machine, table

sys.path.insert(0, str(Path(__file__).parents[1]))
from audioset_runs import lists, video
from loopback import Route, serve, tones
from proxies import proxy

LENGTH_S = 30
PAUSE_S = 0.5
"""Between pieces of 4,096 bytes of the slow source, which has 120 or so."""


class Run(NamedTuple):
    """Rate of the clips that are not slow; statuses; requests that were refused."""

    clips_per_s: float
    n_ok: int
    n_blocked: int
    n_refused: int


def serve_all(n: int, port: Connection) -> None:
    """Source and proxies in a process of their own, so that their work is in nobody's account."""
    body = tones("m4a", LENGTH_S)
    routes = {f"/{video(i)}": Route(body) for i in range(n)}
    slow = routes | {f"/{video(0)}": Route(body, fault="slow", pause_s=PAUSE_S, after=1)}
    with (
        serve(routes) as source,
        serve(slow) as with_slow,
        proxy() as healthy,
        proxy(refuses=429) as refusing,
    ):
        port.send((source.url(""), with_slow.url(""), healthy.url(), refusing.url()))
        port.recv()


def ingest(source: str, proxies: list[str], n: int, workers: int, *options: str) -> Run:
    """One run, in a folder of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        line = [str(Path(sys.executable).with_name("ingest")), "audioset", "--rate", "unlimited"]
        line += [*lists(folder, n), "--source-url", f"{source}/{{id}}", "--out", "shards"]
        line += ["--workers", str(workers), "--max-fail", "1", *options]
        line += [text for url in proxies for text in ("--proxy", url)]
        done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        with closing(sqlite3.connect(folder / "shards" / "ledger.sqlite")) as db:
            n_others, first_s, last_s = db.execute(
                "SELECT COUNT(*), MIN(started_s), MAX(started_s + took_s) FROM attempts "
                "WHERE status = 'ok' AND key != ?",
                (f"Y{video(0)}",),
            ).fetchone()
            (n_refused,) = db.execute(
                "SELECT COUNT(*) FROM attempts WHERE status = 'blocked'"
            ).fetchone()
            of = dict(db.execute("SELECT status, COUNT(*) FROM clips GROUP BY status"))
    return Run(n_others / (last_s - first_s), of.get("ok", 0), of.get("blocked", 0), n_refused)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--workers", type=int, default=4)
    args = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    server = spawn.Process(target=serve_all, args=(args.clips, there), daemon=True)
    server.start()
    source, with_slow, healthy, refusing = here.recv()
    short = ("--blocked-wait-s", "0.1")
    cases = {
        "one healthy proxy": (source, [healthy]),
        "the same and a refusing one": (source, [healthy, refusing]),
        "the same, first pause 0.1 s in place of 60 s": (source, [healthy, refusing], *short),
        "one healthy proxy, one slow source": (with_slow, [healthy]),
    }
    rows = []
    alone = 0.0
    for name, (url, proxies, *options) in cases.items():
        run = ingest(url, proxies, args.clips, args.workers, *options)
        alone = alone or run.clips_per_s
        rows.append(
            [
                name,
                f"{run.clips_per_s:.1f}",
                f"{run.clips_per_s / alone:.2f}",
                *map(str, (run.n_ok, run.n_blocked, run.n_refused)),
            ]
        )
    print(f"### Exits, {args.clips} clips of {LENGTH_S} s sources, {args.workers} workers\n")
    print(f"{machine(torch.device('cpu'))}\n")
    head = ["", "clips/s", "of the first", "ok", "left blocked", "requests refused"]
    print(table(head, rows))
    here.send(None)
    server.join()


if __name__ == "__main__":
    main()
