"""The few-shot table: draw the episodes, solve them, set them beside what is published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
import torch

from slvr.eval.baselines import with_baselines
from slvr.eval.charts import bars
from slvr.eval.classify import few_shot_accuracies, mean_and_ci
from slvr.eval.config import FewShotTasks
from slvr.eval.embed import Features
from slvr.eval.embedders import MelStatistics
from slvr.eval.episodes import Episodes, sample_episodes
from slvr.eval.models import EvaluatedModel
from slvr.eval.protocol import PROTOCOLS
from slvr.eval.published import SETS
from slvr.eval.sets import EvaluatedSet, clip_labels
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

    def __init__(self, config: Config) -> None:
        self.config = config
        self._drawn: dict[str, Episodes] = {}

    def check(self, sets: Sequence[EvaluatedSet], models: Sequence[EvaluatedModel]) -> None:
        """Draws the episodes of each set."""
        for data in sets:
            self._episodes(data)

    def contenders(
        self, models: Sequence[EvaluatedModel], device: torch.device
    ) -> list[EvaluatedModel]:
        """The models and all baselines."""
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
        episodes, of_pieces = self._episodes(data), features[data.split]
        normalise_features = config.normalise_features or settings.features
        is_plain = isinstance(model.embedder, MelStatistics)
        classifier = "centroid" if is_plain else config.classifier
        support, query = config.support or settings.support, config.query or settings.query
        accuracies = few_shot_accuracies(
            of_pieces.values,
            of_pieces.first_piece,
            of_pieces.n_pieces,
            episodes,
            classifier,
            normalise_features,
            config.seed,
            device,
            support=support,
            query=query,
        )
        accuracy, ci95 = mean_and_ci(accuracies)
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

    def present(self, results: pd.DataFrame) -> Presented:
        """The table of sets and models, the published results beside it, and bars a set."""
        comparison = comparison_table(results)
        return Presented(
            "Few-shot accuracy",
            protocol(results),
            [score_table(results), *([comparison] if comparison else [])],
            {str(name): bars(rows) for name, rows in results.groupby("set", sort=False)},
        )

    def _episodes(self, data: EvaluatedSet) -> Episodes:
        """The episodes of a set, drawn once; the same for every model."""
        if data.name not in self._drawn:
            self._drawn[data.name] = draw_episodes(data, self.config)
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
    if data.only is not None:
        n_common = len(data.clips())
        found.append(f"only {n_common:,} clips of split {data.split}, those of --only")
    return ", ".join(found)
