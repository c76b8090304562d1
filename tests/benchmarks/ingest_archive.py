"""`ingest esc50` from a zip of 44.1 kHz files, against ffmpeg once a file and against the decoder.

ffmpeg: the usual script, one process for each file of the unpacked zip, as many at a time as there
are workers. Decoder: soundfile and soxr alone in one process on one core, nothing written.

python tests/benchmarks/ingest_archive.py --files 2000 --workers 2
"""

import argparse
import csv
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from measure import machine, table

RATE_HZ, SECONDS = 44_100, 5
NO_CLASSES_HELD_OUT = '{"train": [], "val": [], "test": ["class_0"]}'


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


def timed(work: Callable[[], object]) -> float:
    """Seconds that work takes."""
    start_s = time.perf_counter()
    work()
    return time.perf_counter() - start_s


def main() -> None:
    """Prints files a second of the three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        names = write_zip(root / "ESC-50.zip", options.files)
        (root / "lists.json").write_text(NO_CLASSES_HELD_OUT)
        with zipfile.ZipFile(root / "ESC-50.zip") as archive:
            archive.extractall(root)
        paths = [root / "ESC-50" / "audio" / name for name in names]

        def ours() -> None:
            line = [str(Path(sys.executable).with_name("ingest")), "esc50", "--source"]
            line += ["ESC-50.zip", "--split-file", "lists.json", "--out", "shards"]
            line += ["--workers", str(options.workers)]
            subprocess.run(line, cwd=root, check=True, capture_output=True)

        def ffmpeg(path: Path) -> None:
            line = ["ffmpeg", "-v", "error", "-i", str(path), "-ac", "1", "-ar", "16000"]
            subprocess.run([*line, str(path.with_suffix(".16k.wav"))], check=True)

        def script() -> None:
            with ThreadPoolExecutor(options.workers) as pool:
                list(pool.map(ffmpeg, paths))

        def decoder() -> None:
            for path in paths:
                samples, rate_hz = soundfile.read(path, dtype="float32")
                soxr.resample(samples, rate_hz, 16_000, quality="HQ")

        times_s = {f"ingest esc50, {options.workers} workers": timed(ours)}
        times_s["soundfile + soxr, one core"] = timed(decoder)
        if shutil.which("ffmpeg"):
            times_s[f"ffmpeg once a file, {options.workers} at a time"] = timed(script)
        rows = [[n, f"{s:.1f}", f"{len(paths) / s:.0f}"] for n, s in times_s.items()]
        print(table(["", "s", "files/s"], rows))
        print(machine(torch.device("cpu")))


if __name__ == "__main__":
    main()
