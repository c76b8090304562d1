"""`ingest esc50` from a zip of 44.1 kHz files: against ffmpeg once a file and against less work.

ffmpeg: the usual script, one process for each file of the unpacked zip, as many at a time as there
are workers. Decoder: soundfile and soxr alone in one process on one core, nothing written. Bare
work: what shards need beyond that, also on one core, in a plain loop without plan, ledger, workers
or checks: inflate, hash the source, decode, resample, hash the samples, encode FLAC, write a tar.
Memory: the largest process of the command, from an eighth of the files and from all.

python tests/benchmarks/ingest_archive.py --files 2000 --workers 2
"""

import argparse
import csv
import io
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
import torch
from bare import add_clip
from measure import machine, megabytes, table

RATE_HZ, SECONDS = 44_100, 5
NO_CLASSES_HELD_OUT = '{"train": [], "val": [], "test": ["class_0"]}'
# a process's peak begins with that of the one that started it: a small one does so here
LARGEST_PROCESS = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, "
    "capture_output=True); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


class Timed(NamedTuple):
    """Wall time, and CPU time of all processes."""

    wall_s: float
    cpu_s: float


def write_zip(path: Path, n: int) -> list[str]:
    """An ESC-like zip of n files of noise; returns their names."""
    names = [f"{i % 5 + 1}-{i}-A-{i % 50}.wav" for i in range(n)]
    noise = np.random.default_rng(0).normal(0, 0.1, RATE_HZ * SECONDS + n)
    columns = ["filename", "fold", "target", "category", "esc10", "src_file", "take"]
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(columns)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for i, name in enumerate(names):
            buffer = io.BytesIO()
            soundfile.write(buffer, noise[i:][: RATE_HZ * SECONDS], RATE_HZ, format="WAV")
            archive.writestr(f"ESC-50/audio/{name}", buffer.getvalue())
            rows.writerow([name, name[0], i % 50, f"class_{i % 50}", False, i, "A"])
        archive.writestr("ESC-50/meta/esc50.csv", text.getvalue())
    return names


def timed(work: Callable[[], object]) -> Timed:
    """What work takes, its processes included."""
    start_s, start_cpu_s = time.perf_counter(), _cpu_s()
    work()
    return Timed(time.perf_counter() - start_s, _cpu_s() - start_cpu_s)


def _cpu_s() -> float:
    ours, theirs = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return ours.ru_utime + ours.ru_stime + theirs.ru_utime + theirs.ru_stime


def ingest(root: Path, archive: str, workers: int) -> int:
    """Runs the command; returns the peak memory of its largest process in bytes."""
    line = [str(Path(sys.executable).with_name("ingest")), "esc50", "--source", archive]
    line += ["--split-file", "lists.json", "--out", f"{archive}.shards", "--workers", str(workers)]
    small = [sys.executable, "-c", LARGEST_PROCESS, *line]
    done = subprocess.run(small, cwd=root, check=True, capture_output=True, text=True)
    return int(done.stdout) * 1024


def decode(path: Path) -> None:
    """soundfile and soxr alone."""
    samples, rate_hz = soundfile.read(path, dtype="float32")
    soxr.resample(samples, rate_hz, 16_000, quality="HQ")


def bare_work(archive: Path, out: Path) -> None:
    """A tar with the FLAC and the hashes of every file of a zip."""
    with zipfile.ZipFile(archive) as members, tarfile.open(out, "w") as tar:
        for name in members.namelist():
            if not name.endswith(".wav"):
                continue
            add_clip(tar, Path(name).stem, members.read(name))


def main() -> None:
    """Prints a table of speed, the shares of the cores' speed that ingest reaches, and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    n, workers = options.files, options.workers
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "lists.json").write_text(NO_CLASSES_HELD_OUT)
        write_zip(root / "small.zip", n // 8)
        names = write_zip(root / "ESC-50.zip", n)
        with zipfile.ZipFile(root / "ESC-50.zip") as archive:
            archive.extractall(root)
        paths = [root / "ESC-50" / "audio" / name for name in names]

        def ffmpeg(path: Path) -> None:
            line = ["ffmpeg", "-v", "error", "-i", str(path), "-ac", "1", "-ar", "16000"]
            subprocess.run([*line, str(path.with_suffix(".16k.wav"))], check=True)

        def script() -> None:
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(ffmpeg, paths))

        peaks = {"small.zip": ingest(root, "small.zip", workers)}
        ours = timed(lambda: peaks.update({"ESC-50.zip": ingest(root, "ESC-50.zip", workers)}))
        decoder = timed(lambda: [decode(path) for path in paths])
        bare = timed(lambda: bare_work(root / "ESC-50.zip", root / "bare.tar"))
        lines = {
            f"ingest esc50, {workers} workers": ours,
            "soundfile + soxr, one core": decoder,
            "bare work of shards, one core": bare,
        }
        if shutil.which("ffmpeg"):
            lines[f"ffmpeg once a file, {workers} at a time"] = timed(script)
        rows = [
            [name, f"{t.wall_s:.1f}", f"{n / t.wall_s:.0f}", f"{1e3 * t.cpu_s / n:.2f}"]
            for name, t in lines.items()
        ]
        print(table(["", "s", "files/s", "CPU ms a file"], rows))
        for name, t in (("soundfile + soxr alone", decoder), ("the bare work", bare)):
            wall, cpu = t.wall_s / (workers * ours.wall_s), t.cpu_s / ours.cpu_s
            print(f"ingest / ({workers} x {name}): {wall:.2f}; by CPU time alone {cpu:.2f}")
        sizes = [(root / name).stat().st_size for name in peaks]
        rows = [
            [str(files), megabytes(size), megabytes(peak)]
            for files, size, peak in zip((n // 8, n), sizes, peaks.values(), strict=True)
        ]
        print(table(["files", "archive", "largest process"], rows))
        print(machine(torch.device("cpu")))


if __name__ == "__main__":
    main()
