"""Two commits side by side: does training give the same numbers, to the bit?

Each commit is checked out into a worktree of its own, makes the demo corpus with its own code and
trains every MT-SLVR recipe for a few steps on it. Compared are the losses of every step and Adam's
moments after the last, parameter by parameter: the first moment is a sum of the gradients, so that
equal moments are equal gradients. Names may differ, order and values may not.

    python tests/benchmarks/same_numbers.py HEAD~1 HEAD
    python tests/benchmarks/same_numbers.py v0.1.0 HEAD --recipes mtslvr-simclr-bn --steps 5
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors import safe_open

ROOT = Path(__file__).parents[2]
RECIPES = [
    f"mtslvr-{contrastive}-{variant}"
    for contrastive in ("simclr", "simsiam")
    for variant in ("none", "split", "bn", "series", "parallel")
]
SMALL = ("--batch", "6", "--clip-s", "1", "--log-every", "1", "--devices", "1")


def call(tree: Path, command: str, *args: str) -> None:
    """Runs a command of a checkout, whatever is installed here."""
    package = "slvr." if (tree / "src" / "slvr").is_dir() else ""
    path = tree / "src" if package else tree
    code = f"import sys; from {package}{command}.cli import main; sys.exit(main())"
    line = [sys.executable, "-c", code, *args]
    environment = os.environ | {"PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        line, cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{tree.name}: {' '.join(line[3:])}\n{done.stdout}{done.stderr}")


def trained(tree: Path, recipe: str, steps: int) -> tuple[list[list[str]], list[torch.Tensor]]:
    """The losses of every step as text that gives back their bits, and Adam's moments."""
    out = tree / "runs" / recipe
    args = ("--recipe", recipe, "--shards", str(tree / "shards" / "demo"), "--out", str(out))
    call(tree, "train", *args, "--steps", str(steps), *SMALL)
    with (out / "log.csv").open(newline="") as file:
        losses = list(csv.reader(file))[1:]
    with safe_open(out / f"step-{steps:08d}.safetensors", framework="pt") as file:
        names = [name for name in file.keys() if name.startswith("optimiser.")]  # noqa: SIM118
        names.sort(key=lambda name: (int(name.split(".")[1]), name))
        return losses, [file.get_tensor(name) for name in names]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before")
    parser.add_argument("after", nargs="?", default="HEAD")
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--steps", type=int, default=2)
    options = parser.parse_args()
    different = 0
    with tempfile.TemporaryDirectory() as folder:
        trees = {side: Path(folder) / side for side in ("before", "after")}
        git = ["git", "-C", str(ROOT), "worktree"]
        try:
            for side, tree in trees.items():
                commit = getattr(options, side)
                subprocess.run([*git, "add", "-q", "--detach", str(tree), commit], check=True)
                demo = ("demo", "--n-train", "24", "--n-per-class", "1")
                call(tree, "ingest", *demo, "--out", str(tree / "shards" / "demo"))
            print("| recipe | losses | gradients |\n|---|---|---|")
            for recipe in options.recipes:
                found = [trained(tree, recipe, options.steps) for tree in trees.values()]
                (losses, moments), (losses_after, moments_after) = found
                same_losses = losses == losses_after
                same_moments = len(moments) == len(moments_after) and all(
                    map(torch.equal, moments, moments_after)
                )
                words = [
                    "the same bits" if same else "DIFFERENT" for same in (same_losses, same_moments)
                ]
                print(f"| {recipe} | {' | '.join(words)} |", flush=True)
                different += not (same_losses and same_moments)
        finally:
            for tree in trees.values():
                subprocess.run([*git, "remove", "--force", str(tree)], check=False)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
