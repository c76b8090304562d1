"""ResNet-18 that gives a clip one embedding per task, in the five variants of MT-SLVR.

Heggan et al., "MT-SLVR", Interspeech 2023, arXiv 2305.17191; ResNet-18: He et al., CVPR 2016.
Shapes: B clips, C channels, F mel bins, L frames, D embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slvr.model.encoders.adapters import AdaptedConv
from slvr.model.norms import ONE, Passes, ViewNorm

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
        exact_speedups: compute once what the tasks share, both views as one batch, in channels-last
            memory, with parallel adapters folded into their 3x3 kernels: same outputs, gradients
            and running statistics, up to rounding.

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
        self.bn1 = ViewNorm(width)
        self.layer1 = stage(width, width, 1, n_tasks=1)
        self.layer2 = stage(width, 2 * width, 2, n_own)
        self.layer3 = stage(2 * width, 4 * width, 2, n_own)
        self.layer4 = stage(4 * width, 8 * width, 2, n_own)
        self.end_norms = nn.ModuleList(ViewNorm(8 * width) for _ in TASKS if adapted)
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

    def both(
        self, x1: Tensor, x2: Tensor, tasks: Sequence[str] = TASKS
    ) -> list[tuple[Tensor, Tensor]]:
        """Return the embeddings of two views for each of the tasks.

        In training mode each view has its own batch statistics, and the running statistics move as
        in separate passes: view 1 and view 2 for the first task, then both again for the second.
        (In `none` there are two passes: the tasks have one embedding.)

        Args:
            x1: (B, C, F, L) features of the first view.
            x2: (B, C, F, L) features of the second.
            tasks: of `TASKS`.

        Returns:
            ((B, task_dim), (B, task_dim)) of the two views, for each task.
        """
        assert x1.shape == x2.shape, "views are of the same clips"
        own = tasks[:1] if self.variant == "none" else tasks
        if self.exact_speedups:
            views = Passes(views=2)
            trunk = self._trunk(torch.cat([x1, x2]), views._replace(rounds=len(own)))
            branches = [0 if self.variant == "none" else TASKS.index(task) for task in own]
            embedded = [self._branch(trunk, branch, views).chunk(2) for branch in branches]
        else:
            embedded = [(self(x1, task), self(x2, task)) for task in own]
        return [(h1, h2) for h1, h2 in embedded] * (len(tasks) // len(own))

    def _stages(self) -> tuple[list[nn.ModuleList], list[nn.ModuleList]]:
        """Return the residual stages that are one function for all tasks, and the others."""
        stages = [self.layer1, self.layer2, self.layer3, self.layer4]
        n_shared = 1 if self.end_norms else len(stages)
        return stages[:n_shared], stages[n_shared:]

    def _trunk(self, x: Tensor, passes: Passes = ONE) -> Tensor:
        """Return the (B, C', F', L') image up to which the tasks are one function."""
        if self.exact_speedups:
            # a tenth faster on a CPU and for tensor cores. The weights stay as they are: that costs
            # nothing measurable, and a fused optimiser goes wrong where its state lies otherwise
            x = x.contiguous(memory_format=torch.channels_last)
        x = F.max_pool2d(F.relu_(self.bn1(self.conv1(x), passes)), 3, stride=2, padding=1)
        return _through(self._stages()[0], x, 0, passes)

    def _branch(self, x: Tensor, task: int, passes: Passes = ONE) -> Tensor:
        """Return the (B, task_dim) embedding of one task from the trunk's output."""
        x = _through(self._stages()[1], x, task, passes)
        if self.end_norms:
            x = F.relu_(self.end_norms[task](x, passes))
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
        self.shortcut: nn.ModuleList | None = None
        if in_channels != channels and variant in ("none", "split"):
            self.shortcut = nn.ModuleList(
                [nn.Conv2d(in_channels, channels, 1, stride, bias=False), ViewNorm(channels)]
            )

    def forward(self, x: Tensor, task: int, passes: Passes = ONE) -> Tensor:
        y = self.conv2(F.relu_(self.conv1(x, task, passes)), task, passes)
        if self.shortcut is not None:
            conv, norm = self.shortcut
            x = norm(conv(x), passes)
        elif x.shape != y.shape:  # the adapters' shortcut has no weights: shrink, add zero channels
            x = F.adaptive_avg_pool2d(x, y.shape[2:])
            x = F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        return F.relu_(y.add_(x))


def _through(stages: list[nn.ModuleList], x: Tensor, task: int, passes: Passes) -> Tensor:
    for stage in stages:
        for block in stage:
            x = block(x, task, passes)
    return x
