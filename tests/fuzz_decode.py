"""Files of sound, mutated by seed, against the decode reader; prints one JSON line.

    python tests/fuzz_decode.py --files 360 --seed 0        # in processes of its own

Each batch of files is decoded in a process of its own: one that dies, hangs or grows is seen.
"""

import argparse
import io
import json
import signal
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import soundfile

ENCODED_S = 1.5
TOLERANCE_S = 0.1
"""So much may be missing of a clip that is ok."""
FILE_S = 20
"""A file that takes longer hangs."""
BATCH = 250
MAX_BYTES = 10**9


def samples(rate: int, channels: int) -> np.ndarray:
    """(T, channels): a tone with noise, so that no cut is silent."""
    draw = np.random.default_rng(7)
    time_s = np.arange(round(ENCODED_S * rate)) / rate
    wave = 0.4 * np.sin(2 * np.pi * 440 * time_s)[:, None] + draw.normal(
        0, 0.02, (len(time_s), channels)
    )
    return wave.astype(np.float32)


def by_soundfile(kind: str, subtype: str, rate: int = 16_000, channels: int = 1) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples(rate, channels), rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def by_ffmpeg(
    container: str, codec: str, rate: int = 48_000, channels: int = 1, **options: str
) -> bytes:
    buffer = io.BytesIO()
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[channels]
    wave = samples(rate, channels)
    with av.open(buffer, "w", container, options=options) as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(wave).reshape(1, -1), format="flt", layout=layout
        )
        frame.sample_rate = rate
        for piece in av.AudioResampler(stream.format.name, layout, rate).resample(frame):
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    return buffer.getvalue()


def without_count(mp3: bytes) -> bytes:
    """An MP3 without its first frame, which holds the count of the others."""
    first = mp3.index(b"\xff")
    return mp3[mp3.index(mp3[first : first + 2], first + 100) :]


FRAGMENTS = "frag_keyframe+empty_moov+default_base_moof"
DECLARED: dict[str, Callable[[], bytes]] = {
    "wav": lambda: by_soundfile("WAV", "PCM_16"),
    "wav float": lambda: by_soundfile("WAVEX", "FLOAT", channels=2),
    "rf64": lambda: by_soundfile("RF64", "PCM_16"),
    "w64": lambda: by_soundfile("W64", "PCM_24"),
    "aiff": lambda: by_soundfile("AIFF", "PCM_16"),
    "au": lambda: by_soundfile("AU", "PCM_16"),
    "caf": lambda: by_soundfile("CAF", "PCM_16"),
    "nist": lambda: by_soundfile("NIST", "PCM_16"),
    "flac": lambda: by_soundfile("FLAC", "PCM_16", 44_100),
    "ogg": lambda: by_soundfile("OGG", "VORBIS", 44_100, 2),
    "opus": lambda: by_soundfile("OGG", "OPUS", 48_000),
    "mp3": lambda: by_soundfile("MP3", "MPEG_LAYER_III", 44_100, 2),
    "m4a": lambda: by_ffmpeg("ipod", "aac", channels=2),
    "mkv": lambda: by_ffmpeg("matroska", "aac"),
    "webm": lambda: by_ffmpeg("webm", "libopus"),
}
"""Kinds whose container declares length or end."""
UNDECLARED: dict[str, Callable[[], bytes]] = {
    "mp3 without a count": lambda: without_count(DECLARED["mp3"]()),
    "ts": lambda: by_ffmpeg("mpegts", "aac"),
    "adts": lambda: by_ffmpeg("adts", "aac", channels=2),
}
KINDS = DECLARED | UNDECLARED


def mutated(content: bytes, draw: np.random.Generator) -> bytes:
    """A copy with one kind of damage, anywhere or within the first 200 bytes."""
    changed = bytearray(content)
    n = len(changed) if draw.random() < 0.7 else min(200, len(changed))
    at = int(draw.integers(n))
    run = int(draw.integers(1, 400))
    match int(draw.integers(8)):
        case 0:
            changed[at] ^= 1 << int(draw.integers(8))
        case 1:
            for place in draw.integers(n, size=int(draw.integers(1, 6))):
                changed[place] = int(draw.integers(256))
        case 2:
            del changed[max(at, 1) :]
        case 3:
            del changed[at : at + run]
        case 4:
            changed[at:at] = draw.bytes(run)
        case 5:
            changed[at:at] = changed[at : at + run]
        case 6:
            changed[at : at + run] = bytes(len(changed[at : at + run]))
        case _:
            four = draw.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
            changed[at : at + 4] = struct.pack("<I", int(four))
    return bytes(changed) or b"\0"


def peak_bytes() -> int:
    """The most memory that this program has held; ru_maxrss has that of who started it, too."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def batch(first: int, last: int, seed: int) -> None:
    """Decodes some files and prints what became of each: one JSON line a file."""
    from slvr.ingest.decode import decode_file
    from slvr.ingest.recipe import ClipFailure

    made = {kind: make() for kind, make in KINDS.items()}
    for number in range(first, last):
        kind = list(KINDS)[number % len(KINDS)]
        content = mutated(made[kind], np.random.default_rng([seed, number]))
        signal.alarm(FILE_S)
        try:
            decoded = decode_file(content)
            row = ["ok", "", len(decoded.pcm) / 16_000, decoded.note]
        except ClipFailure as fault:
            row = [fault.status, fault.reason, 0.0, fault.detail]
        except Exception as error:
            row = ["raised", type(error).__name__, 0.0, str(error)]
        signal.alarm(0)
        peak = peak_bytes()
        sys.stdout.write(json.dumps([number, kind, *row, peak]) + "\n")
        sys.stdout.flush()


def run(n_files: int, seed: int) -> dict[str, object]:
    """Decodes n_files in batches, and counts."""
    rows: list[list] = []
    died: list[tuple[int, int]] = []
    next_file = 0
    while next_file < n_files:
        last = min(next_file + BATCH, n_files)
        command = [sys.executable, __file__, "--batch", str(next_file), str(last)]
        done = subprocess.run(
            [*command, "--seed", str(seed)], capture_output=True, text=True, check=False
        )
        got = [json.loads(line) for line in done.stdout.splitlines()]
        rows += got
        next_file = got[-1][0] + 1 if got else next_file
        if next_file < last:  # the next one took the process down: -14 is a hang
            died.append((next_file, done.returncode))
            next_file += 1
    ok = [row for row in rows if row[2] == "ok"]
    short = [row for row in ok if row[4] < ENCODED_S - TOLERANCE_S]
    return {
        "files": len(rows) + len(died),
        "died": died,
        "raised": [row[:4] for row in rows if row[2] == "raised"],
        "unforeseen": [row[:6] for row in rows if row[3] == "decoder_error"],
        "statuses": dict(Counter(row[2] for row in rows)),
        "short and ok": [row[:6] for row in short if row[1] in DECLARED],
        "short without a word": [row[:6] for row in short if "length_undeclared" not in row[5]],
        "short, declares no length": sum(row[1] in UNDECLARED for row in short),
        "kinds that are ok": sorted({row[1] for row in ok}),
        "peak_bytes": max((row[6] for row in rows), default=0),
    }


def main() -> None:
    """Runs from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=360)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, nargs=2)
    arguments = parser.parse_args()
    if arguments.batch:
        batch(*arguments.batch, arguments.seed)
    else:
        sys.stdout.write(json.dumps(run(arguments.files, arguments.seed), indent=1) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
    main()
