"""Loss and gradients of coincidence over all pairs of 512 clips, by rows and all at once.

    python tests/benchmarks/coincidence.py [--device cuda]

Time and memory of the loss in rows against the same loss over a tensor of all pairs. Run it on a
machine with nothing else to do.
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from measure import HEAD, Measured, compare, machine, measure, table
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


def main() -> None:
    """Prints one table, and how far the losses are apart."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    device = torch.device(parser.parse_args().device)
    drawn = torch.Generator().manual_seed(0)
    shapes: list[tuple[int, ...]] = [(CLIPS, WIDTH), (CLIPS, WIDTH), (WIDTH,), ()]
    operands = [
        (torch.randn(shape, generator=drawn) / 20).to(device).requires_grad_() for shape in shapes
    ]

    def timed(loss: Callable[..., Tensor]) -> Measured:
        return measure(lambda: loss(*operands).backward(), RUNS, device)

    apart = (coincidence_loss(*operands) - at_once(*operands)).abs().item()
    rows = [compare("loss and gradients", 1, timed(coincidence_loss), timed(at_once))]
    print(f"{machine(device)} · {CLIPS} clips, hidden {WIDTH}; original: all pairs at once\n")
    print(table(HEAD, rows))
    print(f"\nThe losses differ by {apart:.1e}.")


if __name__ == "__main__":
    main()
