"""EfficientNet-B0 with frame embeddings, as multiple sampling strategies train it.

Tan and Le, "EfficientNet", ICML 2019, arXiv 1905.11946; the heads of the embedding: Kuroyanagi and
Komatsu, "Self-supervised learning method using multiple sampling strategies for general-purpose
audio representation", ICASSP 2022.
Letters: V views, B clips, C channels, F bands, L frames, L' frames of embeddings, D embedding.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from slvr.model.encoders.contract import ALL, Embedded, Encoder, Images
from slvr.model.norms import ONE, Passes, ViewNorm

STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Blocks, kernel, stride of the first one, expansion, channels (table 1 of the paper)."""
STEM, HEAD = 32, 1280
SQUEEZE = 4
"""A squeeze-excitation has this many times fewer values than its block has input channels."""
STRIDE = 32
"""Input frames a frame embedding: five halvings."""
EPS, MOMENTUM = 1e-3, 0.01
"""Of all batch norms; PyTorch's own are 1e-5 and 0.1."""

Padding = Literal["static", "dynamic"]
Pool = Literal["mean", "max"]


class EfficientNet(Encoder):
    """`encoder(x, "all")`: (B, C, F, L) float32 features -> (B, D) embedding; it has frames.

    The network's (B, H, L', F') image, pooled over its bands, through a linear layer: that is the
    embedding of each frame, and pooled over time that of the clip. Time is the height of all
    kernels, as in the published models.

    Args:
        dim: D.
        width: the paper's width multiplier; channels are rounded to multiples of 8.
        in_channels: C.
        head_norm: batch norm behind the last convolution; the published K22 has none.
        padding: `static`: that of 224 x 224 images, L' = floor(L / 32); `dynamic`: TensorFlow's
            "same" for the size at hand, L' = ceil(L / 32).
        pool_mel: over bands.
        pool_time: over frames.
        stochastic_depth: chance to leave out the last block's residual branch in training; it
            rises linearly from 0 over the blocks.

    Raises:
        ValueError: sizes or a chance that cannot be.
    """

    NAME = "efficientnet-b0"
    frame_stride = STRIDE

    @dataclass(frozen=True)
    class Config:
        """EfficientNet-B0 with an embedding for each 32 frames and for the clip."""

        dim: int = 512
        """Values of an embedding, 1 or more."""
        width: float = 1.0
        """The paper's width multiplier, above 0: channels in relation to B0's."""
        head_norm: bool = True
        """Batch norm behind the last convolution."""
        padding: Literal["static", "dynamic"] = "static"
        """Zeros around images: those for 224 x 224 whatever the size, or those for the size."""
        pool_mel: Literal["mean", "max"] = "mean"
        """What becomes of the bands of a frame."""
        pool_time: Literal["mean", "max"] = "mean"
        """What becomes of the frames of a clip."""
        stochastic_depth: float = 0.2
        """Chance to leave out the last block in training, 0 to below 1; the first is never."""

    def __init__(
        self,
        dim: int = 512,
        width: float = 1.0,
        in_channels: int = 1,
        *,
        head_norm: bool = True,
        padding: Padding = "static",
        pool_mel: Pool = "mean",
        pool_time: Pool = "mean",
        stochastic_depth: float = 0.2,
    ) -> None:
        super().__init__()
        if dim < 1 or not width > 0 or not 0 <= stochastic_depth < 1:
            raise ValueError(
                f"efficientnet: dim {dim}, width {width}, stochastic_depth {stochastic_depth}; "
                "expected dim of 1 or more, width above 0 and a chance from 0 to below 1"
            )
        self.tasks = (ALL,)
        self.dims = {ALL: dim}
        self._shape: dict[str, Any] = {
            "dim": dim,
            "width": width,
            "in_channels": in_channels,
            "head_norm": head_norm,
            "padding": padding,
            "pool_mel": pool_mel,
            "pool_time": pool_time,
            "stochastic_depth": stochastic_depth,
        }
        channels = rounded(STEM * width)
        self.stem = _Layer(in_channels, channels, 3, 2, padding=padding)
        self.blocks = nn.ModuleList()
        n_blocks = sum(stage[0] for stage in STAGES)
        for repeats, kernel, stride, expansion, wide in STAGES:
            for repeat in range(repeats):
                self.blocks.append(
                    _Block(
                        (channels, rounded(wide * width)),
                        kernel,
                        stride if repeat == 0 else 1,
                        expansion,
                        padding,
                        stochastic_depth * len(self.blocks) / n_blocks,
                    )
                )
                channels = rounded(wide * width)
        self.head = _Layer(channels, rounded(HEAD * width), 1, norm=head_norm)
        self.project = nn.Linear(rounded(HEAD * width), dim)

    @classmethod
    def build(cls, config: Config, images: Images) -> EfficientNet:
        """The untrained encoder of a configuration, with PyTorch's own initial weights."""
        return cls(
            config.dim,
            config.width,
            images.channels,
            head_norm=config.head_norm,
            padding=config.padding,
            pool_mel=config.pool_mel,
            pool_time=config.pool_time,
            stochastic_depth=config.stochastic_depth,
        )

    def shape(self) -> dict[str, Any]:
        """The arguments that make the same network."""
        return dict(self._shape)

    def forward(self, x: Tensor, task: str) -> Tensor:
        """The embedding of each clip, (B, D).

        Raises:
            ValueError: unknown task, or clips shorter than one frame embedding.
        """
        return self.frames(x, task)[0]

    def frames(self, x: Tensor, task: str) -> tuple[Tensor, Tensor]:
        """Clip and frame embeddings, (B, D) and (B, L', D); see `forward`."""
        return self._pooled(self.features(x), task)

    def embed(self, views: Tensor, tasks: Sequence[str]) -> dict[str, Embedded]:
        """Embeddings of (V, B, C, F, L) views, all in one batch; see `bn_views` for their norms."""
        passes = Passes(views=len(views) if self.bn_views == "separate" else 1)
        features = self.features(views.flatten(0, 1), passes)
        found = {}
        for task in tasks:
            clips, frames = self._pooled(features, task)
            frames = frames.view(*views.shape[:2], *frames.shape[1:])
            found[task] = Embedded(clips.view(*views.shape[:2], -1), frames)
        return found

    def features(self, x: Tensor, passes: Passes = ONE) -> Tensor:
        """(B, C, F, L) -> (B, H, L', F'), what the last convolution says before any pooling.

        Raises:
            ValueError: fewer than 32 frames or bands, where the padding does not add what lacks.
        """
        if self._shape["padding"] == "static" and min(x.shape[2:]) < STRIDE:
            raise ValueError(
                f"efficientnet: images of {x.shape[2]} bands and {x.shape[3]} frames; expected "
                f"{STRIDE} or more of both: give longer clips, or --encoder.padding dynamic"
            )
        # time is the height; channels last, in which depthwise convolutions take half the time
        x = x.mT.contiguous(memory_format=torch.channels_last)
        x = self.stem(x, passes)
        for block in self.blocks:
            x = block(x, passes)
        features: Tensor = self.head(x, passes)
        return features

    def folded(self) -> EfficientNet:
        """A frozen copy whose convolutions contain the batch norms: the same up to rounding."""
        frozen = copy.deepcopy(self).eval().requires_grad_(False)
        for layer in frozen.modules():
            if isinstance(layer, _Layer) and layer.norm is not None:
                layer.conv, layer.norm = fuse_conv_bn_eval(layer.conv, layer.norm), None
        return frozen

    def _pooled(self, features: Tensor, task: str) -> tuple[Tensor, Tensor]:
        """Clip and frame embeddings, (B, D) and (B, L', D), of (B, H, L', F') features.

        Raises:
            ValueError: unknown task.
        """
        if task != ALL:
            raise ValueError(f"unknown task {task!r}: choose from {ALL}")
        frames: Tensor = self.project(_pooled(features, 3, self._shape["pool_mel"]).mT)
        return _pooled(frames, 1, self._shape["pool_time"]), frames


def rounded(channels: float) -> int:
    """The multiple of 8 nearest to a number of channels, at least 8, and not below 0.9 of it."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near


def _pooled(x: Tensor, dim: int, how: Pool) -> Tensor:
    return x.mean(dim) if how == "mean" else x.amax(dim)


class _Layer(nn.Module):
    """(B, C, H, W) -> (B, channels, H / stride, W / stride): convolution, batch norm, SiLU."""

    norm: ViewNorm | None

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        *,
        norm: bool = True,
        active: bool = True,
        padding: Padding = "static",
    ) -> None:
        super().__init__()
        # at stride 1 both paddings are the same on both sides
        around = (kernel - 1) // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride, around, 1, groups, bias=False)
        self.norm = ViewNorm(channels, EPS, MOMENTUM) if norm else None
        self.active = active
        self.padding = padding

    def forward(self, x: Tensor, passes: Passes = ONE) -> Tensor:
        if self.conv.stride[0] > 1:
            x = F.pad(x, (*self._zeros(x.shape[3]), *self._zeros(x.shape[2])))
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x, passes)
        return F.silu(x) if self.active else x

    def _zeros(self, n: int) -> tuple[int, int]:
        """Zeros before and behind n values.

        max((ceil(n / stride) - 1) stride + kernel - n, 0) in all, the odd one behind; for the 224
        of `static`, and all its halves, that is kernel - stride.
        """
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        total = kernel - stride
        if self.padding == "dynamic":
            total = max((-(-n // stride) - 1) * stride + kernel - n, 0)
        return total // 2, total - total // 2


class _Block(nn.Module):
    """(B, C, H, W) -> (B, C', H / stride, W / stride): mobile inverted bottleneck.

    Sandler et al., "MobileNetV2", CVPR 2018, with squeeze-excitation (Hu et al., CVPR 2018).
    """

    expand: _Layer | None

    def __init__(
        self,
        channels: tuple[int, int],
        kernel: int,
        stride: int,
        expansion: int,
        padding: Padding,
        left_out: float,
    ) -> None:
        super().__init__()
        before, after = channels
        wide = before * expansion
        self.expand = _Layer(before, wide) if expansion > 1 else None
        self.depthwise = _Layer(wide, wide, kernel, stride, wide, padding=padding)
        self.squeeze = nn.Linear(wide, max(1, before // SQUEEZE))
        self.excite = nn.Linear(max(1, before // SQUEEZE), wide)
        self.project = _Layer(wide, after, active=False)
        self.has_skip = stride == 1 and before == after
        self.stochastic_depth = StochasticDepth(left_out)

    def forward(self, x: Tensor, passes: Passes = ONE) -> Tensor:
        y: Tensor = x if self.expand is None else self.expand(x, passes)
        y = self.depthwise(y, passes)
        gates = torch.sigmoid(self.excite(F.silu(self.squeeze(y.mean((2, 3))))))
        y = self.project(y * gates[:, :, None, None], passes)
        if self.has_skip:
            y = x + self.stochastic_depth(y)
        return y


class StochasticDepth(nn.Dropout):
    """(B, ...) -> the same, in training each row as a whole 0 with probability p, else / (1 - p).

    Huang et al., "Deep networks with stochastic depth", ECCV 2016.
    """

    def forward(self, x: Tensor) -> Tensor:
        """What is left."""
        if not self.training or self.p == 0:
            return x
        drawn = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device)
        kept: Tensor = (drawn >= self.p).to(x.dtype)
        return x * kept.div_(1 - self.p)
