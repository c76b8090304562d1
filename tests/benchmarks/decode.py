"""How long decoding takes: m4a by its length, and ordinary files beside another checkout.

    python tests/benchmarks/decode.py                          # growth, and beside plain PyAV
    python tests/benchmarks/decode.py --against ../other       # files too, in turns with its reader

Seconds of CPU, the lowest of five. Plain PyAV does the same work without looking: open, decode,
average the channels, soxr to 16 kHz.
"""

import argparse
import functools
import io
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import av
import numpy as np
import soundfile
import soxr

ROOT = Path(__file__).parents[2]
MINUTES = (2, 4, 8, 16, 32, 60)
TURNS = 5
ORDINARY = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}


def wave(seconds: float, rate: int) -> np.ndarray:
    """(T, 2): noise that is filtered a little, as music is."""
    draw = np.random.default_rng(0)
    noise = draw.normal(0, 0.1, (round(seconds * rate), 2)).astype(np.float32)
    return noise + np.roll(noise, 1, axis=0)


def m4a(seconds: float, rate: int = 44_100) -> bytes:
    """An m4a: ten seconds of noise, encoded once and written again and again."""
    samples = np.ascontiguousarray(wave(10, rate).T)
    buffer = io.BytesIO()
    with av.open(buffer, "w", "ipod") as out:
        stream = out.add_stream("aac", rate=rate, layout="stereo")
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
        frame.sample_rate = rate
        resampler = av.AudioResampler(stream.format.name, "stereo", rate, frame_size=1024)
        encoded = [packet for piece in resampler.resample(frame) for packet in stream.encode(piece)]
        contents = [bytes(packet) for packet in encoded]
        for n in range(round(seconds * rate / 1024)):
            packet = av.Packet(contents[n % len(contents)])
            packet.stream, packet.time_base = stream, Fraction(1, rate)
            packet.pts = packet.dts = n * 1024
            packet.duration = 1024
            out.mux(packet)
    return buffer.getvalue()


def plain(path: Path) -> int:
    """The number of samples that PyAV and soxr give."""
    parts = []
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
        for frame in container.decode(audio=0):
            parts.append(frame.to_ndarray().mean(axis=0))
    return len(soxr.resample(np.concatenate(parts), rate, 16_000, quality="HQ"))


def cpu_s(work: Callable[[], object]) -> float:
    """Seconds of CPU of one call."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def growth(folder: Path) -> None:
    """Prints the table of m4a by length."""
    from slvr.ingest.decode import decode_file

    print("| minutes | slvr s | plain PyAV s | ratio |\n|---|---|---|---|")
    ours, theirs = [], []
    for minutes in MINUTES:
        path = folder / f"{minutes}.m4a"
        path.write_bytes(m4a(60 * minutes))
        here = functools.partial(decode_file, path, max_s=7200)
        there = functools.partial(plain, path)
        pairs = [(cpu_s(here), cpu_s(there)) for _ in range(TURNS)]
        ours.append(min(pair[0] for pair in pairs))
        theirs.append(min(pair[1] for pair in pairs))
        ratio = ours[-1] / theirs[-1]
        print(f"| {minutes} | {ours[-1]:.2f} | {theirs[-1]:.2f} | {ratio:.2f} |", flush=True)
    lengths = [math.log(minutes) for minutes in MINUTES]
    for name, costs in (("slvr", ours), ("plain PyAV", theirs)):
        exponent = np.polyfit(lengths, np.log(costs), 1)[0]
        print(f"growth exponent, {name}: {exponent:.3f}")


def files(folder: Path) -> list[Path]:
    """Ordinary files of 10 s."""
    made = []
    for suffix, (kind, subtype) in ORDINARY.items():
        made.append(folder / f"a.{suffix}")
        soundfile.write(made[-1], wave(10, 44_100), 44_100, format=kind, subtype=subtype)
    made.append(folder / "a.m4a")
    made[-1].write_bytes(m4a(10))
    return made


def once(paths: list[Path]) -> None:
    """Prints seconds of CPU a clip of each file, of this checkout: 20 clips at a time."""
    from slvr.ingest.decode import decode_file

    np.empty(31 << 20, np.uint8)  # as the workers do: else every array is faulted in anew
    costs = []
    for path in paths:
        decode_file(path)
        costs.append(cpu_s(lambda path=path: [decode_file(path) for _ in range(20)]) / 20)
    print(json.dumps(costs))


def beside(other: Path, folder: Path) -> None:
    """Prints the table of ordinary files: this checkout and another one, in turns."""
    paths = files(folder)
    costs: dict[Path, list[list[float]]] = {ROOT: [], other: []}
    for _ in range(TURNS):
        for checkout, rows in costs.items():
            command = [sys.executable, __file__, "--once", *map(str, paths)]
            environment = os.environ | {"PYTHONPATH": str(checkout / "src")}
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True
            )
            rows.append(json.loads(done.stdout))
    print("\n| 10 s of | here ms | there ms | ratio |\n|---|---|---|---|")
    for n, path in enumerate(paths):
        here, there = (1000 * min(row[n] for row in rows) for rows in costs.values())
        print(f"| {path.suffix[1:]} | {here:.1f} | {there:.1f} | {here / there:.2f} |")


def main() -> None:
    """Runs from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="another checkout, for ordinary files")
    parser.add_argument("--once", type=Path, nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        once(arguments.once)
        return
    with tempfile.TemporaryDirectory() as folder:
        if arguments.against:
            beside(arguments.against.resolve(), Path(folder))
        else:
            growth(Path(folder))


if __name__ == "__main__":
    if "PYTHONPATH" not in os.environ:
        sys.path.insert(0, str(ROOT / "src"))
    main()
