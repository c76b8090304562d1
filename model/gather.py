"""What every process of `torch.distributed` has, in all of them, with gradients.

Shapes: P processes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def processes() -> int:
    """P; 1 outside `torch.distributed`."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of the P processes this one is."""
    return dist.get_rank() if processes() > 1 else 0


def gathered(x: Tensor) -> Tensor:
    """(P, ...): the tensor of each process, all of one shape, by rank.

    The gradient of a process's tensor is the sum over what it does to the losses of all.
    """
    return x[None] if processes() == 1 else _gathered(x)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _gathered(x: Tensor) -> Tensor:
    everyone: Tensor = _Gather.apply(x)  # type: ignore[no-untyped-call]
    return everyone


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(processes())]
        dist.all_gather(parts, x.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total[rank()]
