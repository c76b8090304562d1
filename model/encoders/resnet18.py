"""ResNet-18 that gives a clip one embedding per task, in the five variants of MT-SLVR.

Heggan et al., "MT-SLVR", Interspeech 2023, arXiv 2305.17191; ResNet-18: He et al., CVPR 2016.
Shapes: B clips, C channels, F mel bins, L frames, D embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slvr.model.encoders.adapters import AdaptedConv
from slvr.model.encoders.contract import ALL, Embedded, Encoder, Images
from slvr.model.encoders.folding import folded
from slvr.model.norms import ONE, Passes, ViewNorm

VARIANTS = ("none", "split", "bn", "series", "parallel")
TASKS = ("contrastive", "predictive")
NARROW = 8
"""Channels below which the shortcut's strided 1x1 convolution gets its input in plain memory: for
channels-last input oneDNN (of torch 2.13, AVX2) writes beyond the end of its weight's gradient."""

TENSOR_CORE = 8  # channels


class ResNet18(Encoder):
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
        exact_speedups: compute once what the tasks share, the views as one batch, in channels-last
            memory, with parallel adapters folded into their 3x3 kernels: same outputs, gradients
            and running statistics, up to rounding.

    Raises:
        ValueError: unknown variant, or an odd `dim` that two tasks should share.
    """

    NAME = "resnet18"

    @dataclass(frozen=True)
    class Config:
        """ResNet-18 in the five variants of MT-SLVR."""

        variant: Literal["none", "split", "bn", "series", "parallel"] = "parallel"
        """What each task has of its own in the encoder."""
        dim: int = 1000
        """Values of the whole embedding, 1 or more; two tasks have half each."""
        width: int = 64
        """Channels of the first stage, 1 or more."""
        exact_speedups: bool = True
        """The views as one batch, what the tasks share computed once, parallel adapters folded: the
        same up to rounding."""

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
        if dim < n_heads or dim % n_heads or width < 1:
            raise ValueError(
                f"dim={dim}, width={width}: expected a positive width, and a positive dim that "
                f"{n_heads} tasks can share evenly"
            )
        self.variant = variant
        self.tasks = (ALL,) if variant == "none" else TASKS
        self.dims = dict.fromkeys(TASKS, dim // n_heads) | {ALL: dim}
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
        self.heads = nn.ModuleList(nn.Linear(8 * width, dim // n_heads) for _ in range(n_heads))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @classmethod
    def build(cls, config: Config, images: Images) -> ResNet18:
        """The untrained encoder of a configuration, with the published size by default."""
        return cls(
            config.variant,
            config.dim,
            config.width,
            images.channels,
            exact_speedups=config.exact_speedups,
        )

    def shape(self) -> dict[str, Any]:
        """The arguments that make the same network."""
        width, in_channels = self.conv1.weight.shape[:2]
        return {
            "variant": self.variant,
            "dim": self.dims[ALL],
            "width": width,
            "in_channels": in_channels,
        }

    def forward(self, x: Tensor, task: str) -> Tensor:
        """The embedding of each clip.

        Args:
            x: (B, C, F, L) features.
            task: `"contrastive"`, `"predictive"` or `"all"`.

        Returns:
            (B, dims[task]); for `"all"` the contrastive half, then the predictive one. `none` has
            a single embedding: every task gets it, and `"all"` holds it once.

        Raises:
            ValueError: unknown task.
        """
        branches = self._branches(task)
        trunk = self._trunk(x)
        return torch.cat([self._branch(trunk, branch) for branch in branches], dim=1)

    def embed(self, views: Tensor, tasks: Sequence[str]) -> dict[str, Embedded]:
        """The embeddings of (V, B, C, F, L) views for each of the tasks.

        With `bn_views` "separate" each view has its own batch statistics in training mode, and the
        running statistics move as in separate passes: view after view for the first task, then all
        of them again for the second; `all` is a task like them. (In `none` there is one pass a
        view: the tasks share it.)
        """
        if not self.exact_speedups:
            own = {task: ALL if self.variant == "none" else task for task in tasks}
            found = super().embed(views, tuple(dict.fromkeys(own.values())))
            return {task: found[name] for task, name in own.items()}
        of_task = {task: self._branches(task) for task in tasks}
        rounds = list(dict.fromkeys(of_task.values()))  # one where the tasks are the same
        passes = Passes(views=len(views) if self.bn_views == "separate" else 1)
        trunk = self._trunk(views.flatten(0, 1), passes._replace(rounds=len(rounds)))
        embedded = {
            branch: self._branch(
                trunk, branch, passes._replace(rounds=sum(branch in each for each in rounds))
            ).view(*views.shape[:2], -1)
            for branch in dict.fromkeys(branch for branches in rounds for branch in branches)
        }
        return {
            task: Embedded(torch.cat([embedded[branch] for branch in branches], dim=-1))
            for task, branches in of_task.items()
        }

    def folded(self) -> ResNet18:
        """A frozen copy made of convolutions alone: see `slvr.model.encoders.folding`."""
        return folded(self)

    def _branches(self, task: str) -> tuple[int, ...]:
        """Which heads make up the embedding of a task.

        Raises:
            ValueError: unknown task.
        """
        if task not in self.dims:
            raise ValueError(f"unknown task {task!r}: choose from {', '.join(self.dims)}")
        if self.variant == "none":
            return (0,)
        return tuple(range(len(TASKS))) if task == ALL else (TASKS.index(task),)

    def _stages(self) -> tuple[list[nn.ModuleList], list[nn.ModuleList]]:
        """The residual stages that are one function for all tasks, and the others."""
        stages = [self.layer1, self.layer2, self.layer3, self.layer4]
        n_shared = 1 if self.end_norms else len(stages)
        return stages[:n_shared], stages[n_shared:]

    def _trunk(self, x: Tensor, passes: Passes = ONE) -> Tensor:
        """The (B, C', F', L') image up to which the tasks are one function."""
        if self.exact_speedups:
            # a tenth faster on a CPU and for tensor cores. The weights stay as they are: that costs
            # nothing measurable, and a fused optimiser goes wrong where its state lies otherwise
            x = filled_up(x) if x.is_cuda else x
            x = x.contiguous(memory_format=torch.channels_last)
        x = F.max_pool2d(F.relu_(self.bn1(self._stem(x), passes)), 3, stride=2, padding=1)
        return _through(self._stages()[0], x, 0, passes)

    def _stem(self, x: Tensor) -> Tensor:
        """The first convolution, of images that may have been filled up."""
        conv = self.conv1
        if x.shape[1] <= conv.weight.shape[1]:
            filtered: Tensor = conv(x)
            return filtered
        weight = F.pad(conv.weight, (0, 0, 0, 0, 0, x.shape[1] - conv.weight.shape[1]))
        return F.conv2d(x, weight, conv.bias, conv.stride, conv.padding)

    def _branch(self, x: Tensor, task: int, passes: Passes = ONE) -> Tensor:
        """The (B, D) embedding of one task from the trunk's output."""
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
            if x.shape[1] < NARROW:
                x = x.contiguous()
            x = norm(conv(x), passes)
        elif x.shape != y.shape:  # the adapters' shortcut has no weights: shrink, add zero channels
            x = F.adaptive_avg_pool2d(x, y.shape[2:])
            x = F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        return F.relu_(y.add_(x))


def filled_up(x: Tensor) -> Tensor:
    """(B, C, F, L) -> (B, 8n, F, L), with channels of zeros behind; what convolutions cast to.

    Tensor cores take eight at a time: of three the first convolution's gradient alone was 1.75 ms,
    a fifteenth of the step.
    """
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    return F.pad(x, (0, 0, 0, 0, 0, -x.shape[1] % TENSOR_CORE))


def _through(stages: list[nn.ModuleList], x: Tensor, task: int, passes: Passes) -> Tensor:
    for stage in stages:
        for block in stage:
            x = block(x, task, passes)
    return x
