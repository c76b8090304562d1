"""The few-shot table: draw the episodes, solve them, set them beside what is published."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from slvr.eval.baselines import with_baselines
from slvr.eval.charts import bars, critical_difference
from slvr.eval.classify import few_shot_accuracies, mean_and_ci
from slvr.eval.config import FewShotTasks, check_least
from slvr.eval.embed import Features
from slvr.eval.embedders import MEAN_LOG_MEL, MelStatistics
from slvr.eval.episodes import Episodes, sample_episodes
from slvr.eval.models import EvaluatedModel
from slvr.eval.protocol import PROTOCOLS
from slvr.eval.published import SETS
from slvr.eval.sets import EvaluatedSet, clip_labels
from slvr.eval.significance import (
    average_ranks,
    compared,
    difference_tables,
    seed_groups,
    seeds_tables,
)
from slvr.eval.tables import comparison_table, protocol, score_table, score_text
from slvr.eval.tasks.contract import Presented, Task


@dataclass(frozen=True)
class Score:
    """Accuracy of one model on one set, and all that moves it."""

    set_recipe: str
    split: str
    baseline: bool
    accuracy: float
    ci95: float
    n_way: int
    k_shot: int
    n_query: int
    n_tasks: int
    n_seeds: int
    """Draws of as many tasks."""
    sd_seeds: float
    """Standard deviation of the accuracy over them."""
    classifier: str
    protocol: str
    normalise_features: str
    support: str
    query: str
    n_classes: int
    classes_left_out: str
    benchmark_difference: str
    dim: int
    training_recipe: str
    """Recipe of its training, "own" where it is not known; empty for a baseline."""
    model_sha256: str
    shards_sha256: str


class FewShot(Task):
    """Accuracy of simple classifiers on tasks of a few labelled clips a class."""

    NAME = "few-shot"

    @dataclass(frozen=True, kw_only=True)
    class Config(FewShotTasks):
        """Few-shot accuracy of encoders on labelled shards."""

        classifier: Literal["sgd", "logistic", "centroid"] = "sgd"
        """sgd: the published one-versus-all log-loss SGD; logistic: multinomial with an L2 penalty;
        centroid: the nearest class mean, which statistics of log-mel spectra and MFCCs always
        have."""
        seeds: int = 1
        """Times that the tasks of a set are drawn, at least 1: with --seed and those after it."""

        def __post_init__(self) -> None:
            super().__post_init__()
            check_least(self, seeds=1)

    def __init__(self, config: Config) -> None:
        self.config = config
        self._drawn: dict[str, list[Episodes]] = {}
        self._accuracies: dict[tuple[str, str], NDArray[np.float64]] = {}
        self._groups: dict[str, list[str]] = {}

    def check(self, sets: Sequence[EvaluatedSet], models: Sequence[EvaluatedModel]) -> None:
        """Draws the episodes of each set."""
        for data in sets:
            self._episodes(data)

    def contenders(
        self, models: Sequence[EvaluatedModel], device: torch.device
    ) -> list[EvaluatedModel]:
        """The models and all baselines."""
        self._groups = seed_groups({model.name: model.training for model in models})
        return with_baselines(models, self.config, device)

    def score(
        self,
        model: EvaluatedModel,
        data: EvaluatedSet,
        features: Mapping[str, Features],
        device: torch.device,
    ) -> list[Score]:
        """One row: the mean accuracy over the episodes and its 95% confidence interval."""
        config, settings = self.config, PROTOCOLS[self.config.protocol]
        draws, of_pieces = self._episodes(data), features[data.split]
        normalise_features = config.normalise_features or settings.features
        is_plain = isinstance(model.embedder, MelStatistics)
        classifier = "centroid" if is_plain else config.classifier
        support, query = config.support or settings.support, config.query or settings.query
        drawn = [
            few_shot_accuracies(
                of_pieces.values,
                of_pieces.first_piece,
                of_pieces.n_pieces,
                episodes,
                classifier,
                normalise_features,
                config.seed + i,
                device,
                support=support,
                query=query,
            )
            for i, episodes in enumerate(draws)
        ]
        accuracies = self._accuracies[data.name, model.name] = np.concatenate(drawn)
        accuracy, ci95 = mean_and_ci(accuracies)
        episodes = draws[0]  # of all of them the classes are the same
        n_classes = len(episodes.classes) + len(episodes.dropped)
        row = Score(
            set_recipe=data.directory.manifest.recipe,
            split=data.split,
            baseline=model.baseline,
            accuracy=accuracy,
            ci95=ci95,
            n_way=config.n_way,
            k_shot=config.k_shot,
            n_query=config.n_query,
            n_tasks=config.n_tasks,
            n_seeds=config.seeds,
            sd_seeds=float(np.std([each.mean() for each in drawn], ddof=config.seeds > 1)),
            classifier=classifier,
            protocol=config.protocol,
            normalise_features=normalise_features,
            support=support,
            query=query,
            n_classes=len(episodes.classes),
            classes_left_out=", ".join(episodes.dropped),
            benchmark_difference=benchmark_difference(data, n_classes),
            dim=of_pieces.values.shape[1],
            training_recipe="" if model.baseline else model.training.get("recipe", "own"),
            model_sha256=model.embedder.fingerprint,
            shards_sha256=data.directory.fingerprint,
        )
        return [row]

    def headline(self, rows: Sequence[Score]) -> str:  # type: ignore[override]
        """The accuracy."""
        return f"{score_text(rows[0].accuracy, rows[0].ci95)} %"

    def compared(self, results: pd.DataFrame) -> pd.DataFrame:
        """Runs of several seeds together, and all beside the best and beside mean log-mel."""
        return compared(results, self._accuracies, self._groups, MEAN_LOG_MEL)

    def present(self, results: pd.DataFrame) -> Presented:
        """The table of sets and models, what of it is no chance, the published results, and bars.

        Runs that are part of a group stand in its table alone.
        """
        shown = results[results["group"] == ""]
        comparison = comparison_table(shown)
        ranks = average_ranks(shown)
        scores = score_table(shown)
        unit = "accuracy in % and its interval"
        if (shown["n_runs"] > 1).any():
            unit += ", of several runs sd"
        by_set = shown.groupby("set", sort=False)
        charts = {f"{name}: {unit}": bars(rows) for name, rows in by_set}
        if ranks is not None:
            scores = dataclasses.replace(scores, notes=[*scores.notes, ranks.note])
            caption = f"Average rank over {ranks.n_sets} sets; a bar joins what is not told apart"
            charts[caption] = critical_difference(ranks)
        tables = [scores, *difference_tables(shown, MEAN_LOG_MEL), *seeds_tables(results)]
        tables += [comparison] if comparison else []
        return Presented("Few-shot accuracy", protocol(shown), tables, charts)

    def _episodes(self, data: EvaluatedSet) -> list[Episodes]:
        """The episodes of a set, of each seed; the same for every model."""
        if data.name not in self._drawn:
            seeds = range(self.config.seed, self.config.seed + self.config.seeds)
            configs = [dataclasses.replace(self.config, seed=seed) for seed in seeds]
            self._drawn[data.name] = [draw_episodes(data, config) for config in configs]
        return self._drawn[data.name]


def draw_episodes(data: EvaluatedSet, config: FewShotTasks) -> Episodes:
    """The episodes of a set; the same for every model.

    Raises:
        ValueError: too few classes with enough clips, with the numbers.
    """
    try:
        return sample_episodes(
            clip_labels(data),
            config.n_way,
            config.k_shot,
            config.n_query,
            config.n_tasks,
            config.seed,
        )
    except ValueError as error:
        if str(data) in str(error):
            raise
        n, n_all = len(data.clips()), len(data.all_clips())
        left = f" (--drop-... leaves {n:,} of {n_all:,} clips)" if n < n_all else ""
        raise ValueError(f"{data}{left}: {error}") from error


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
    n_evaluated = len(data.clips()) if data.is_part else 0
    if data.only is not None:
        found.append(f"only {n_evaluated:,} clips of split {data.split}, those of --only")
    elif data.is_part and n_evaluated < len(data.all_clips()):
        found.append(f"only {n_evaluated:,} clips of split {data.split}, as --drop-... leaves")
    return ", ".join(found)
