"""A set of 300,000 clips, with as many features as the largest of the benchmark has."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import described, noise
from slvr.shards.audio import with_audio
from slvr.shards.clip import Clip, Source
from slvr.shards.write import ShardWriter, finish

DIM = 1000
MINE = f"""
import torch

def embed(waves):
    return waves[:, :{DIM}] + waves.std(1, keepdim=True)
"""
# Runs `evaluate` and prints the most memory of its own that it held, in bytes. Pages of the
# features' file are left out: the system takes them back when it needs them.
MEASURED = """
import sys, threading
from pathlib import Path
from slvr.eval.cli import main

peak, ended = 0, threading.Event()

def watch():
    global peak
    while not ended.wait(0.02):
        status = Path("/proc/self/status").read_text()
        peak = max(peak, 1024 * int(status.split("RssAnon:")[1].split()[0]))

watching = threading.Thread(target=watch)
watching.start()
code = main(sys.argv[1:])
ended.set()
watching.join()
print(peak)
sys.exit(code)
"""


def write_rows(path: Path, n_clips: int) -> None:
    """A set whose clips all lie at the same place of one tar."""
    path.mkdir()
    clip = Clip("clip", "eval", Source("made.wav", 0.0, 0.1), labels=("class",))
    with ShardWriter(path, "eval-000000", "eval", "flac") as writer:
        writer.write(with_audio(clip, noise(1600, 0), "flac"))
    (row,) = writer.rows
    clips = [
        dataclasses.replace(row.clip, key=f"c_{i:06d}", labels=(f"{i % DIM}",))
        for i in range(n_clips)
    ]
    rows = [dataclasses.replace(row, clip=clip) for clip in clips]
    shard = dataclasses.replace(writer.info, n=n_clips)
    finish(path, rows, [shard], described(path.name))


def peak_bytes(folder: Path, n_clips: int) -> int:
    """Most memory that `evaluate` held on so many clips, of which each is embedded."""
    write_rows(folder / f"n{n_clips}", n_clips)
    args = ["--encoder", "mine:embed", "--shards", f"n{n_clips}", "--piece", "0.1"]
    args += ["--no-baselines", "--out", f"out{n_clips}", "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *args],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1800,
        check=True,
    )
    (scores,) = pd.read_csv(folder / f"out{n_clips}" / "results.csv").itertuples()
    assert (scores.n_clips, scores.dim, scores.n_tasks) == (n_clips, DIM, 10_000)
    return int(done.stdout.splitlines()[-1])


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_features(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    few, many = peak_bytes(tmp_path, 3_000), peak_bytes(tmp_path, 300_000)
    (values,) = tmp_path.glob("results/features/n300000-*/features.npy")
    of_features = values.stat().st_size
    assert np.load(values, mmap_mode="r").shape == (300_000, DIM)
    assert many < 1.5e9
    assert many - few < of_features / 3, f"{few / 1e6:.0f} MB, then {many / 1e6:.0f} MB"
