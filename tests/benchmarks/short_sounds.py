"""Sounds of less than a second: what filling, pitch, phase and more steps cost, one at a time.

    python tests/benchmarks/short_sounds.py
    python tests/benchmarks/short_sounds.py --scale 0.01 --seeds 1 --limit 60 --n-tasks 200 \\
        --out runs/try --to /tmp/SHORT.md

Fetches recordings that Debian packages hold (apt-get download, dpkg -x; nothing is installed, all
stays in --out), ingests them by our own commands, trains networks of recipe `demo` on clips of 1 s,
one on each core, and judges them on instruments, and on languages of short names and of longer
prompts, that share no clip with the training. Each row changes one choice. After an interruption
the same command goes on.
"""

import argparse
import fcntl
import os
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from measure import machine, table
from studies import COMMANDS, CPU, HEADINGS, STUDY, ci, write_section

from slvr.eval.calibrate import calibrate, training_clips
from slvr.eval.classify import few_shot_accuracies
from slvr.eval.embed import Embedder, embed
from slvr.eval.embedders import MEL_STATISTICS, MelStatistics, encoder_embedder
from slvr.eval.episodes import sample_episodes
from slvr.eval.loaded import open_trained
from slvr.eval.sets import EvaluatedSet
from slvr.ingest.endings import AUDIO_ENDINGS, ending_of
from slvr.model.checkpoint import checkpoint_name
from slvr.pipeline.short import Short
from slvr.shards.read import ShardDirectory

VOICES = {"en": "en_US", "es": "es_MX", "fr": "fr_CA", "it": "it_IT", "ru": "ru_RU"}
"""Language of asterisk's prompts -> how its folder begins."""
PACKAGES = (
    *("hydrogen-drumkits", "tuxpaint-stamps-default"),
    *(f"asterisk-core-sounds-{language}-wav" for language in VOICES),
)
INSTRUMENTS = {
    "hi-hat, open": r"(hat|hh).*(open|swish)|open.*(hat|hh)|ohh",
    "hi-hat": r"hat|hh",
    "rim": r"rim|rs_|stick",
    "snare": r"snare|sd_|sn_",
    "kick": r"kick|bd_|bass ?drum|bass-?drum",
    "tom": r"tom|t\d_",
    "ride": r"ride|bell",
    "crash": r"crash|splash|china|cymbal",
    "hands": r"clap|snap|cajon|bongo|conga|djembe|dununba",
}
"""Class of a drum -> what its file's name holds; the first that fits."""
NAME = re.compile(r"_desc_([a-z]{2})(_\w+)?\.ogg")
"""How the file of a stamp's spoken name ends: its language."""
SETS = ("drums", "names", "languages")
SHORTS: tuple[Short, ...] = ("loop", "silence", "centre")
BASE = "as published"
PHASE = ("--front-end", f"{Path(__file__).with_name('without_phase.py')}:WithoutPhase")
CHOICES: dict[str, tuple[int, Short, tuple[str, ...]]] = {
    BASE: (900, "loop", ()),
    "silence behind short clips": (900, "silence", ()),
    "silence on both sides": (900, "centre", ()),
    "pitch of +-5 semitones": (900, "loop", ("--views.pitch-semitones", "5")),
    "pitch of +-2 semitones": (900, "loop", ("--views.pitch-semitones", "2")),
    "no pitch shift": (900, "loop", ("--views.without", "pitch_shift")),
    "no phase channel": (900, "loop", PHASE),
    "200 steps": (200, "loop", ()),
    "2,500 steps": (2500, "loop", ()),
}
"""Row -> steps, what fills short clips, flags of `train`."""
PIECE_S = 1.0
N_WAY, CLASSIFIER = 5, "centroid"


def fetch(args: argparse.Namespace) -> Path:
    """The folder that the packages are unpacked into."""
    folder = args.out / "packages"
    done = folder / "unpacked"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", *PACKAGES], cwd=folder, check=True)
        for package in sorted(folder.glob("*.deb")):
            subprocess.run(["dpkg", "-x", package, folder], check=True)
        done.touch()
    return folder / "usr" / "share"


def lay_out(share: Path, args: argparse.Namespace) -> None:
    """Links the recordings into a folder a set, a sub-folder a class; `train` has no classes.

    Every other drum kit is learnt from, and every other stamp; prompts are only judged on. Classes
    of words would need several voices of one language: across languages the voice misleads.
    """
    found: dict[str, list[tuple[str, Path]]] = {name: [] for name in ("train", *SETS)}
    kits = sorted((share / "hydrogen" / "data" / "drumkits").iterdir())
    for number, kit in enumerate(kits):
        for path in _audio(kit):
            if number % 2 == 0:
                found["train"].append(("all", path))
                continue
            fitting = (c for c, names in INSTRUMENTS.items() if re.search(names, path.name.lower()))
            if (instrument := next(fitting, None)) is not None:
                found["drums"].append((instrument, path))
    stamps = _audio(share / "tuxpaint")
    found["train"] += [("all", path) for path in stamps[::2]]
    names = [(NAME.search(path.name), path) for path in stamps[1::2]]
    found["names"] = [(name[1], path) for name, path in names if name is not None]
    for language, begins in VOICES.items():
        (voice,) = (share / "asterisk" / "sounds").glob(f"{begins}_*")
        found["languages"] += [(language, path) for path in sorted(voice.glob("*.wav"))]
    for name, files in found.items():
        for label, path in files[:: max(1, len(files) // args.limit)]:
            link = args.out / "sounds" / name / label / " ".join(path.relative_to(share).parts)
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(path.resolve())


def _audio(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if ending_of(path.name) in AUDIO_ENDINGS)


def ingest(args: argparse.Namespace) -> None:
    """Shards of each set; some files of the packages hold no sound."""
    for name in ("train", *SETS):
        out = args.out / "shards" / name
        if not (out / "dataset.json").exists():
            line = ["folder", args.out / "sounds" / name, "--out", out, "--max-fail", "0.2"]
            subprocess.run([COMMANDS / "ingest", *line], check=True)


def jobs(args: argparse.Namespace) -> dict[Path, tuple[str, int, int]]:
    """Run -> its row, seed and steps."""
    return {
        args.out / "runs" / f"{i}-{seed}": (row, seed, max(2, round(args.scale * steps)))
        for seed in range(args.seeds)
        for i, (row, (steps, _, _)) in enumerate(CHOICES.items())
    }


def train(run: Path, row: str, seed: int, steps: int, args: argparse.Namespace) -> None:
    """Trains a network, or goes on with it, on one core."""
    if (run / checkpoint_name(steps)).exists():
        return
    _, short, flags = CHOICES[row]
    line = ["--shards", args.out / "shards" / "train", "--recipe", "demo", "--out", run]
    line += ["--resume", "--accelerator", "cpu", "--clip-s", str(PIECE_S), "--short", short]
    line += ["--steps", str(steps), "--seed", str(seed), *flags]
    with run.with_suffix(".log").open("ab") as log:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [COMMANDS / "train", *line]
        subprocess.run(command, env=environment, stdout=log, stderr=log, check=True)
    print(f"{time.strftime('%H:%M:%S')}  {run}, {row}", flush=True)


def accuracies(model: Embedder, short: Short, args: argparse.Namespace) -> np.ndarray:
    """(sets, tasks) accuracy of each task in percent; the tasks are the same for all models."""
    found = []
    for name in SETS:
        directory = ShardDirectory.open(args.out / "shards" / name)
        data = EvaluatedSet(directory, "train", PIECE_S, short=short)
        features = embed(model, data, args.out / "cache", 160, CPU)
        labels = [labels[0] for labels in data.labels()]
        episodes = sample_episodes(labels, N_WAY, 1, 1, args.n_tasks, 0)
        pieces = features.first_piece, features.n_pieces
        found.append(few_shot_accuracies(features.values, *pieces, episodes, CLASSIFIER, "l2"))
    return 100 * np.stack(found)


def network(run: Path, *, fresh: bool = False) -> Embedder:
    """What a run has learnt; fresh: its network untrained, with calibrated batch norms."""
    trained = open_trained(run, allow=(PHASE[1],))
    encoder, front_end = trained.encoder, trained.front_end
    if fresh:
        clips = training_clips(str(run), trained)
        encoder = calibrate(encoder.untrained(0), front_end, clips, 32, 0, CPU)
    return encoder_embedder(run.name, encoder, front_end, trained.normalisation, CPU)


def cells(values: np.ndarray) -> list[str]:
    """Mean and interval over the tasks for each set of (seeds, sets, tasks), and for all."""
    sets = [*(values[:, [i]] for i in range(len(SETS))), values]
    return [f"{of_set.mean():.1f} ± {ci(of_set):.1f}" for of_set in sets]


def page(args: argparse.Namespace, took: str) -> str:
    """The section of STUDY.md, below its heading."""
    own: dict[str, np.ndarray] = {}
    filled: dict[tuple[str, Short], np.ndarray] = {}
    all_jobs = jobs(args)
    for row, (_, short, _) in CHOICES.items():
        runs = [run for run, job in all_jobs.items() if job[0] == row]
        looked_at = SHORTS if row in list(CHOICES)[: len(SHORTS)] else (short,)
        for how in looked_at:
            models = [network(run) for run in runs]
            filled[row, how] = np.stack([accuracies(model, how, args) for model in models])
        own[row] = filled[row, short]
    first = next(iter(all_jobs))
    plain: dict[str, Embedder] = {"untrained, calibrated": network(first, fresh=True)}
    plain |= {name: MelStatistics(name, "none", CPU) for name in MEL_STATISTICS}
    for name, model in plain.items():
        for how in SHORTS:
            filled[name, how] = accuracies(model, how, args)[None]

    rows = []
    for row, values in own.items():
        gap = values - own[BASE]  # task by task: how hard each one is cancels
        beyond = [] if row == BASE else [f"{gap.mean():+.1f} ± {ci(gap):.1f}"]
        seeds = ", ".join(f"{x.mean():+.1f}" for x in gap) if beyond else ""
        rows.append([row, *cells(values), *(beyond or [""]), seeds])
    fills = [
        [name, *(f"{filled[name, how].mean():.1f} ± {ci(filled[name, how]):.1f}" for how in SHORTS)]
        for name in [*list(CHOICES)[: len(SHORTS)], *plain]
    ]
    means = {how: np.mean([filled[n, how].mean() for n in plain]) for how in SHORTS}
    means_own = {how: own[row].mean() for row, how in zip(CHOICES, SHORTS, strict=False)}
    return "\n\n".join(
        [
            "Written by `tests/benchmarks/short_sounds.py`. Networks of recipe `demo` on clips of "
            f"{PIECE_S:g} s, each from {args.seeds} seeds: {sizes(args)}. {machine(CPU)}. {took}",
            f"{N_WAY}-way 1-shot accuracy in %, {CLASSIFIER} classifier, mean of the seeds ± 95% "
            f"over {args.n_tasks:,} tasks, the same for every row; each network hears short clips "
            f"as in its training. The first row: {CHOICES[BASE][0]} steps, clips looped, pitch "
            "shifts of up to 15 semitones, three channels; each other row changes one of these.",
            table(["changed", *SETS, "mean", "minus the first", "by seed"], rows),
            "Rows: trained so, or not at all; columns: what fills short clips in the evaluation; "
            "mean of the sets.",
            table(["", *SHORTS], fills),
            f"Trained and evaluated alike, the best is {max(means_own, key=means_own.__getitem__)}"
            f"; without training {max(means, key=means.__getitem__)}.",
        ]
    )


def sizes(args: argparse.Namespace) -> str:
    """Clips, classes and median duration of each set, in words."""
    said = []
    for name in ("train", *SETS):
        clips = ShardDirectory.open(args.out / "shards" / name).clips("train")
        classes = len({label for labels in clips["labels"] for label in labels})
        median_s = clips["n_samples"].median() / 16_000
        of = "" if name == "train" else f" of {classes} classes"
        said.append(f"{name}, {len(clips):,} clips{of}, median {median_s:.2f} s")
    return "; ".join(said)


def main() -> None:
    """Fetches, ingests, trains, evaluates and writes the section."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="of all numbers of steps")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--limit", type=int, default=4000, help="clips of a set, about, at most")
    parser.add_argument("--n-tasks", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path("runs/short_sounds"))
    parser.add_argument("--to", type=Path, default=STUDY)
    args = parser.parse_args()
    began_s = time.monotonic()
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lay_out(fetch(args), args)
        ingest(args)
        (args.out / "runs").mkdir(exist_ok=True)
        todo = jobs(args)
        n_new = sum(not (run / checkpoint_name(job[2])).exists() for run, job in todo.items())
        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            list(pool.map(lambda run: train(run, *todo[run], args), todo))
        finally:
            pool.shutdown(cancel_futures=True)
    took_min = (time.monotonic() - began_s) / 60
    section = page(args, f"{n_new} of the {len(todo)} trainings took {took_min:.0f} minutes.")
    write_section(HEADINGS[2], section, args.to)
    print(args.to)


if __name__ == "__main__":
    main()
