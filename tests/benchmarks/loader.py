"""Clips read, decoded and batched, against the usual webdataset and soundfile in workers.

python tests/benchmarks/loader.py --device cuda --clips 2000 --workers 16

All rates are of one run, in rounds: each way takes its turn in each, so that a busy machine slows
them alike. The clips are pink noise, 10 s, FLAC, in the page cache.
"""

import argparse
import importlib.util
import io
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
import torch
import webdataset as wds
from measure import machine, measure, megabytes, table
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import described
from slvr.pipeline.loaders.batching import Batch, Batching
from slvr.pipeline.loaders.by_clip import ClipLoader, on_device
from slvr.pipeline.loaders.dali import DaliLoader
from slvr.pipeline.loaders.resident import Resident
from slvr.pipeline.loaders.streamed import StreamedLoader
from slvr.shards.audio import decode, with_audio
from slvr.shards.clip import SAMPLE_RATE_HZ, Clip, Source
from slvr.shards.read import ShardDirectory
from slvr.shards.write import ShardWriter, finish

N_SAMPLES = 10 * SAMPLE_RATE_HZ
N_SHARDS = 16


def pink_noise(seed: int) -> np.ndarray:
    """(T,) int16, power falling with 1/f as in most recordings."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(size=N_SAMPLES))
    wave = np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 1))
    return np.round(20_000 * wave / np.abs(wave).max()).astype(np.int16)


def write(path: Path, n_clips: int) -> ShardDirectory:
    """A shard directory of n different clips."""
    path.mkdir()
    rows, infos = [], []
    for s in range(N_SHARDS):
        with ShardWriter(path, f"train-{s:06d}", "train", "flac") as writer:
            for i in range(s, n_clips, N_SHARDS):
                clip = Clip(key=f"clip_{i:06d}", split="train", source=Source(f"{i}"))
                writer.write(with_audio(clip, pink_noise(i), "flac"))
        assert writer.info is not None
        rows += writer.rows
        infos.append(writer.info)
    finish(path, rows, infos, described("bench", sample_rate_hz=SAMPLE_RATE_HZ))
    return ShardDirectory.open(path)


def usual(directory: ShardDirectory, batch: int, workers: int) -> Iterator[Batch]:
    """Batches (B, T) float32 as most people make them, without keys."""
    tars = [str(directory.path / shard.name) for shard in directory.manifest.shards]
    dataset = (
        wds.WebDataset(tars * 1000, shardshuffle=len(tars), empty_check=False)
        .shuffle(100)
        .to_tuple("flac")
        .map_tuple(lambda flac: soundfile.read(io.BytesIO(flac), dtype="float32")[0])
        .batched(batch)
    )
    loader = DataLoader(dataset, batch_size=None, num_workers=workers)
    return (Batch((), torch.as_tensor(waves)) for (waves,) in loader)


def rate(stream: Iterator[Batch], seconds: float) -> float:
    """Clips a second that a stream gives, after its first batches."""
    for batch in islice(stream, 3):
        n_clips = len(batch.pcm)
    n, start_s = 0, time.perf_counter()
    while time.perf_counter() - start_s < seconds:
        next(stream)
        n += n_clips
    return n / (time.perf_counter() - start_s)


def one_core(decoder: Callable[[bytes], object], members: list[bytes], seconds: float) -> float:
    """Clips a second of processor time, with nothing around the decoder."""
    n, start_s = 0, time.process_time()
    while time.process_time() - start_s < seconds:
        decoder(members[n % len(members)])
        n += 1
    return n / (time.process_time() - start_s)


def workers_bytes() -> int:
    """Peak memory of all worker processes of this one, added up."""
    total = 0
    for worker in multiprocessing.active_children():
        status = Path(f"/proc/{worker.pid}/status").read_text().splitlines()
        total += int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024
    return total


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    device = torch.device(args.device)
    batching = Batching(args.batch, N_SAMPLES, seed=0)

    with tempfile.TemporaryDirectory() as folder:
        directory = write(Path(folder) / "shards", args.clips)
        clips = directory.dataset("train")
        tar_order = directory.members(directory.shards("train"), 0, 0, 1)
        members = [audio for _, audio, _ in islice(tar_order, 50)]
        n, on = args.workers, partial(on_device, device=device)
        ways: dict[str, Callable[[], float]] = {
            "bare soundfile, one core": lambda: one_core(
                lambda member: soundfile.read(io.BytesIO(member), dtype="int16"), members, 1.0
            ),
            "our decoder, one core": lambda: one_core(decode, members, 1.0),
        }
        streams: dict[str, Callable[[], Iterator[Batch]]] = {
            f"webdataset + soundfile, {n} workers": lambda: usual(directory, args.batch, n),
            f"default loader, {n} workers": lambda: ClipLoader(clips, batching, n).batches(),
            f"streamed, {n} workers": lambda: StreamedLoader(
                directory, "train", batching, n
            ).batches(),
        }
        if importlib.util.find_spec("nvidia") and importlib.util.find_spec("nvidia.dali"):
            streams[f"DALI, {n} threads"] = lambda: DaliLoader(
                directory, "train", batching, n
            ).batches()
        memory: dict[str, int] = {}

        def rate_of(name: str) -> float:
            stream = streams[name]()
            clips_per_s = rate(on(stream), args.seconds)
            memory[name] = workers_bytes()
            return clips_per_s

        ways |= {name: partial(rate_of, name) for name in streams}
        rounds = [{name: way() for name, way in ways.items()} for _ in range(args.rounds)]
        median = {name: statistics.median(r[name] for r in rounds) for name in ways}
        bare, baseline = median["bare soundfile, one core"], median[next(iter(streams))]

        start_s = time.perf_counter()
        resident = Resident(clips, batching, device)
        decoded_per_s = args.clips / (time.perf_counter() - start_s)
        gathered = resident.batches()
        took = measure(lambda: next(gathered), 50, device)

    print(f"### Loaders, batches of {args.batch} clips of 10 s\n")
    print(f"{machine(device)}; {args.clips} clips; {args.rounds} rounds of {args.seconds:g} s.\n")
    rows = [
        [
            name,
            f"{median[name]:,.0f}",
            f"{median[name] / baseline:.2f}x" if name in streams else "-",
            f"{median[name] / (bare * n):.2f}x"
            if name in streams
            else f"{median[name] / bare:.2f}x",
            megabytes(memory[name]) if memory.get(name) else "-",
        ]
        for name in ways
    ]
    rows.append(["becoming resident, all cores", f"{decoded_per_s:,.0f}", "-", "-", "-"])
    head = ["", "clips/s, median", "of webdataset", "of cores x bare soundfile", "workers' memory"]
    print(table(head, rows))
    per_batch = [
        f"{1e3 * took.median_s:.3g}",
        f"{1e3 * took.min_s:.3g}",
        megabytes(took.peak_bytes),
    ]
    gather = ["", "ms, median", "min", "memory"]
    print(f"\n{table(gather, [[f'resident batch of {args.batch}', *per_batch]])}")


if __name__ == "__main__":
    main()
