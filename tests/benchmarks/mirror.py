"""`ingest audioset --from-mirror` against the bare work of a plain script, in the same run.

Bare work, on one core, in a plain loop without plan, ledger, workers or checks: read the mirror,
hash each file, decode, resample to 16 kHz, hash the samples, encode FLAC, write a tar. The share is
that of so many cores as there are workers. Memory: the largest process of the command, from short
clips, few and many.

python tests/benchmarks/mirror.py --clips 2000 --workers 2
python tests/benchmarks/mirror.py --clips 0 --memory 1000 20000
"""

import argparse
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import torch
from bare import add_clip
from ingest_archive import LARGEST_PROCESS, timed
from measure import machine, megabytes, table

N_SOUNDS, CLIPS_A_FILE, ROWS_A_GROUP = 16, 500, 100
LABELS = "index,mid,display_name\n0,/m/09x0r,Speech\n"


def sounds(rate_hz: int, form: str, subtype: str, seconds: float) -> list[bytes]:
    """Files of noise that falls with frequency, which FLAC packs about as it does recordings."""
    generator = np.random.default_rng(0)
    files = []
    for _ in range(N_SOUNDS):
        steps = generator.normal(0, 0.01, round(rate_hz * seconds))
        samples = np.tanh(np.convolve(steps, np.ones(32), "same"))
        file = io.BytesIO()
        soundfile.write(file, samples, rate_hz, format=form, subtype=subtype)
        files.append(file.getvalue())
    return files


def ids(n: int) -> list[str]:
    """YouTube ids of nobody's."""
    return [f"clip{i:07d}" for i in range(n)]


def pieces(n: int) -> Iterator[tuple[int, list[str]]]:
    """The ids of each file of a mirror."""
    listed = ids(n)
    for first in range(0, n, CLIPS_A_FILE):
        yield first // CLIPS_A_FILE, listed[first : first + CLIPS_A_FILE]


def write_parquet(folder: Path, n: int, seconds: float) -> None:
    """48 kHz FLAC of 24 bit in parquet, a hundred rows a group."""
    files = sounds(48_000, "FLAC", "PCM_24", seconds)
    schema = pa.schema(
        [
            ("video_id", pa.string()),
            ("audio", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ]
    )
    for number, some in pieces(n):
        with pq.ParquetWriter(folder / f"{number:03d}.parquet", schema) as writer:
            for first in range(0, len(some), ROWS_A_GROUP):
                rows = [
                    {"video_id": name, "audio": {"bytes": files[i % N_SOUNDS], "path": name}}
                    for i, name in enumerate(some[first : first + ROWS_A_GROUP])
                ]
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def write_tar(folder: Path, n: int, seconds: float) -> None:
    """48 kHz FLAC of 24 bit in tars."""
    files = sounds(48_000, "FLAC", "PCM_24", seconds)
    for number, some in pieces(n):
        with tarfile.open(folder / f"bal_train{number:03d}.tar", "w") as tar:
            for i, name in enumerate(some):
                info = tarfile.TarInfo(f"audio/bal_train/{name}.flac")
                info.size = len(files[i % N_SOUNDS])
                tar.addfile(info, io.BytesIO(files[i % N_SOUNDS]))


def write_zip(folder: Path, n: int, seconds: float) -> None:
    """32 kHz WAV of 16 bit in zips."""
    files = sounds(32_000, "WAV", "PCM_16", seconds)
    for number, some in pieces(n):
        with zipfile.ZipFile(folder / f"part{number:03d}.zip", "w", zipfile.ZIP_DEFLATED) as made:
            for i, name in enumerate(some):
                made.writestr(f"Y{name}.wav", files[i % N_SOUNDS], compresslevel=1)


def read_parquet(folder: Path) -> Iterator[bytes]:
    """Every file of a mirror, as a plain script reads it."""
    for path in sorted(folder.glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS_A_GROUP):
                for cell in batch.column("audio"):
                    yield cell["bytes"].as_py()


def read_tar(folder: Path) -> Iterator[bytes]:
    """See `read_parquet`."""
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for info in tar:
                member = tar.extractfile(info)
                assert member is not None
                yield member.read()


def read_zip(folder: Path) -> Iterator[bytes]:
    """See `read_parquet`."""
    for path in sorted(folder.glob("*.zip")):
        with zipfile.ZipFile(path) as members:
            yield from map(members.read, members.namelist())


class Kind(NamedTuple):
    """A mirror, how it is written and how a plain script reads it."""

    said: str
    write: Callable[[Path, int, float], None]
    read: Callable[[Path], Iterator[bytes]]


KINDS = {
    "parquet": Kind("parquet, 48 kHz FLAC", write_parquet, read_parquet),
    "tar": Kind("tar, 48 kHz FLAC", write_tar, read_tar),
    "zip": Kind("zip, 32 kHz WAV", write_zip, read_zip),
}


def bare_work(files: Iterator[bytes], out: Path) -> None:
    """A tar with the FLAC and the hashes of every file."""
    with tarfile.open(out, "w") as tar:
        for i, content in enumerate(files):
            add_clip(tar, f"{i}", content)


def ingest(root: Path, n: int, seconds: float, workers: int) -> int:
    """Runs the command on `root/mirror`; the peak memory of its largest process in bytes."""
    (root / "labels.csv").write_text(LABELS)
    with (root / "segments.csv").open("w") as file:
        for name in ids(n):
            file.write(f'{name}, 0.000, {seconds:.3f}, "/m/09x0r"\n')
    line = [str(Path(sys.executable).with_name("ingest")), "audioset", "--segments", "segments.csv"]
    line += ["--label-names", "labels.csv", "--from-mirror", "mirror", "--out", "out"]
    small = [sys.executable, "-c", LARGEST_PROCESS, *line, "--workers", str(workers)]
    done = subprocess.run(small, cwd=root, check=True, capture_output=True, text=True)
    return int(done.stdout) * 1024


def speed(root: Path, kind: Kind, n: int, workers: int) -> list[str]:
    """One line of the table: ours and the bare work, by wall time and by CPU time."""
    (root / "mirror").mkdir(parents=True)
    kind.write(root / "mirror", n, 10.0)
    ours = timed(lambda: ingest(root, n, 10.0, workers))
    bare = timed(lambda: bare_work(kind.read(root / "mirror"), root / "bare.tar"))
    share = bare.wall_s / (workers * ours.wall_s)
    return [
        *(kind.said, f"{n / ours.wall_s:.1f}", f"{n / bare.wall_s:.1f}", f"{share:.2f}"),
        *(f"{1e3 * ours.cpu_s / n:.1f}", f"{1e3 * bare.cpu_s / n:.1f}"),
    ]


def memory(root: Path, kind: Kind, n: int, workers: int) -> list[str]:
    """One line of the table: the largest process for n clips of one second."""
    (root / "mirror").mkdir(parents=True)
    kind.write(root / "mirror", n, 1.0)
    start_s = time.perf_counter()
    peak = ingest(root, n, 1.0, workers)
    return [kind.said, str(n), megabytes(peak), f"{time.perf_counter() - start_s:.0f}"]


def main() -> None:
    """Prints a table of speed, one of memory, and the machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--memory", type=int, nargs="*", default=[], metavar="CLIPS")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    workers = options.workers
    with tempfile.TemporaryDirectory() as folder:
        speeds, peaks = [], []
        for name in options.kinds:
            kind = KINDS[name]
            if options.clips:
                speeds.append(speed(Path(folder, name), kind, options.clips, workers))
                shutil.rmtree(Path(folder, name))
            for n in options.memory:
                peaks.append(memory(Path(folder, f"{name}-{n}"), kind, n, workers))
                shutil.rmtree(Path(folder, f"{name}-{n}"))
    if speeds:
        head = ["", f"clips/s, {workers} workers", "bare work, one core", "share of the cores'"]
        print(table([*head, "CPU ms a clip", "bare"], speeds))
    if peaks:
        print(table(["", "clips of 1 s", "largest process", "s"], peaks))
    print(machine(torch.device("cpu")))


if __name__ == "__main__":
    main()
