"""A 3x3 convolution that several tasks share, with what each of them keeps for itself.

Residual adapters: Rebuffi et al., NeurIPS 2017 (series) and CVPR 2018 (parallel).
Shapes: B clips, C channels, F frequency rows, L frames.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from slvr.model.norms import ONE, Passes, ViewNorm


class AdaptedConv(nn.Module):
    """(B, C, F, L) -> batch-normalised 3x3 convolution for task t.

    With W the shared 3x3 convolution, A_t the task's own 1x1 convolution, N_t its batch norm:

    | variant    | output                                            |
    |------------|---------------------------------------------------|
    | `series`   | N_t(y + A_t N'_t(y)), y = W x, N'_t one more norm |
    | `parallel` | N_t(W x + A_t x)                                  |
    | any other  | N_t(W x)                                          |

    Args:
        in_channels: channels of the input.
        channels: channels of the output.
        stride: of the 3x3 convolution, and of a parallel adapter.
        variant: which adapter, as in the table.
        n_tasks: how many tasks have an adapter and a norm of their own; 1 = all share one.
        fold: add a parallel adapter to the middle of the 3x3 kernel instead of convolving twice.
            Exact, because both are linear, unpadded alike at the middle tap, and precede the norm.
    """

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
        self.variant = variant
        self.fold = fold
        self.conv = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.adapters = nn.ModuleList()
        if variant == "series":
            self.adapters.extend(
                nn.ModuleList([ViewNorm(channels), nn.Conv2d(channels, channels, 1, bias=False)])
                for _ in range(n_tasks)
            )
        elif variant == "parallel":
            self.adapters.extend(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False) for _ in range(n_tasks)
            )
        self.norms = nn.ModuleList(ViewNorm(channels) for _ in range(n_tasks))

    def forward(self, x: Tensor, task: int, passes: Passes = ONE) -> Tensor:
        """The output for the task with this index."""
        if self.variant == "parallel" and self.fold:
            adapter = self.adapters[task].get_parameter("weight")
            kernel = self.conv.weight + F.pad(adapter, (1, 1, 1, 1))
            y = F.conv2d(x, kernel, stride=self.conv.stride, padding=1)
        elif self.variant == "parallel":
            y = self.conv(x) + self.adapters[task](x)
        elif self.variant == "series":
            y = self.conv(x)
            norm, conv = self.adapters[task].children()
            y = y + conv(norm(y, passes))
        else:
            y = self.conv(x)
        normed: Tensor = self.norms[task](y, passes)
        return normed
