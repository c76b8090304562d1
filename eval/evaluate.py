"""The evaluation: check everything, embed once, solve the tasks, write the results."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from rich.table import Table

from command.progress import track
from command.record import RECORD, write_record
from eval.classify import few_shot_accuracies, mean_and_ci
from eval.config import EvaluateConfig
from eval.embed import Embedder, clip_labels, embed
from eval.embedders import EncoderEmbedder, MeanLogMel, untrained
from eval.report import score_text, write_results
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
    training: Mapping[str, Any] | None = None
    """The configuration it was trained with; a baseline has none."""


def evaluate(config: EvaluateConfig) -> tuple[Path, pd.DataFrame]:
    """Return the folder of the results and the scores, one row a model and set.

    All that can be wrong with the arguments is found before the first clip is embedded.

    Raises:
        ValueError: a checkpoint, shard directory or output folder that cannot be used.
    """
    device = _device(config.device)
    out = Path(config.out or Path("results") / Path(config.checkpoint[0]).resolve().stem)
    _check_out(out)
    sets = _labelled_sets(config)
    contenders = _contenders(config, device)

    # run.json first: a folder that cannot be written is found before the long part, too.
    out.mkdir(parents=True, exist_ok=True)
    fingerprints = {str(each.directory.path): each.directory.fingerprint for each in sets}
    write_record(out, "evaluate", config, fingerprints)
    scores = pd.DataFrame(
        _score(contender, labelled, config, device) for labelled in sets for contender in contenders
    )
    training = {c.model.name: c.training for c in contenders if c.training is not None}
    write_results(out, scores, json.loads((out / RECORD).read_text()), training)
    return out, scores


def print_table(scores: pd.DataFrame, console: Console) -> None:
    """Print the scores, one row a set and one column a model, and the classes left out."""
    first = scores.iloc[0]
    table = Table(title=f"{first.n_way}-way {first.k_shot}-shot accuracy, %, with 95% CI")
    table.add_column("set")
    for model in scores["model"].unique():
        table.add_column(model, justify="right")
    table.add_column("chance", justify="right")
    for name, rows in scores.groupby("set", sort=False):
        cells = [score_text(row) for row in rows.itertuples()]
        table.add_row(str(name), *cells, f"{100 / first.n_way:.1f}")
    console.print(table)
    for row in scores.drop_duplicates("set").to_dict("records"):
        if row["classes_left_out"]:
            needed = row["k_shot"] + row["n_query"]
            names = row["classes_left_out"]
            console.print(f"{row['set']}: classes of fewer than {needed} clips left out: {names}")


def _score(
    contender: Contender,
    labelled: LabelledSet,
    config: EvaluateConfig,
    device: torch.device,
) -> dict[str, Any]:
    """Return one row of the scores."""
    name = labelled.directory.name
    with track(f"{contender.model.name} on {name}", labelled.n_clips, "clips") as progress:
        features = embed(
            contender.model,
            labelled.directory,
            labelled.split,
            config.piece_s,
            Path(config.cache),
            config.batch,
            device,
            progress.advance,
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
        "baseline": contender.training is None,
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
        "classes_left_out": ", ".join(labelled.tasks.dropped),
        "n_clips": labelled.n_clips,
        "n_pieces": len(features.pieces),
        "dim": features.values.shape[1],
        "model_sha256": contender.model.fingerprint,
        "shards_sha256": labelled.directory.fingerprint,
    }


def _labelled_sets(config: EvaluateConfig) -> list[LabelledSet]:
    """Open the shard directories and draw the tasks of each."""
    sets: dict[str, LabelledSet] = {}
    for path in config.shards:
        directory = ShardDirectory.open(path)
        if directory.name in sets:
            other = sets[directory.name].directory.path
            raise ValueError(
                f"--shards: {other} and {path} both hold the set {directory.name!r}; give one"
            )
        split = config.split or _default_split(directory)
        labels = clip_labels(directory, split)
        try:
            tasks = sample_tasks(
                labels, config.n_way, config.k_shot, config.n_query, config.n_tasks, config.seed
            )
        except ValueError as error:
            raise ValueError(f"{path}, split {split!r}: {error}") from error
        sets[directory.name] = LabelledSet(directory, split, tasks, len(labels))
    return list(sets.values())


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


def _contenders(config: EvaluateConfig, device: torch.device) -> list[Contender]:
    """Return what is evaluated: the trained encoders, then the baselines."""
    stems = Counter(Path(path).resolve().stem for path in config.checkpoint)
    trained: list[Contender] = []
    fresh: dict[str, Contender] = {}
    for path in config.checkpoint:
        stem = Path(path).resolve().stem
        name = stem if stems[stem] == 1 else path
        loaded = load_encoder(path)
        normalisation = loaded.config["normalise"]
        model = EncoderEmbedder(name, loaded.encoder, normalisation, device)
        trained.append(Contender(model, config.classifier, loaded.config))
        label = "untrained" if len(config.checkpoint) == 1 else f"untrained {name}"
        encoder = untrained(loaded.encoder, config.seed)
        baseline = EncoderEmbedder(label, encoder, normalisation, device)
        # Runs of one shape share their untrained network.
        fresh.setdefault(baseline.fingerprint, Contender(baseline, config.classifier))
    if not config.baselines:
        return trained
    return [*trained, *fresh.values(), Contender(MeanLogMel(device), "centroid")]


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"--device {name}: not there; expected auto, cpu, or cuda on a machine with a GPU"
        ) from error


def _check_out(out: Path) -> None:
    """Refuse a folder that holds anything but earlier results."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: is a file; give a folder to --out")
    if not out.is_dir() or not any(out.iterdir()):
        return
    record = out / RECORD
    if not record.is_file() or json.loads(record.read_text()).get("command") != "evaluate":
        raise ValueError(
            f"{out}: exists and holds no results of evaluate; give another --out, or remove it"
        )
