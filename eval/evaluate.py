"""The evaluation: check everything, embed once, solve the tasks, write the results."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from eval.classify import few_shot_accuracies, mean_and_ci
from eval.config import EvaluateConfig
from eval.embed import Embedder, clip_labels, embed
from eval.embedders import EncoderEmbedder, MeanLogMel, untrained
from eval.provenance import code_versions
from eval.report import RESULT_FILES, score_text, write_results
from eval.tasks import Tasks, sample_tasks
from model.checkpoint import load_encoder
from shards.read import ShardDirectory


@dataclass(frozen=True)
class LabelledSet:
    """A split of a shard directory, and the tasks drawn from it."""

    directory: ShardDirectory
    split: str
    tasks: Tasks
    n_clips: int


@dataclass(frozen=True)
class Contender:
    """A model and the classifier it is judged with."""

    model: Embedder
    classifier: str
    is_baseline: bool = False


def evaluate(config: EvaluateConfig, console: Console) -> tuple[Path, pd.DataFrame]:
    """Return the folder of the results and the scores, one row a model and set.

    All that can be wrong with the arguments is found before the first clip is embedded.

    Raises:
        ValueError: a checkpoint, shard directory or output folder that cannot be used.
    """
    device = _device(config.device)
    out = config.out or Path("results") / config.checkpoint[0].resolve().name
    _check_out(out)
    sets = [_labelled_set(path, config) for path in config.shards]
    contenders, run_configs = _contenders(config, device)

    scores = []
    for labelled in sets:
        for contender in contenders:
            scores.append(_score(contender, labelled, config, device, console))
    table = pd.DataFrame(scores)
    out.mkdir(parents=True, exist_ok=True)
    write_results(out, table, _run_record(config, sets, contenders, run_configs))
    return out, table


def print_table(scores: pd.DataFrame, console: Console) -> None:
    """Print the scores: one row a set, one column a model."""
    first = scores.iloc[0]
    table = Table(title=f"{first.n_way}-way {first.k_shot}-shot accuracy, %, with 95% CI")
    table.add_column("set")
    models = scores["model"].unique()
    for model in models:
        table.add_column(model, justify="right")
    table.add_column("chance", justify="right")
    for name, rows in scores.groupby("set", sort=False):
        cells = [score_text(row) for row in rows.itertuples()]
        table.add_row(str(name), *cells, f"{100 / first.n_way:.1f}")
    console.print(table)


def _score(
    contender: Contender,
    labelled: LabelledSet,
    config: EvaluateConfig,
    device: torch.device,
    console: Console,
) -> dict[str, Any]:
    """Return one row of the scores."""
    name = labelled.directory.name
    with _clip_progress(console, f"{contender.model.name} on {name}", labelled.n_clips) as progress:
        features = embed(
            contender.model,
            labelled.directory,
            labelled.split,
            config.piece_s,
            config.cache,
            config.batch,
            device,
            progress,
        )
    accuracies = few_shot_accuracies(
        features.values,
        features.first_piece,
        features.n_pieces,
        labelled.tasks,
        contender.classifier,
        config.normalise_features,
        config.seed,
        device,
    )
    accuracy, ci95 = mean_and_ci(accuracies)
    return {
        "model": contender.model.name,
        "set": name,
        "split": labelled.split,
        "baseline": contender.is_baseline,
        "accuracy": accuracy,
        "ci95": ci95,
        "n_way": config.n_way,
        "k_shot": config.k_shot,
        "n_query": config.n_query,
        "n_tasks": config.n_tasks,
        "classifier": contender.classifier,
        "normalise_features": config.normalise_features,
        "piece_s": config.piece_s,
        "n_classes": len(labelled.tasks.classes),
        "n_classes_dropped": len(labelled.tasks.dropped),
        "n_clips": labelled.n_clips,
        "n_pieces": len(features.pieces),
        "dim": features.values.shape[1],
        "model_sha256": contender.model.fingerprint,
        "shards_sha256": labelled.directory.fingerprint,
    }


def _labelled_set(path: Path, config: EvaluateConfig) -> LabelledSet:
    """Open a shard directory and draw its tasks."""
    directory = ShardDirectory.open(path)
    split = config.split or _default_split(directory)
    labels = clip_labels(directory, split)
    try:
        tasks = sample_tasks(
            labels, config.n_way, config.k_shot, config.n_query, config.n_tasks, config.seed
        )
    except ValueError as error:
        raise ValueError(f"{path}, split {split!r}: {error}") from error
    return LabelledSet(directory, split, tasks, len(labels))


def _default_split(directory: ShardDirectory) -> str:
    for split in ("eval", "test"):
        if split in directory.splits:
            return split
    if len(directory.splits) != 1:
        raise ValueError(
            f"{directory.path}: neither a split 'eval' nor 'test'; choose one of "
            f"{', '.join(directory.splits)} with --split"
        )
    return directory.splits[0]


def _contenders(
    config: EvaluateConfig, device: torch.device
) -> tuple[list[Contender], dict[str, Any]]:
    """Return what is evaluated, and the configuration of each training run by model name."""
    n_named = Counter(path.resolve().name for path in config.checkpoint)
    trained: list[Embedder] = []
    baselines: dict[str, Embedder] = {}
    run_configs = {}
    for path in config.checkpoint:
        name = path.resolve().name if n_named[path.resolve().name] == 1 else str(path)
        loaded = load_encoder(path)
        run_configs[name] = loaded.config
        normalisation = loaded.config["normalise"]
        trained.append(EncoderEmbedder(name, loaded.encoder, normalisation, device))
        fresh = untrained(loaded.encoder, config.seed)
        label = "untrained" if len(config.checkpoint) == 1 else f"untrained {name}"
        baseline = EncoderEmbedder(label, fresh, normalisation, device)
        # Runs of one shape share their untrained network.
        baselines.setdefault(baseline.fingerprint, baseline)
    contenders = [Contender(model, config.classifier) for model in trained]
    if config.baselines:
        contenders += [Contender(model, config.classifier, True) for model in baselines.values()]
        contenders.append(Contender(MeanLogMel(device), "centroid", True))
    return contenders, run_configs


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"--device {name}: not on this machine; expected auto, cpu or cuda"
        ) from error


def _check_out(out: Path) -> None:
    """Refuse a folder that holds anything but earlier results."""
    if out.is_dir() and any(out.iterdir()) and not (out / RESULT_FILES[0]).is_file():
        raise ValueError(f"{out}: holds something else than results; choose another --out")
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: is a file, expected a folder; choose another --out")


def _run_record(
    config: EvaluateConfig,
    sets: list[LabelledSet],
    contenders: list[Contender],
    run_configs: dict[str, Any],
) -> dict[str, Any]:
    """Return all that is needed to get the same results again: the content of run.json."""
    return {
        "command": "evaluate",
        "config": asdict(config),
        **code_versions(),
        "models": [
            {
                "name": contender.model.name,
                "sha256": contender.model.fingerprint,
                "classifier": contender.classifier,
                "config": run_configs.get(contender.model.name, {}),
            }
            for contender in contenders
        ],
        "sets": [
            {
                "name": labelled.directory.name,
                "path": str(labelled.directory.path),
                "sha256": labelled.directory.fingerprint,
                "split": labelled.split,
                "licence": labelled.directory.manifest.licence,
                "n_clips": labelled.n_clips,
                "n_classes": len(labelled.tasks.classes),
                "classes_dropped": labelled.tasks.dropped,
            }
            for labelled in sets
        ],
    }


@contextmanager
def _clip_progress(console: Console, label: str, n_clips: int) -> Iterator[Callable[[int], None]]:
    """Show how many clips are embedded: a bar in a terminal, a line now and then in a log."""
    if console.is_terminal:
        columns = ("{task.description}", MofNCompleteColumn(), "clips", TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.speed}"), console=console) as bar:
            task = bar.add_task(label, total=n_clips)
            yield lambda n: bar.advance(task, n)
        return

    begun = logged = time.monotonic()
    done = 0

    def log(n: int) -> None:
        nonlocal done, logged
        done += n
        now = time.monotonic()
        if done == n_clips or now - logged > 20:
            logged = now
            rate = done / max(now - begun, 1e-3)
            left = (n_clips - done) / max(rate, 1e-3)
            console.print(f"{label}: {done}/{n_clips} clips, {rate:.0f}/s, {left:.0f} s left")

    yield log
