"""A training step of EfficientNet-B0 beside the reference package's, in the same process.

Needs `pip install efficientnet_pytorch==0.7.1` in an environment of its own that sees ours, for
example `python -m venv --system-site-packages`. Run it where nothing else runs:

    python tests/benchmarks/efficientnet.py [--clips 32] [--steps 10] [--threads 2]

Three views of each clip, 96 frames of 64 bands, features, their mean square, its gradient.
"""

import argparse
import sys
import time

import torch
from torch import nn

from slvr.model.encoders.efficientnet import EfficientNet


def reference() -> nn.Module:
    """The package's network before pooling, three passes a step."""
    try:
        from efficientnet_pytorch import EfficientNet as Theirs
    except ImportError:
        sys.exit("efficientnet.py: no efficientnet_pytorch here; see this file's first lines")
    made: nn.Module = Theirs.from_name("efficientnet-b0", in_channels=1)
    return made.train()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    theirs, ours = reference().to(device), EfficientNet().train().to(device)
    views = torch.randn(3, args.clips, 1, 64, 96, device=device)

    def their_step() -> None:
        features = [theirs.extract_features(view.mT) for view in views]
        torch.stack(features).square().mean().backward()
        theirs.zero_grad()

    def our_step() -> None:
        ours.embed(views, ("all",))["all"].clips.square().mean().backward()
        ours.zero_grad()

    steps = {"efficientnet_pytorch": their_step, "slvr": our_step}
    took: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(args.steps + 2):  # in turns, the first two to warm up
        for name, step in steps.items():
            if device.type == "cuda":
                torch.cuda.synchronize()
            begun = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number >= 2:
                took[name].append(time.perf_counter() - begun)
    medians = {name: sorted(times)[len(times) // 2] for name, times in took.items()}
    for name, median in medians.items():
        print(f"{name:22} {1e3 * median:8.1f} ms a step of 3 x {args.clips} clips")
    theirs_s, ours_s = medians.values()
    print(f"{theirs_s / ours_s:.2f} times as fast, {args.threads} threads, {device.type}")


if __name__ == "__main__":
    main()
