"""Frequency and time masks of a batch against torchaudio's, side by side: time and memory.

    python tests/benchmarks/spec_augment.py [--device cuda] [--clips 256] [--runs 30]

The same masks' widths and numbers, and 0 in them; torchaudio takes an axis and a mask at a time.
Below, what it has no batched form for: other values in the masks, and the time warp.
Run it on a machine with nothing else to do, one thread: OMP_NUM_THREADS=1.
"""

import argparse
from collections.abc import Callable

import torch
from measure import HEAD, Measured, compare, machine, measure, table
from torch import Tensor

from slvr.pipeline.augmentations.spec_augment import masked, spans, warped
from slvr.pipeline.torchaudio_import import functional
from slvr.pipeline.views.channels import Channels
from slvr.pipeline.views.contract import Waves
from slvr.pipeline.views.spectra import SpecAugmented, masks_of, warp_of

N_VIEWS = 2


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--bands", type=int, default=64)
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--runs", type=int, default=30)
    args = parser.parse_args()
    device = torch.device(args.device)
    n = N_VIEWS * args.clips
    images = torch.randn(N_VIEWS, args.clips, 1, args.bands, args.frames, device=device)
    config = SpecAugmented.Config(probability=1.0, fill="zero")
    crops = Channels.build(Channels.Config(pair="mix-mix"), Waves(160_000))
    views = SpecAugmented(crops, config)
    without_warp = SpecAugmented(crops, SpecAugmented.Config(1.0, warp_frames=0, fill="zero"))
    plan = views.sample(args.clips, 0)
    bands, frames = masks_of(plan, "bands", args.bands), masks_of(plan, "frames", args.frames)
    there = [x.to(device) for x in (*bands, *frames)]
    origin, destination = (x.to(device) for x in warp_of(plan, args.frames))
    flat = images.flatten(0, 1)

    def ours(fill: str = "zero") -> Tensor:
        in_bands, in_frames = spans(args.bands, *there[:2]), spans(args.frames, *there[2:])
        return masked(images, in_bands, in_frames, fill)  # type: ignore[arg-type]

    def theirs() -> Tensor:
        found = flat
        for axis, most, times in (
            (2, config.mask_bands, config.band_masks),
            (3, config.mask_frames, config.frame_masks),
        ):
            for _ in range(times):
                found = functional.mask_along_axis_iid(found, most, 0.0, axis)
        return found

    def whole(maker: SpecAugmented) -> Tensor:
        return maker.on_features(images, maker.sample(args.clips, 1, device))

    def timed(call: Callable[[], Tensor]) -> Measured:
        return measure(call, args.runs, device)

    beside = timed(theirs)
    rows = [
        compare("masks with their draws", n, timed(lambda: whole(without_warp)), beside),
        compare("masks, drawn before", n, timed(ours), beside),
        compare("masks, mean of the image", n, timed(lambda: ours("mean")), None),
        compare("warp", n, timed(lambda: warped(images, origin, destination)), None),
        compare("warp and masks with their draws", n, timed(lambda: whole(views)), None),
    ]
    size = f"{N_VIEWS} views of {args.clips} clips, {args.bands} bands, {args.frames} frames"
    print(f"{machine(device)} · {size}\n")
    print(table(HEAD, rows))


if __name__ == "__main__":
    main()
