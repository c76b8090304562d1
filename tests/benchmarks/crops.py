"""Pitch-shifted crops: one batched call beside librosa clip by clip, as the public code does it.

Needs `pip install librosa` in an environment of its own that sees ours, for example
`python -m venv --system-site-packages`; without it only ours is timed. Run it where nothing else
runs:

    python tests/benchmarks/crops.py [--clips 64] [--repeats 5] [--threads 2] [--device cpu]

Ours includes cutting all three views and their noise; librosa's is the shift of one crop alone.
"""

import argparse
import time
from collections.abc import Callable

import torch

from slvr.pipeline.views.crops import Crops

SAMPLE_RATE_HZ, CLIP_S, CROP = 16_000, 10, 15_200


def median_s(work: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Of some repetitions behind one to warm up."""
    took = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        took.append(time.perf_counter() - begun)
    return sorted(took[1:])[repeats // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    waves = 0.1 * torch.randn(args.clips, CLIP_S * SAMPLE_RATE_HZ, device=device)
    maker = Crops(CROP)
    plan = maker.sample(args.clips, 0, device)
    ours = median_s(lambda: maker.apply(waves, plan), args.repeats, device)
    print(f"slvr     {1e3 * ours / args.clips:7.2f} ms a clip, three views, {device.type}")
    try:
        import librosa
    except ImportError:
        print("librosa is not here: see this file's first lines")
        return
    crops = waves[:, :CROP].cpu().numpy()

    def one_by_one() -> None:
        for crop, semitones in zip(crops, plan.semitones.tolist(), strict=True):
            librosa.effects.pitch_shift(crop, sr=SAMPLE_RATE_HZ, n_steps=semitones)

    theirs = median_s(one_by_one, args.repeats, torch.device("cpu"))
    print(f"librosa  {1e3 * theirs / args.clips:7.2f} ms a clip, the shift alone, cpu")
    print(f"{theirs / ours:.1f} times as fast, {args.threads} threads")


if __name__ == "__main__":
    main()
