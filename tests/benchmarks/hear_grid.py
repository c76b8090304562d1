"""The predictor grid of the HEAR kit: all points as one batched model against a loop over them.

    python tests/benchmarks/hear_grid.py
    python tests/benchmarks/hear_grid.py --rows 105600 --classes 11 --multilabel
    python tests/benchmarks/hear_grid.py --device cuda

The loop is what the kit does, in plain torch: for each point a network, `torch.optim.Adam`, a
shuffled pass, a validation each 3 epochs, early stopping (`tests/hear_by_hand.py`). Both start from
the same weights, see the rows in the same order and drop the same units. Kernels are counted on the
CPU, `counting.py`, of an epoch of four steps; the second count is with Adam's `foreach`,
which a GPU takes by default. Times are CPU seconds of the process, wall seconds beside them.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from counting import Count
from measure import machine, table
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from hear_by_hand import trained_one_by_one
from slvr.eval.grid import GridSettings, best_of, kit_points, train_grid


def main() -> None:
    """Prints selections, kernels and times of both."""
    args = _arguments()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    x, y, x_valid, y_valid = (each.to(device) for each in _data(args))
    points = kit_points(args.points)
    settings = GridSettings(
        hidden_dim=args.hidden, max_epochs=args.epochs, check_every=3, patience=args.patience
    )

    def validate(said: Tensor) -> tuple[float, Any]:
        if args.multilabel:
            right = 1 - (said - y_valid).abs()
            return float(right.clamp_min(1e-6).log().mean()), None
        return float(said.gather(1, y_valid[:, None]).clamp_min(1e-9).log().mean()), None

    given = (points, x, y, args.classes, x_valid, validate)
    ours, our_cpu_s, our_wall_s = _timed(lambda: train_grid(*given, settings))
    theirs, their_cpu_s, their_wall_s = _timed(lambda: trained_one_by_one(*given, settings))
    n_same = sum(a.epoch == epoch for a, (_, epoch, _) in zip(ours, theirs, strict=True))
    furthest = max(abs(a.score - score) for a, (score, _, _) in zip(ours, theirs, strict=True))
    ours_best = ours.index(best_of(ours))
    theirs_best = max(range(len(points)), key=lambda i: theirs[i][0])
    print(machine(device))
    print(
        f"\n{len(x):,} rows of {args.dim}, {args.classes} classes, {len(points)} points of "
        f"{args.hidden} units; epochs that were best: {[a.epoch for a in ours]} and "
        f"{[epoch for _, epoch, _ in theirs]}, {n_same} of {len(points)} alike; scores at most "
        f"{furthest:.1e} apart; selected point {ours_best} and {theirs_best}.\n"
    )
    counts = _counts(args, points)
    rows = [
        ["one batched model", f"{counts[0]:,}", f"{our_cpu_s:.2f}", f"{our_wall_s:.2f}", ""],
        ["loop", f"{counts[1]:,}", f"{their_cpu_s:.2f}", f"{their_wall_s:.2f}",
         f"{counts[1] / counts[0]:.1f}x kernels, {their_cpu_s / our_cpu_s:.2f}x CPU"],
        ["loop, foreach", f"{counts[2]:,}", "", "", f"{counts[2] / counts[0]:.1f}x kernels"],
    ]  # fmt: skip
    print(table(["", "kernels of an epoch", "CPU s", "wall s", "loop / batched"], rows))


def _counts(args: argparse.Namespace, points: list[Any]) -> tuple[int, int, int]:
    """Kernels of an epoch of four steps and a validation: batched, loop, loop with foreach."""
    # as many steps as of the kit's sizes, and narrow: widths change no count
    small = {"rows": 4096, "valid": 1024, "dim": 16}
    x, y, x_valid, _ = _data(argparse.Namespace(**vars(args) | small))
    given = (points, x, y, args.classes, x_valid, lambda _: (0.0, None))
    plain = torch.optim.Adam

    def grouped(*a: Any, **k: Any) -> torch.optim.Adam:
        return plain(*a, **k, foreach=True)

    counts = []
    for call, adam in ((train_grid, plain), (trained_one_by_one, plain),
                       (trained_one_by_one, grouped)):  # fmt: skip
        n = []
        for epochs in (1, 2):  # their difference is an epoch without what comes before it
            settings = GridSettings(hidden_dim=16, max_epochs=epochs, check_every=1)
            with patch("torch.optim.Adam", adam), Count("cpu") as count:
                call(*given, settings)
            n.append(count.kernels)
        counts.append(n[1] - n[0])
    return counts[0], counts[1], counts[2]


def _data(args: argparse.Namespace) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Clusters, to learn from and to select on."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(args.classes, args.dim))
    found: list[Tensor] = []
    for n in (args.rows, args.valid):
        if args.multilabel:
            y: Any = (rng.random((n, args.classes)) < 0.15).astype(np.float32)
            x = y @ centres
        else:
            y = rng.integers(0, args.classes, n)
            x = centres[y]
        x = x + 3 * rng.normal(size=x.shape)
        found += [torch.tensor(x, dtype=torch.float32), torch.tensor(y)]
    return found[0], found[1], found[2], found[3]


def _timed(call: Any) -> tuple[Any, float, float]:
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    made = call()
    return made, time.process_time() - cpu_s, time.perf_counter() - wall_s


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--valid", type=int, default=1024)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--classes", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--points", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--patience", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--multilabel", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
