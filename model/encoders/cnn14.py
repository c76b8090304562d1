"""CNN14 of the PANNs, with a bottleneck and of any width.

Kong et al., "PANNs", TASLP 2020, arXiv 1912.10211; the bottleneck as its variant Cnn14_emb128.
Letters: B clips, C channels, F bands, L frames, L' = L // 32, W channels of the last block, D
embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from slvr.model.encoders.contract import ALL, Encoder, Images

N_BLOCKS = 6
SHRINKS = 2 ** (N_BLOCKS - 1)
"""By how much bands and frames are fewer after the blocks; the last one does not pool."""


class CNN14(Encoder):
    """`encoder(x, "all")`: (B, C, F, L) float32 features -> (B, D).

    A batch norm of each band, six blocks of two 3x3 convolutions (width 1, 2, 4, ... 32 times),
    2x2 average pooling behind each but the last; the mean over bands x_l of what is left; then

        h = fc1(max_l x_l + mean_l x_l)

    A frame embedding is fc1(2 x_l): what the clip's would be if it lasted that frame alone.

    Args:
        width: channels of the first block; 64 in the PANNs, the last block has 32 times as many.
        dim: D.
        n_mels: F.
        in_channels: C.
        rectified: ReLU behind `fc1`, as in the PANNs.
        block_dropout: share of values left out behind each block, in training.
        dropout: share of the pooled values left out.

    Raises:
        ValueError: sizes that cannot be.
    """

    NAME = "cnn14"
    tasks = (ALL,)
    frame_stride = SHRINKS

    @dataclass(frozen=True)
    class Config:
        """CNN14 of the PANNs with a bottleneck."""

        width: int = 64
        """Channels of the first block, 1 or more; the last of six has 32 times as many."""
        dim: int = 128
        """Values of the embedding, 1 or more."""
        rectified: bool = False
        """ReLU behind the bottleneck."""
        block_dropout: float = 0.2
        """Share of values left out behind each block in training, 0 to below 1."""
        dropout: float = 0.5
        """Share of pooled values left out before the bottleneck in training, 0 to below 1."""

    def __init__(
        self,
        width: int = 64,
        dim: int = 128,
        n_mels: int = 64,
        in_channels: int = 1,
        *,
        rectified: bool = False,
        block_dropout: float = 0.2,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if width < 1 or dim < 1 or not (0 <= block_dropout < 1 and 0 <= dropout < 1):
            raise ValueError(
                f"encoder cnn14: width {width}, dim {dim}, block_dropout {block_dropout}, dropout "
                f"{dropout}; expected sizes of 1 or more and dropouts from 0 to below 1"
            )
        if n_mels < SHRINKS:
            raise ValueError(
                f"encoder cnn14: images of {n_mels} bands; five poolings by 2 need {SHRINKS} or "
                "more, give the front end more n_mels"
            )
        self._shape = {
            "width": width,
            "dim": dim,
            "n_mels": n_mels,
            "in_channels": in_channels,
            "rectified": rectified,
            "block_dropout": block_dropout,
            "dropout": dropout,
        }
        self.dims = {ALL: dim}
        self.rectified = rectified
        self.bn0 = nn.BatchNorm1d(in_channels * n_mels)
        widths = [in_channels, *(width * 2**i for i in range(N_BLOCKS))]
        for i in range(1, N_BLOCKS + 1):
            self.add_module(f"conv_block{i}", _Block(widths[i - 1], widths[i]))
        self.block_dropout = nn.Dropout(block_dropout)
        self.dropout = nn.Dropout(dropout)
        self.fc1 = nn.Linear(widths[-1], dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(self.fc1.bias)

    @classmethod
    def build(cls, config: Config, images: Images) -> CNN14:
        """The untrained encoder of a configuration."""
        return cls(
            config.width,
            config.dim,
            images.n_mels,
            images.channels,
            rectified=config.rectified,
            block_dropout=config.block_dropout,
            dropout=config.dropout,
        )

    def shape(self) -> dict[str, Any]:
        """The arguments that make the same network."""
        return dict(self._shape)

    def forward(self, x: Tensor, task: str) -> Tensor:
        """The embedding of each clip, (B, D).

        Raises:
            ValueError: unknown task, or fewer than 32 frames.
        """
        return self._clips(self._columns(x, task))

    def frames(self, x: Tensor, task: str) -> tuple[Tensor, Tensor]:
        """Embeddings of the clips (B, D) and of every 32 frames (B, L', D).

        Raises:
            ValueError: as `forward`.
        """
        columns = self._columns(x, task)
        return self._clips(columns), self._bottleneck(2 * columns.mT)

    def folded(self) -> CNN14:
        """A frozen copy whose convolutions contain the batch norms behind them."""
        dtype = self.fc1.weight.dtype
        frozen = super().folded().double()
        assert isinstance(frozen, CNN14)
        for block in frozen.modules():
            if isinstance(block, _Block):
                block.fuse()
        return frozen.to(dtype)

    def _columns(self, x: Tensor, task: str) -> Tensor:
        """(B, C, F, L) -> (B, W, L'): what is heard in every 32 frames, the mean over bands."""
        if task not in self.dims:
            raise ValueError(f"unknown task {task!r}: choose from {', '.join(self.dims)}")
        if x.shape[-1] < SHRINKS:
            raise ValueError(
                f"encoder cnn14: images of {x.shape[-1]} frames; five poolings by 2 need {SHRINKS} "
                "or more: give longer clips, or the front end a shorter hop"
            )
        x = self.bn0(x.flatten(1, 2)).view(x.shape).mT  # (B, C, L, F), as the weights are
        for i in range(1, N_BLOCKS + 1):
            x = self.get_submodule(f"conv_block{i}")(x)
            x = self.block_dropout(F.avg_pool2d(x, 2) if i < N_BLOCKS else x)
        return x.mean(3)

    def _clips(self, columns: Tensor) -> Tensor:
        """(B, W, L') -> (B, D)."""
        return self._bottleneck(columns.amax(2) + columns.mean(2))

    def _bottleneck(self, pooled: Tensor) -> Tensor:
        h: Tensor = self.fc1(self.dropout(pooled))
        return F.relu(h) if self.rectified else h


class _Block(nn.Module):
    """(B, C, L, F) -> (B, channels, L, F): two 3x3 convolutions, each with batch norm and ReLU."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu_(self.bn1(self.conv1(x)))
        if x.is_cuda:  # how tensor cores want it; oneDNN lays memory out by itself
            x = x.contiguous(memory_format=torch.channels_last)
        return F.relu_(self.bn2(self.conv2(x)))

    def fuse(self) -> None:
        """Takes the norms into the convolutions; in eval mode nothing else changes."""
        for i, (conv, norm) in enumerate(((self.conv1, self.bn1), (self.conv2, self.bn2)), 1):
            self.register_module(f"conv{i}", fuse_conv_bn_eval(conv, norm))
            self.register_module(f"bn{i}", nn.Identity())
