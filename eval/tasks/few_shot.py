"""The few-shot table: draw the tasks, embed once, solve them, set them beside what is published."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console

from slvr.eval.charts import bars
from slvr.eval.classify import few_shot_accuracies, mean_and_ci
from slvr.eval.config import EvaluateConfig, FewShotTasks
from slvr.eval.embed import Embedder
from slvr.eval.embedders import MeanLogMel
from slvr.eval.episodes import Episodes, sample_episodes
from slvr.eval.inputs import (
    EvaluatedModel,
    EvaluatedSet,
    clip_labels,
    features_of,
    open_device,
    open_models,
    open_out,
    open_sets,
)
from slvr.eval.protocol import PROTOCOLS
from slvr.eval.published import SETS
from slvr.eval.report import Report, write_report
from slvr.eval.tables import comparison_table, protocol, score_table, score_text


@dataclass(frozen=True)
class Contender:
    """A model and the classifier it is judged with."""

    model: Embedder
    classifier: str
    training_recipe: str = ""
    """Recipe of its training, "own" where it is not known; empty for a baseline."""


def evaluate(config: EvaluateConfig) -> tuple[Path, Report]:
    """Return the folder of the results and the report, one row a model and set.

    Each accuracy is also shown as soon as it is known: a table of ten sets takes hours the first
    time.

    Raises:
        ValueError: a model, shard directory or output folder that cannot be used.
    """
    device = open_device(config.device)
    sets = open_sets(config)
    episodes = [draw_episodes(each, config, config.seed) for each in sets]
    models = open_models(config, device)
    contenders = _contenders(models, config, device)
    out = open_out(config, "evaluate", sets)
    rows = []
    shown = Console(stderr=True, highlight=False, soft_wrap=True)
    for data, drawn in zip(sets, episodes, strict=True):
        for contender in contenders:
            rows.append(_score(contender, data, drawn, config, device))
            accuracy = score_text(rows[-1]["accuracy"], rows[-1]["ci95"])
            shown.print(f"{data.name}, {contender.model.name}: {accuracy} %", markup=False)
    scores = pd.DataFrame(rows)
    comparison = comparison_table(scores)
    report = Report(
        "Few-shot accuracy",
        protocol(scores),
        scores,
        [score_table(scores), *([comparison] if comparison else [])],
        {str(name): bars(rows) for name, rows in scores.groupby("set", sort=False)},
        training_details(models),
    )
    write_report(out, report)
    return out, report


def training_details(models: list[EvaluatedModel]) -> dict[str, Mapping[str, Any]]:
    """How the trained models were trained, for the end of a report."""
    return {
        f"Training of {model.embedder.name}": model.training for model in models if model.training
    }


def draw_episodes(data: EvaluatedSet, config: FewShotTasks, seed: int) -> Episodes:
    """The tasks of a set; the same for every model.

    Raises:
        ValueError: too few classes with enough clips, with the numbers.
    """
    try:
        return sample_episodes(
            clip_labels(data), config.n_way, config.k_shot, config.n_query, config.n_tasks, seed
        )
    except ValueError as error:
        where = str(data)
        raise ValueError(str(error) if where in str(error) else f"{where}: {error}") from error


def benchmark_difference(data: EvaluatedSet, n_classes: int) -> str:
    """How a set differs from the benchmark's by the counts; empty where it does not, or is none."""
    manifest = data.directory.manifest
    expected = SETS.get(manifest.recipe)
    if expected is None:
        return ""
    n_clips = sum(counts.get("ok", 0) for counts in manifest.counts.values())
    found = []
    if n_clips != expected.n_clips:
        found.append(f"{n_clips:,} clips instead of {expected.n_clips:,}")
    if n_classes != expected.n_test_classes:
        found.append(
            f"{n_classes} classes in split {data.split} instead of {expected.n_test_classes}"
        )
    return ", ".join(found)


def _score(
    contender: Contender,
    data: EvaluatedSet,
    episodes: Episodes,
    config: EvaluateConfig,
    device: torch.device,
) -> dict[str, Any]:
    """Return one row of the scores."""
    settings = PROTOCOLS[config.protocol]
    normalise_features = config.normalise_features or settings.features
    features = features_of(contender.model, data, config, device)
    accuracies = few_shot_accuracies(
        features.values,
        features.first_piece,
        features.n_pieces,
        episodes,
        contender.classifier,
        normalise_features,
        config.seed,
        device,
    )
    accuracy, ci95 = mean_and_ci(accuracies)
    return {
        "model": contender.model.name,
        "set": data.name,
        "set_recipe": data.directory.manifest.recipe,
        "split": data.split,
        "baseline": not contender.training_recipe,
        "accuracy": accuracy,
        "ci95": ci95,
        "n_way": config.n_way,
        "k_shot": config.k_shot,
        "n_query": config.n_query,
        "n_tasks": config.n_tasks,
        "classifier": contender.classifier,
        "protocol": config.protocol,
        "waveforms": {"trained": "as in training", "none": "not at all", "per-clip": "each"}[
            settings.waveforms
        ],
        "normalise_features": normalise_features,
        "piece": "whole-clip" if data.piece_s is None else f"{data.piece_s:g} s",
        "n_classes": len(episodes.classes),
        "classes_left_out": ", ".join(episodes.dropped),
        "benchmark_difference": benchmark_difference(
            data, len(episodes.classes) + len(episodes.dropped)
        ),
        "n_clips": len(features.first_piece),
        "n_pieces": len(features.pieces),
        "dim": features.values.shape[1],
        "training_recipe": contender.training_recipe,
        "model_sha256": contender.model.fingerprint,
        "shards_sha256": data.directory.fingerprint,
    }


def _contenders(
    models: list[EvaluatedModel], config: EvaluateConfig, device: torch.device
) -> list[Contender]:
    """Return what is evaluated: the models, then the baselines."""
    judged = [
        Contender(each.embedder, config.classifier, each.training.get("recipe", "own"))
        for each in models
    ]
    if not config.baselines:
        return judged
    fresh: dict[str, Contender] = {}
    for model in models:
        if model.untrained:  # runs of one shape share theirs
            network = Contender(model.untrained, config.classifier)
            fresh.setdefault(model.untrained.fingerprint, network)
    log_mel = MeanLogMel(PROTOCOLS[config.protocol].normalisation("none"), device)
    return [*judged, *fresh.values(), Contender(log_mel, "centroid")]
