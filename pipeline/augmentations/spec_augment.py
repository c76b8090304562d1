"""SpecAugment (Park et al., Interspeech 2019) on a batch: time warp, frequency and time masks.

The warp is piecewise linear, as in Lingvo, and not the paper's image spline, whose highest and
lowest bands hardly move.

Letters: R rows (of one or more axes), C channels, F bands, L frames, K masks.
"""

from typing import Literal

import torch
from torch import Tensor

Fill = Literal["mean", "min", "zero"]


def warped(images: Tensor, origin: Tensor, destination: Tensor) -> Tensor:
    """(R, C, F, L) images whose frame `origin` lies at `destination`, (R,) int64.

    Frame i reads position p(i), between frames linearly; p is piecewise linear through (0, 0),
    (destination, origin) and (L - 1, L - 1). Both ends stay; where origin and destination are one
    frame, so does everything.
    """
    last = images.shape[-1] - 1
    if last < 2:  # no frame between the ends
        return images
    frame = torch.arange(last + 1, device=images.device)
    o, d = origin[..., None], destination[..., None]
    left = frame < d
    # in whole numbers, which float32 would round to 1e-5 of a frame
    rise = torch.where(left, frame * o, (frame - d) * (last - o))
    run = torch.where(left, d, last - d).clamp(min=1)
    before = torch.where(left, 0, o) + rise.div(run, rounding_mode="floor")
    share = rise.remainder(run) / run
    at_end = frame == last
    before = torch.where(at_end, last, before)[..., None, None, :].expand(images.shape)
    share = torch.where(at_end, 0, share)[..., None, None, :].to(images.dtype)
    after = (before + 1).clamp(max=last)
    return torch.lerp(images.gather(-1, before), images.gather(-1, after), share)


def spans(n: int, start: Tensor, width: Tensor) -> Tensor:
    """(R, n) bool: what lies in one of K spans, given by first entry and width, (R, K) int64."""
    place = torch.arange(n, device=start.device)
    first = start[..., None]
    return ((place >= first) & (place < first + width[..., None])).any(-2)


def masked(images: Tensor, bands: Tensor, frames: Tensor, fill: Fill) -> Tensor:
    """(R, C, F, L) images with some bands (R, F) and frames (R, L) overwritten.

    Args:
        images: what to mask.
        bands: True where masked.
        frames: True where masked.
        fill: by 0, or by mean or least value of the image, channel by channel.
    """
    mask = bands[..., None, :, None] | frames[..., None, None, :]
    if fill == "zero":
        return images.masked_fill(mask, 0)
    if fill == "min":
        return torch.where(mask, images.amin((-2, -1), keepdim=True), images)
    return torch.where(mask, images.mean((-2, -1), keepdim=True), images)
