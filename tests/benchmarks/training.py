"""Training steps a second, recipe by recipe; each run is interrupted and goes on.

python tests/benchmarks/training.py --device cuda --recipes mtslvr-simclr-parallel --compile off on

Each line is the command `train` on clips of noise that stay on the device: it is stopped as by
Ctrl-C after --seconds of steady training and resumed.
Before them: what a step of each recipe costs the network, forward and backward, by counting.
"""

import argparse
import csv
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from counting import Count
from measure import machine, table
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from slvr.command.named import Registry, config_of
from slvr.model.checkpoint import checkpoints
from slvr.model.encoders.registry import ENCODERS
from slvr.model.learner import TOTAL
from slvr.model.objectives.registry import OBJECTIVES
from slvr.pipeline.frontends.registry import FRONT_ENDS
from slvr.pipeline.views.registry import VIEWS
from slvr.train.build import build_model, build_stage
from slvr.train.config import Choice, HeadChoice, Parts
from slvr.train.recipes import RECIPES

sys.path.insert(0, str(Path(__file__).parents[1]))  # for conftest.py, which makes the clips
from conftest import write_directory

ROOT = Path(__file__).parents[2]
# of now: conftest.py keeps tests to one thread
PATHS = [str(ROOT / "src"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, PATHS))}
RATE_HZ = 16_000
COMMAND = [sys.executable, "-c", "import sys; from slvr.train.cli import main; sys.exit(main())"]
HEAD = ["recipe", "compiled", "steps/s", "clips/s", "data wait", "peak memory", "resumed"]
START_S = 900  # until the first steps are done: a compilation for the CPU takes minutes
WARM_UP = 2  # log entries that are not counted


class Run:
    """The command `train` on a folder, begun anew or gone on with."""

    def __init__(self, args: argparse.Namespace, options: list[str], data: Path, out: Path) -> None:
        self._line = [*COMMAND, "--shards", str(data), "--out", str(out), "--resume", *options]
        self._line += ["--batch", str(args.batch), "--clip-s", str(args.clip_s)]
        self._line += ["--accelerator", args.device, "--precision", args.precision]
        self._line += ["--log-every", str(args.log_every), "--checkpoint-every", "1000000"]
        self._line += ["--resident", "on"]
        self._out = out

    def rows(self) -> list[dict[str, str]]:
        """What is logged so far; a last row may be cut short."""
        path = self._out / "throughput.csv"
        if not path.exists():
            return []
        rows = list(csv.DictReader(path.read_text().splitlines()))
        return [row for row in rows if row["gpu_memory_bytes"] is not None]

    def go(self, n_rows: int, seconds: float) -> int:
        """Trains until so many more rows and then seconds later; returns the most bytes it held."""
        before = len(self.rows())
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(self._line, env=ENVIRONMENT, stderr=said, stdout=said)
            end_s = time.monotonic() + START_S
            while len(self.rows()) < before + n_rows and not ended(process.pid):
                if time.monotonic() > end_s:
                    break
                time.sleep(0.05)
            time.sleep(seconds)
            if not ended(process.pid):
                process.send_signal(signal.SIGINT)
            _, status, used = os.wait4(process.pid, 0)
            said.seek(0)
            words = said.read().decode().strip().splitlines()
        if os.waitstatus_to_exitcode(status) != 130 or len(self.rows()) < before + n_rows:
            raise RuntimeError(words[-1] if words else f"ended with status {status}")
        return used.ru_maxrss * 1024


def ended(pid: int) -> bool:
    """Whether a child has ended; it still can be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def by_command(
    recipe: str, compiled: bool, args: argparse.Namespace, data: Path, out: Path
) -> list[str]:
    """A line of the table."""
    options = ["--recipe", recipe, *(word for option in args.options for word in option)]
    options += ["--compile"] if compiled else []
    run = Run(args, options, data, out)
    held_bytes = run.go(WARM_UP + 1, args.seconds)
    rows = run.rows()[WARM_UP:]
    clips_per_s = statistics.median(float(row["clips_per_s"]) for row in rows)
    data_wait = statistics.mean(float(row["data_wait"]) for row in rows)
    if args.device == "cuda":
        held_bytes = int(max(float(row["gpu_memory_bytes"]) for row in rows))

    numbers = [f"{clips_per_s / args.batch:.2f}", f"{clips_per_s:.1f}", f"{data_wait:.1%}"]
    numbers.append(f"{held_bytes / 1e9:.2f} GB")
    if args.once:
        return [*numbers, "-"]
    saved = int(checkpoints(out)[-1].stem.partition("-")[2])
    before = len(run.rows())
    run.go(1, 0)
    first = int(run.rows()[before]["step"])
    if first != (saved // args.log_every + 1) * args.log_every:
        raise RuntimeError(f"saved at step {saved}, but then came step {first}")
    return [*numbers, f"at step {saved:,}"]


def parts_of(recipe: str, args: argparse.Namespace) -> Parts:
    """What a recipe of MT-SLVR's names, without the packages that read command lines."""
    said = RECIPES[recipe]
    settings = said.settings | {flag[2:]: int(n) for flag, n in args.options}

    def chosen(name: str, registry: Registry, **own: object) -> Choice:
        return Choice(name, config_of(name, registry, recipe)(**own))

    own = {k.partition(".")[2]: x for k, x in settings.items() if k.startswith("encoder.")}
    heads = [text.partition("@")[::2] for text in said.objectives]
    return Parts(
        front_end=chosen(said.front_end, FRONT_ENDS),
        views=chosen(said.views, VIEWS),
        encoder=chosen(said.encoder, ENCODERS, **own),
        objectives={
            name: HeadChoice(name, chosen(name, OBJECTIVES).config, task or "all")
            for name, task in heads
        },
    )


def cost(recipe: str, args: argparse.Namespace) -> list[str]:
    """Operations and bytes of the network's step, counted on tensors that hold nothing."""
    parts = parts_of(recipe, args)
    stage = build_stage(parts, args.clip_s, "published", torch.device("cpu"))
    wave = torch.zeros(1, round(args.clip_s * RATE_HZ))
    image = stage.front_end(wave)[0].shape
    drawn = stage.views.known(stage.views.sample(args.batch, 0))
    with FakeTensorMode():
        model = build_model(parts, stage)
        views = torch.empty(stage.views.n_views, args.batch, *image)
        known = {name: torch.empty(x.shape, dtype=x.dtype) for name, x in drawn.items()}
        with FlopCounterMode(display=False) as counted, Count("cpu") as count:
            model(views, known)[TOTAL].backward()
    return [recipe, f"{counted.get_total_flops() / 1e12:.3f}", f"{count.moved_bytes / 1e9:.1f}"]


def main() -> int:
    """Measures and prints; returns 1 if a run failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--recipes",
        nargs="+",
        default=["mtslvr-simclr-parallel"],
        metavar="RECIPE",
        choices=RECIPES,
    )
    parser.add_argument("--compile", nargs="+", default=["off"], choices=("off", "on"))
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--clip-s", type=float, default=10.0)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--log-every", type=int, default=2)
    parser.add_argument("--once", action="store_true", help="no resume")
    parser.add_argument("--width", type=int)
    parser.add_argument("--dim", type=int)
    args = parser.parse_args()
    given = {"--encoder.width": args.width, "--encoder.dim": args.dim}
    args.options = [(flag, str(n)) for flag, n in given.items() if n is not None]

    print(f"### Training, batch {args.batch} of {args.clip_s:g} s, {args.precision}\n")
    print("The network's step, forward and backward, in float32; every operation moves its own.\n")
    print(table(["recipe", "TFLOP", "GB"], [cost(recipe, args) for recipe in args.recipes]))
    print(f"\n{machine(torch.device(args.device))}; {args.seconds:g} s each.\n")
    print(table(HEAD, []))
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        write_directory(data, 2 * args.batch, 1, codec="wav", lengths_s=(args.clip_s,))
        for recipe in args.recipes:
            for word in args.compile:
                out, compiled = Path(folder) / f"{recipe}-{word}", word == "on"
                try:
                    numbers = by_command(recipe, compiled, args, data, out)
                except RuntimeError as error:  # out of memory, a compiler's: the others go on
                    numbers = [f"failed: {str(error).splitlines()[0]}", *["-"] * 4]
                    failed = 1
                print("| " + " | ".join([recipe, word, *numbers]) + " |", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
