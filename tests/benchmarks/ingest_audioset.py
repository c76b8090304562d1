"""`ingest audioset` against the usual script, from a loopback server without any rate limit.

The usual script: for each clip one call of yt-dlp and one ffmpeg process that cuts the part to a
WAV file; with as many workers. It keeps no record, resumes nothing and checks nothing.

python tests/benchmarks/ingest_audioset.py --clips 200 --workers 2
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch
import yt_dlp
from measure import machine, megabytes, table

sys.path.insert(0, str(Path(__file__).parents[1]))
from loopback import Route, serve, tones

LENGTHS_S = (30, 40, 50, 60)
START_S, END_S = 12.0, 22.0
FORMAT = "ba[ext=m4a]/ba/b"


class Cost(NamedTuple):
    """What a whole run took: wall and processor time in seconds, peak memory of one process."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def video(i: int) -> str:
    return f"v{i:06d}AAAA"


def serve_clips(n: int, port: Connection) -> None:
    """A process of its own, so that its work is in nobody's account."""
    bodies = [tones("m4a", seconds) for seconds in LENGTHS_S]
    with serve({f"/{video(i)}": Route(bodies[i % len(bodies)]) for i in range(n)}) as server:
        port.send(server.port)
        port.recv()


def cost(work: Callable[[], None]) -> Cost:
    """Runs work, which starts processes, and adds up what it and they took."""

    def cpu_s() -> float:
        used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_utime + usage.ru_stime for usage in used)

    start_s, cpu_start_s = time.perf_counter(), cpu_s()
    work()
    return Cost(time.perf_counter() - start_s, cpu_s() - cpu_start_s, 0)


def by_command(url: str, target: Path) -> None:
    """Downloads one source with yt-dlp's command."""
    line = [sys.executable, "-m", "yt_dlp", "--quiet", "--no-warnings", "--no-playlist"]
    subprocess.run([*line, "-f", FORMAT, "-o", str(target), "--", url], check=True)


def by_library(url: str, target: Path) -> None:
    """Downloads one source with a yt-dlp object of its own."""
    options = {"quiet": True, "no_warnings": True, "noprogress": True, "noplaylist": True}
    with yt_dlp.YoutubeDL(options | {"format": FORMAT, "outtmpl": str(target)}) as downloader:
        downloader.download([url])


def usual(
    download: Callable[[str, Path], None], source_url: str, n: int, workers: int, folder: Path
) -> None:
    """The usual script."""

    def one(i: int) -> None:
        source = folder / f"{video(i)}.m4a"
        download(source_url.replace("{id}", video(i)), source)
        cut = ["-ss", str(START_S), "-t", str(END_S - START_S), "-i", str(source)]
        wav = ["-ac", "1", "-ar", "16000", str(folder / f"{video(i)}.wav")]
        subprocess.run(["ffmpeg", "-nostdin", "-loglevel", "error", *cut, *wav], check=True)
        source.unlink()

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, range(n)))
    assert len(list(folder.glob("*.wav"))) == n


def ingest(source_url: str, n: int, workers: int, folder: Path) -> Cost:
    """Ours, its start included."""
    lines = (f'{video(i)}, {START_S:.3f}, {END_S:.3f}, "/m/09x0r"\n' for i in range(n))
    (folder / "segments.csv").write_text("".join(lines))
    (folder / "labels.csv").write_text("index,mid,display_name\n0,/m/09x0r,Speech\n")
    line = [str(Path(sys.executable).with_name("ingest")), "audioset", "--rate", "unlimited"]
    line += ["--segments", "segments.csv", "--label-names", "labels.csv", "--out", "shards"]
    line += ["--source-url", source_url, "--workers", str(workers)]
    start_s = time.perf_counter()
    process = subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    told = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - start_s
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0 and f"{n} of {n} clips" in told, told
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--memory-clips", type=int, nargs="*", default=[500, 5000])
    args = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    n_served = max([args.clips, *args.memory_clips])
    server = spawn.Process(target=serve_clips, args=(n_served, there), daemon=True)
    server.start()
    source_url = f"http://127.0.0.1:{here.recv()}/{{id}}"

    runs: list[tuple[str, Callable[[Path], Cost]]] = [
        ("`ingest audioset`", lambda f: ingest(source_url, args.clips, args.workers, f))
    ]
    if shutil.which("ffmpeg"):
        for name, get in (("yt-dlp command", by_command), ("yt-dlp library", by_library)):
            runs.append(
                (
                    f"usual script, {name} + ffmpeg",
                    lambda f, get=get: cost(
                        lambda: usual(get, source_url, args.clips, args.workers, f)
                    ),
                )
            )
    costs = []
    for name, work in runs:
        with tempfile.TemporaryDirectory() as folder:
            costs.append((name, work(Path(folder))))
    print(
        f"### `ingest audioset`, {args.clips} clips of 30 to 60 s sources, {args.workers} workers\n"
    )
    print(f"{machine(torch.device('cpu'))}\n")
    head = ["", "clips/s", "CPU s a clip", "wall time, times ours"]
    ours = costs[0][1]
    rows = [
        [
            name,
            f"{args.clips / taken.wall_s:.1f}",
            f"{taken.cpu_s / args.clips:.3f}",
            f"{taken.wall_s / ours.wall_s:.1f}x",
        ]
        for name, taken in costs
    ]
    print(table(head, rows))
    if len(runs) == 1:
        print("\nThe usual script was not measured: there is no ffmpeg program here.")
    if args.memory_clips:
        memory = []
        for n in args.memory_clips:
            with tempfile.TemporaryDirectory() as folder:
                taken = ingest(source_url, n, args.workers, Path(folder))
            memory.append([f"{n:,}", megabytes(taken.peak_bytes), f"{n / taken.wall_s:.1f}"])
        print(f"\n{table(['planned clips', 'peak memory', 'clips/s'], memory)}")
    here.send(None)
    server.join()


if __name__ == "__main__":
    main()
