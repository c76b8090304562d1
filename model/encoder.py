"""ResNet-18 that gives a clip one embedding per task, in the five variants of MT-SLVR.

Heggan et al., "MT-SLVR", Interspeech 2023, arXiv 2305.17191; ResNet-18: He et al., CVPR 2016.
Shapes: B clips, C channels, F mel bins, L frames, D embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # base of BatchNorm2d and SyncBatchNorm alike

from model.adapters import AdaptedConv

VARIANTS = ("none", "split", "bn", "series", "parallel")
TASKS = ("contrastive", "predictive")


class Encoder(nn.Module):
    """`encoder(x, task)`: (B, 3, F, L) float32 features -> (B, D) embedding for that task.

    | variant    | each task has its own                                                  |
    |------------|------------------------------------------------------------------------|
    | `none`     | nothing: every task gets the same `dim` values                         |
    | `split`    | linear layer                                                           |
    | `bn`       | linear layer, batch norms of layers 2-4, batch norm + ReLU after them  |
    | `series`   | as `bn`, and a 1x1 convolution after every 3x3 convolution, layers 2-4 |
    | `parallel` | as `bn`, and a 1x1 convolution beside every one                        |

    The stem and layer 1 (with one adapter for both tasks) are shared in every variant.

    Args:
        variant: one of `VARIANTS`.
        dim: values of the whole embedding; each task has half of them (all of them in `none`).
        width: channels of the first stage; the later ones have 2, 4 and 8 times as many.
        in_channels: channels of the features.
        exact_speedups: compute once what the tasks share, and fold parallel adapters into their
            3x3 kernels: same outputs, gradients and running statistics, up to rounding.

    Attributes:
        task_dim: values of one task's embedding.

    Raises:
        ValueError: unknown variant, or an odd `dim` that two tasks should share.
    """

    def __init__(
        self,
        variant: str,
        dim: int = 1000,
        width: int = 64,
        in_channels: int = 3,
        *,
        exact_speedups: bool = True,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"unknown variant {variant!r}: choose from {', '.join(VARIANTS)}")
        n_heads = 1 if variant == "none" else len(TASKS)
        if dim % n_heads:
            raise ValueError(f"dim={dim} cannot be halved between two tasks: give an even number")
        self.variant = variant
        self.dim = dim
        self.task_dim = dim // n_heads
        self.exact_speedups = exact_speedups
        adapted = variant in ("bn", "series", "parallel")
        n_own = len(TASKS) if adapted else 1

        def stage(n_inputs: int, channels: int, stride: int, n_tasks: int) -> nn.ModuleList:
            block = partial(_Block, variant=variant, n_tasks=n_tasks, fold=exact_speedups)
            return nn.ModuleList([block(n_inputs, channels, stride), block(channels, channels, 1)])

        self.conv1 = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = stage(width, width, 1, n_tasks=1)
        self.layer2 = stage(width, 2 * width, 2, n_own)
        self.layer3 = stage(2 * width, 4 * width, 2, n_own)
        self.layer4 = stage(4 * width, 8 * width, 2, n_own)
        self.end_norms = nn.ModuleList(nn.BatchNorm2d(8 * width) for _ in TASKS if adapted)
        self.heads = nn.ModuleList(nn.Linear(8 * width, self.task_dim) for _ in range(n_heads))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor, task: str) -> Tensor:
        """Return the embedding of each clip.

        Args:
            x: (B, C, F, L) features.
            task: `"contrastive"`, `"predictive"` or `"all"`.

        Returns:
            (B, task_dim), or (B, dim) for `"all"`: the contrastive half, then the predictive one.
            `none` has a single embedding: every task returns it, and `"all"` returns it once.

        Raises:
            ValueError: unknown task.
        """
        if task not in (*TASKS, "all"):
            raise ValueError(f"unknown task {task!r}: choose from {', '.join(TASKS)}, all")
        trunk = self._trunk(x)
        if self.variant == "none":
            return self._branch(trunk, 0)
        if task == "all":
            return torch.cat([self._branch(trunk, 0), self._branch(trunk, 1)], dim=1)
        return self._branch(trunk, TASKS.index(task))

    def both(self, x1: Tensor, x2: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return the contrastive embeddings of two views, then the predictive ones.

        In training mode each view has its own batch statistics, and the running statistics move as
        in four passes: view 1 and view 2 for the first task, then both again for the second. (In
        `none` there are two passes: the tasks have one embedding.)

        Args:
            x1: (B, C, F, L) features of the first view.
            x2: (B, C, F, L) features of the second.

        Returns:
            ((B, task_dim), (B, task_dim)) of the two views, for each task.
        """
        if self.variant == "none":
            views = self(x1, "all"), self(x2, "all")
            return views, views
        if not self.exact_speedups:
            contrastive = self(x1, "contrastive"), self(x2, "contrastive")
            return contrastive, (self(x1, "predictive"), self(x2, "predictive"))
        shared = [self.bn1, *self._stages()[0]]
        norms = [norm for part in shared for norm in part.modules() if isinstance(norm, _BatchNorm)]
        with _counted_twice(norms, first=True):
            trunk1 = self._trunk(x1)
        with _counted_twice(norms, first=False):
            trunk2 = self._trunk(x2)
        contrastive = self._branch(trunk1, 0), self._branch(trunk2, 0)
        return contrastive, (self._branch(trunk1, 1), self._branch(trunk2, 1))

    def _stages(self) -> tuple[list[nn.ModuleList], list[nn.ModuleList]]:
        """Return the residual stages that are one function for all tasks, and the others."""
        stages = [self.layer1, self.layer2, self.layer3, self.layer4]
        n_shared = 1 if self.end_norms else len(stages)
        return stages[:n_shared], stages[n_shared:]

    def _trunk(self, x: Tensor) -> Tensor:
        """Return the (B, C', F', L') image up to which the tasks are one function."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        return _through(self._stages()[0], x, 0)

    def _branch(self, x: Tensor, task: int) -> Tensor:
        """Return the (B, task_dim) embedding of one task from the trunk's output."""
        x = _through(self._stages()[1], x, task)
        if self.end_norms:
            x = F.relu(self.end_norms[task](x))
        embedding: Tensor = self.heads[task](x.mean(dim=(2, 3)))
        return embedding


class _Block(nn.Module):
    """(B, C, F, L) -> (B, channels, F/stride, L/stride): two 3x3 convolutions and a shortcut."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        *,
        variant: str,
        n_tasks: int,
        fold: bool,
    ) -> None:
        super().__init__()
        conv = partial(AdaptedConv, variant=variant, n_tasks=n_tasks, fold=fold)
        self.conv1 = conv(in_channels, channels, stride)
        self.conv2 = conv(channels, channels, 1)
        self.shortcut: nn.Module | None = None
        if in_channels != channels and variant in ("none", "split"):
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor, task: int) -> Tensor:
        y = self.conv2(F.relu(self.conv1(x, task)), task)
        if self.shortcut is not None:
            x = self.shortcut(x)
        elif x.shape != y.shape:  # the adapters' shortcut has no weights: shrink, add zero channels
            x = F.adaptive_avg_pool2d(x, y.shape[2:])
            x = F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        return F.relu(y + x)


def _through(stages: list[nn.ModuleList], x: Tensor, task: int) -> Tensor:
    for stage in stages:
        for block in stage:
            x = block(x, task)
    return x


@contextmanager
def _counted_twice(norms: list[_BatchNorm], *, first: bool) -> Iterator[None]:
    """Within it, a training pass of one view stands for that view's two passes.

    Every pass moves a running statistic r <- (1-m) r + m s. The four passes over view 1, view 2,
    view 1, view 2 move it as two with the momenta (1-m) b / (1-b) and b = m (1 + (1-m)^2):
    0.199 and 0.181 for m = 0.1.
    """
    momenta = [norm.momentum for norm in norms]
    for norm, m in zip(norms, momenta, strict=True):
        assert m is not None, "a cumulative average has no momentum"
        b = m * (1 + (1 - m) ** 2)
        norm.momentum = (1 - m) * b / (1 - b) if first else b
    try:
        yield
    finally:
        for norm, m in zip(norms, momenta, strict=True):
            norm.momentum = m
            if norm.training and norm.num_batches_tracked is not None:
                norm.num_batches_tracked += 1
