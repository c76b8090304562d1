"""A batch out of a set that stays in the memory of the device.

python tests/benchmarks/resident.py --device cuda --clips 100
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch
from measure import machine, measure, table

from slvr.pipeline.loaders.batching import Batching
from slvr.pipeline.loaders.resident import Resident

sys.path.insert(0, str(Path(__file__).parents[1]))  # for conftest.py, which makes the clips
from conftest import write_directory

RATE_HZ = 16_000


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--clips", type=int, default=100, help="of a batch; the set has thrice them"
    )
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--runs", type=int, default=50)
    args = parser.parse_args()
    device, n_samples = torch.device(args.device), round(args.seconds * RATE_HZ)
    with tempfile.TemporaryDirectory() as folder:
        lengths_s = (args.seconds, 1.5 * args.seconds)
        directory = write_directory(
            Path(folder) / "data", 3 * args.clips, 1, codec="wav", lengths_s=lengths_s
        )
        clips = directory.dataset("train")
        batches = Resident(clips, Batching(args.clips, n_samples, seed=0), device).batches()
        took = measure(lambda: next(batches), args.runs, device)
        host_s = 0.0
        for _ in range(args.runs):
            begin_s = time.perf_counter()
            next(batches)
            host_s += time.perf_counter() - begin_s
    print(f"### Resident batch, {args.clips} clips of {args.seconds:g} s\n")
    print(f"{machine(device)}; {args.runs} runs, the device waited for each time.\n")
    times = [f"{1e3 * s:.3g}" for s in (took.median_s, took.min_s, host_s / args.runs)]
    print(table(["", "ms, median", "min", "of them the host's"], [["resident batch", *times]]))


if __name__ == "__main__":
    main()
