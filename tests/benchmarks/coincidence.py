"""Loss and gradients of coincidence over all pairs of 512 clips, by rows and all at once.

`python tests/benchmarks/coincidence.py`: seconds (median of 5) and MB allocated, the loss in rows
against the same loss over a tensor of all pairs.
"""

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from slvr.model.objectives.pairs import coincidence_loss

CLIPS, WIDTH, RUNS = 512, 512, 5


def at_once(rows: Tensor, columns: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same loss with every pair's hidden values in one tensor."""
    n = len(rows)
    a = (rows[:, None] + columns).relu() @ weight + bias
    share = torch.full_like(a, 1 / (n - 1)).fill_diagonal_(1.0)
    own = torch.eye(n, device=a.device)
    return F.binary_cross_entropy_with_logits(a, own, share, reduction="sum") / n


def seconds(loss: Callable[..., Tensor], operands: list[Tensor]) -> float:
    """Median time of loss and gradients."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        loss(*operands).backward()
        if operands[0].is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Prints both times, their ratio and the difference of the losses."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    drawn = torch.Generator().manual_seed(0)
    shapes: list[tuple[int, ...]] = [(CLIPS, WIDTH), (CLIPS, WIDTH), (WIDTH,), ()]
    operands = [
        (torch.randn(shape, generator=drawn) / 20).to(device).requires_grad_() for shape in shapes
    ]
    found, expected = coincidence_loss(*operands), at_once(*operands)
    rows_s, whole_s = seconds(coincidence_loss, operands), seconds(at_once, operands)
    print(f"| {CLIPS} clips on {device} | rows {rows_s:.3f} s | at once {whole_s:.3f} s |", end=" ")
    print(f"{rows_s / whole_s:.2f}x | losses differ by {(found - expected).abs().item():.1e} |")


if __name__ == "__main__":
    main()
