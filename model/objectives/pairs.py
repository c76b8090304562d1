"""Telling which pairs of a batch belong together, without a tensor of all pairs.

Letters: R rows of this process, B columns of all processes, H hidden values, r rows at a time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

VALUES = 2**22
"""Of the (r, B, H) values that exist at a time: 16 MiB in float32, whatever the batch."""


class _Gradients(NamedTuple):
    rows: Tensor
    columns: Tensor
    weight: Tensor
    bias: Tensor


@torch.compiler.disable  # type: ignore[untyped-decorator]
def coincidence_loss(
    rows: Tensor, columns: Tensor, weight: Tensor, bias: Tensor, first: int = 0
) -> Tensor:
    """Cross-entropy of telling pair (i, i) from the pairs (i, j), a scalar, about 2 ln 2 by chance.

    With a_ij = w . ReLU(p_i + q_j) + c and p = sigmoid(a),

        L = -(1/R) sum_i ( log p_ii + 1/(B-1) sum_{j != i} log(1 - p_ij) )

    (Jansen et al., ICASSP 2020, arXiv 1911.05894): positives and negatives weigh the same. p_i and
    q_j are the two halves of a linear layer on [h_i; h_j]. Of the (R, B, H) hidden values a few
    rows exist at a time, and in the same pass their gradients are made: the hidden values are
    computed once, near the caches, and never kept for a backward pass.

    Args:
        rows: (R, H) p, bias of the linear layer included.
        columns: (B, H) q.
        weight: (H,) w.
        bias: () c.
        first: column that belongs to row 0; row i belongs to `first + i`.
    """
    loss: Tensor = _Coincidence.apply(rows, columns, weight, bias, first)  # type: ignore[no-untyped-call]
    return loss


class _Coincidence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, columns: Tensor, weight: Tensor, bias: Tensor, first: int
    ) -> Tensor:
        loss, gradients = _loss_and_gradients(rows, columns, weight, bias, first)
        ctx.save_for_backward(*gradients)
        return loss

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (*(gradient * saved for saved in ctx.saved_tensors), None)


def _loss_and_gradients(
    rows: Tensor, columns: Tensor, weight: Tensor, bias: Tensor, first: int
) -> tuple[Tensor, _Gradients]:
    n_rows, (n_columns, width) = len(rows), columns.shape
    share = 1 / max(n_columns - 1, 1)
    size = max(1, min(n_rows, VALUES // (n_columns * width)))
    space = rows.new_empty(size, n_columns, width)
    total = rows.new_zeros(())
    of = _Gradients(*(torch.zeros_like(x) for x in (rows, columns, weight, bias)))
    for start in range(0, n_rows, size):
        part = rows[start : start + size]
        hidden = space[: len(part)]  # the same memory for all
        torch.add(part[:, None], columns, out=hidden).relu_()
        a = torch.mv(hidden.view(-1, width), weight).view(len(part), -1) + bias
        pairs = torch.arange(len(part), device=rows.device)
        own = a[pairs, pairs + first + start]
        total += F.softplus(-own).sum() - share * F.softplus(own).sum()
        total += share * F.softplus(a).sum()
        slope = share * a.sigmoid_()
        slope[pairs, pairs + first + start] = own.sigmoid() - 1
        of.bias.add_(slope.sum())
        of.weight.addmv_(hidden.view(-1, width).T, slope.view(-1))
        hidden.sign_().mul_(slope[..., None])  # 1 where the ReLU lets through
        of.rows[start : start + size] = hidden.sum(1)
        of.columns.add_(hidden.sum(0))
    of.rows.mul_(weight)
    of.columns.mul_(weight)
    return total / n_rows, _Gradients(*(x.div_(n_rows) for x in of))
