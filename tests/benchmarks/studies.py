"""What the studies share: trainings on every core, few-shot tasks, verdicts, sections of STUDY.md.

Letters: S seeds, J sets, T tasks.
"""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from slvr.eval.classify import few_shot_accuracies
from slvr.eval.embed import Embedder, embed
from slvr.eval.episodes import sample_episodes
from slvr.eval.sets import EvaluatedSet
from slvr.ingest.synthesis import SOUND_CLASSES
from slvr.shards.read import ShardDirectory

STUDY = Path(__file__).with_name("STUDY.md")
HEADINGS = ("MT-SLVR in small", "Separated scenes in small", "Short sounds")
"""The sections of STUDY.md in their order, each of which a script of its own writes."""
SETS = {
    "music": ("instruments", "percussion"),
    "voices, animals": ("voices", "animals"),
    "things, weather": ("surroundings", "machines"),
}
"""Evaluation set -> the modules of `slvr.ingest.synthesis` that make its classes."""
VERDICTS = ("holds", "does not hold", "undecided")
N_WAY, K_SHOT, N_QUERY, N_TASKS = 5, 1, 1, 10_000
CPU = torch.device("cpu")
COMMANDS = Path(sys.executable).parent


def command(line: Sequence[Any], run: Path, lock: IO[str]) -> None:
    """Runs a command on one core; what it says goes to `<run>.log`."""
    with run.with_suffix(".log").open("ab") as log:
        subprocess.run(
            [COMMANDS / str(line[0]), *map(str, line[1:])],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
            check=True,
            pass_fds=[lock.fileno()],
        )
    print(f"{time.strftime('%H:%M:%S')}  {run}", flush=True)


def train_all(runs: Sequence[Path], train: Callable[[Path, IO[str]], None], out: Path) -> None:
    """Trains one run on each core: sooner done than one run after the other on all of them."""
    with (out / "lock").open("w") as lock:
        # held by the runs too: those that outlive a killed study finish before it goes on
        fcntl.flock(lock, fcntl.LOCK_EX)
        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            list(pool.map(lambda run: train(run, lock), runs))
        finally:
            pool.shutdown(cancel_futures=True)


def accuracies(
    model: Embedder, shards: str, cache: Path, piece_s: float, classifier: str
) -> np.ndarray:
    """(J, T) accuracy of each task in percent; the tasks are the same for all models."""
    data = ShardDirectory.open(shards)
    features = embed(model, EvaluatedSet(data, "eval", piece_s), cache, 32, CPU)
    labels = np.array([labels[0] for labels in data.clips("eval")["labels"]])
    modules = np.array([SOUND_CLASSES[label].__module__.rpartition(".")[2] for label in labels])
    found = []
    for makers in SETS.values():
        clips = np.flatnonzero(np.isin(modules, makers))
        episodes = sample_episodes(labels[clips], N_WAY, K_SHOT, N_QUERY, N_TASKS, 0)
        pieces = features.first_piece[clips], features.n_pieces[clips]
        found.append(
            few_shot_accuracies(features.values, *pieces, episodes, classifier, "l2", 0, CPU)
        )
    return 100 * np.stack(found)


def ci(values: np.ndarray) -> float:
    """Half-width of the 95% confidence interval of the mean of (S, J, T) over tasks.

    Seeds are averaged task by task, since they see the same ones; each set has tasks of its own.
    """
    by_set = values.mean(0)
    return float(1.96 * np.sqrt((by_set.var(1) / by_set.shape[1]).sum()) / len(by_set))


def verdict(gaps: np.ndarray) -> str:
    """Whether an ordering holds, by how much more its higher row has in each task, (S, J, T).

    It does, or does not, where every seed says so beyond the interval of its tasks.
    """
    signs = {np.sign(x.mean()) if abs(x.mean()) > ci(x[None]) else 0 for x in gaps}
    return VERDICTS[0 if signs == {1} else 1 if signs == {-1} else 2]


def counted(verdicts: Sequence[str]) -> str:
    """How often each verdict was given, in a sentence."""
    counts = ", ".join(f"{each} {verdicts.count(each)}" for each in VERDICTS)
    return f"Of {len(verdicts)} orderings: {counts}."


def write_section(heading: str, text: str, to: Path) -> None:
    """Puts a section of STUDY.md in its place; the others stay as they are."""
    sections = {heading: text.strip()}
    for part in (to.read_text() if to.exists() else "").split("\n# "):
        name, _, rest = part.removeprefix("# ").partition("\n")
        sections.setdefault(name, rest.strip())
    names = [name for name in dict.fromkeys((*HEADINGS, *sections)) if sections.get(name)]
    to.write_text("\n".join(f"# {name}\n\n{sections[name]}\n" for name in names))
