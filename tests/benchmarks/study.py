"""MT-SLVR in small: ten variants and three baselines trained alike, beside the published ranks.

    make study
    python tests/benchmarks/study.py --steps 3 --seeds 1 --out runs/try --to /tmp/STUDY.md

Trains every recipe on the embedded corpus at the size of recipe `demo`, as many at a time as there
are cores, and judges all by the same few-shot tasks on classes that no training has heard, in three
sets by what makes the sound. Every number follows from the seeds, and every verdict in STUDY.md
from the numbers. After an interruption the same command goes on.
"""

import argparse
import itertools
import subprocess
import time
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
from measure import machine, table
from studies import (
    COMMANDS,
    CPU,
    HEADINGS,
    K_SHOT,
    N_TASKS,
    N_WAY,
    SETS,
    STUDY,
    accuracies,
    ci,
    command,
    counted,
    train_all,
    verdict,
    write_section,
)

from slvr.eval.calibrate import calibrate, training_clips
from slvr.eval.embed import Embedder
from slvr.eval.embedders import MEL_STATISTICS, EncoderEmbedder, MelStatistics
from slvr.eval.loaded import open_trained
from slvr.eval.published import ACCURACY, COUNTERPART
from slvr.eval.published import SETS as PUBLISHED_SETS
from slvr.model.checkpoint import checkpoint_name
from slvr.model.encoders.resnet18 import VARIANTS
from slvr.pipeline.frontends.mtslvr import MTSLVR
from slvr.train.recipes import RECIPES

TITLES = {"simclr": "SimCLR", "simsiam": "SimSiam"}
"""Contrastive objective -> its name in the published tables."""
COMPARED = {
    method: [method, "predictive", *(f"mtslvr-{method}-{variant}" for variant in VARIANTS)]
    for method in TITLES
}
"""Contrastive objective -> the recipes of its published table, row by row."""
BESIDE = [f"{name}-{m}-parallel" for name in ("augself", "mtslvr-augself") for m in TITLES]
"""Recipes that the paper does not have: measured, not ranked."""
DEMO = RECIPES["demo"].settings
SIZE = ("encoder.dim", "encoder.width", "clip_s", "batch", "lr", "checkpoint_every")
"""Settings of recipe `demo` that all take over."""
ADAPTERS = ("MT-Bn", "MT-Series", "MT-Parallel")
ORDERINGS = [
    *itertools.product(ADAPTERS, ("Cont only", "MT-Simple", "MT-Split")),
    ("Cont only", "Pred only"),
]
"""(higher, lower) rows of the published tables: what the paper claims on average."""
PIECE_S = 5.0
CLASSIFIER = "sgd"


def is_trained(run: Path, args: argparse.Namespace) -> bool:
    """Whether a run is finished."""
    return (run / checkpoint_name(args.steps)).exists()


def train(run: Path, recipe: str, seed: int, args: argparse.Namespace, lock: IO[str]) -> None:
    """Trains a recipe, or goes on with it, on one core."""
    if is_trained(run, args):
        return
    size = {name: DEMO[name] for name in SIZE} | {"steps": args.steps, "seed": seed}
    line = ["train", "--shards", args.shards, "--recipe", recipe, "--out", run, "--resume"]
    for name, value in ({"accelerator": "cpu"} | size).items():
        line += ["--" + name.replace("_", "-"), value]
    command(line, run, lock)


def judged(model: Embedder, args: argparse.Namespace) -> np.ndarray:
    """(sets, tasks) accuracy of each task in percent."""
    return accuracies(model, args.shards, args.out / "cache", PIECE_S, CLASSIFIER)


def baselines(run: Path, args: argparse.Namespace) -> dict[str, np.ndarray]:
    """(1, sets, tasks) of what has learnt nothing."""
    trained = open_trained(run)
    clips = training_clips(str(run), trained)
    fresh = calibrate(trained.encoder.untrained(0), MTSLVR(), clips, 32, 0, CPU)
    models: list[Embedder] = [
        EncoderEmbedder("untrained network", fresh, MTSLVR(), "published", CPU),
        *(MelStatistics(name, "none", CPU) for name in MEL_STATISTICS),
    ]
    return {model.name: judged(model, args)[None] for model in models}


def published(method: str) -> pd.DataFrame:
    """The published table of a contrastive objective: row -> accuracy by set."""
    title = TITLES[method] + " "
    rows = {name: values for name, values in ACCURACY.items() if name.startswith(title)}
    return pd.DataFrame(rows).T.rename(lambda name: name.removeprefix(title))


def by_row(method: str, measured: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What was measured, by the rows of the published table."""
    return {COUNTERPART[recipe].partition(" ")[2]: measured[recipe] for recipe in COMPARED[method]}


def average_rank(scores: pd.DataFrame) -> pd.Series:
    """Mean over the sets (columns) of each row's rank; 1 is best."""
    return scores.rank(ascending=False).mean(axis=1)


def score_table(method: str, measured: dict[str, np.ndarray]) -> str:
    """The table of a contrastive objective in the published form; below it the other models."""

    def cells(values: np.ndarray) -> list[str]:
        sets = (values[:, [i]] for i in range(len(SETS)))
        return [f"{of_set.mean():.2f} ± {ci(of_set):.2f}" for of_set in sets]

    ours = by_row(method, measured)
    ranks = average_rank(pd.DataFrame({name: x.mean((0, 2)) for name, x in ours.items()}).T)
    theirs = average_rank(published(method))
    rows = [
        [name, *cells(x), f"{ranks[name]:.1f}", f"{theirs[name]:.1f}"] for name, x in ours.items()
    ]
    others = [name for name in measured if f"-{method}-" in name and name in BESIDE]
    others += [name for name in measured if name not in RECIPES]
    rows += [[name, *cells(measured[name]), "", ""] for name in others]
    correlation = ranks.corr(theirs, method="spearman")
    return (
        table([TITLES[method], *SETS, "avg rank", "published"], rows)
        + f"\n\nSpearman correlation of the two average ranks: {correlation:+.2f} (of seven "
        "rows in random order, 5% reach 0.79 either way)."
    )


def ordering_table(method: str, measured: dict[str, np.ndarray]) -> str:
    """How the published orderings fare."""
    theirs, ours = published(method), by_row(method, measured)
    rows, verdicts = [], []
    for higher, lower in ORDERINGS:
        gaps = theirs.loc[higher] - theirs.loc[lower]
        found = ours[higher] - ours[lower]  # task by task: how hard each one is cancels
        verdicts.append(verdict(found))
        rows.append(
            [
                f"{higher} > {lower}",
                f"{gaps.mean():+.2f}, {(gaps > 0).sum()} of {len(gaps)}",
                f"{found.mean():+.2f} ± {ci(found):.2f}",
                ", ".join(f"{x.mean():+.2f}" for x in found),
                verdicts[-1],
            ]
        )
    head = [TITLES[method], "published, in sets", "here", "by seed", "verdict"]
    return f"{table(head, rows)}\n\n{counted(verdicts)}"


def page(measured: dict[str, np.ndarray], took: str, steps: int) -> str:
    """The section of STUDY.md, below its heading."""
    by_seed = np.stack([x.mean((1, 2)) for name, x in measured.items() if name in RECIPES])
    text = [
        "Written by `make study` (`tests/benchmarks/study.py`), verdicts too, from its numbers. "
        f"Each recipe is trained from {by_seed.shape[1]} seeds for {steps:,} steps of "
        f"{DEMO['batch']} clips of {DEMO['clip_s']:g} s of the embedded corpus: "
        f"{DEMO['encoder.dim']} values from a network of {DEMO['encoder.width']} channels. "
        "The paper's are 50,000 steps of 100 clips of 10 s, 1,000 values and 64 channels, so this "
        "shows what becomes of its orderings at a small size, on synthesised sounds, and not "
        "whether it is right.",
        f"{machine(CPU)}. {took}",
        f"{N_WAY}-way {K_SHOT}-shot accuracy in %, mean of the seeds ± 95% over {N_TASKS:,} tasks, "
        "the same for every row, of classes that no training has heard. "
        f"{CLASSIFIER} classifier, {PIECE_S:g} s pieces, L2-normalised features; chance is "
        f"{100 / N_WAY:g}. Ranks are among the seven rows of the published table, averaged over "
        f"sets: three here, {len(PUBLISHED_SETS)} there, computed from its accuracies. Rows "
        "without ranks are not the paper's.",
        *(score_table(method, measured) for method in TITLES),
        "## What holds and what does not",
        "Differences in points, mean of all sets; published: and in how many sets the order is so. "
        "An ordering holds, or does not, where every seed says so beyond the 95% interval of its "
        "tasks, and is undecided otherwise.",
        *(ordering_table(method, measured) for method in TITLES),
    ]
    if by_seed.shape[1] > 1:
        moved = np.ptp(by_seed, axis=1)
        text.append(
            "The same recipe from another seed has another mean accuracy: by "
            f"{np.median(moved):.2f} points in the median recipe, {moved.max():.2f} at most."
        )
    return "\n\n".join(text)


def main() -> None:
    """Trains, evaluates and writes the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--shards", default="shards/demo")
    parser.add_argument("--out", type=Path, default=Path("runs/study"))
    parser.add_argument("--to", type=Path, default=STUDY)
    args = parser.parse_args()
    began_s = time.monotonic()
    args.out.mkdir(parents=True, exist_ok=True)
    subprocess.run([COMMANDS / "ingest", "demo", "--out", args.shards], check=True)

    recipes = dict.fromkeys([*itertools.chain(*COMPARED.values()), *BESIDE])
    jobs = {args.out / f"{r}-{s}": (r, s) for s in range(args.seeds) for r in recipes}
    n_new = sum(not is_trained(run, args) for run in jobs)
    train_all(list(jobs), lambda run, lock: train(run, *jobs[run], args, lock), args.out)

    found: dict[str, list[np.ndarray]] = {recipe: [] for recipe in recipes}
    for run, (recipe, _) in jobs.items():
        encoder = open_trained(run).encoder
        model = EncoderEmbedder(str(run), encoder, MTSLVR(), "published", CPU)
        found[recipe].append(judged(model, args))
    measured = {recipe: np.stack(by_seed) for recipe, by_seed in found.items()}
    measured |= baselines(next(iter(jobs)), args)

    took_min = (time.monotonic() - began_s) / 60
    took = f"{n_new} of the {len(jobs)} trainings and the evaluation took {took_min:.0f} minutes."
    write_section(HEADINGS[0], page(measured, took, args.steps), args.to)
    print(args.to)


if __name__ == "__main__":
    main()
