"""The embedded corpus: sounds synthesised from a seed, no network."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from slvr.ingest.recipe import ClipPlan
from slvr.ingest.recipes import demo_tasks
from slvr.shards.audio import with_audio
from slvr.shards.clip import SAMPLE_RATE_HZ, Clip, Source

FIXED_S = 5.0
"""Length of every other evaluation clip."""
SHORTEST_S, LONGEST_S = 1.0, 10.0
"""Range of the other lengths, uniform on a logarithmic scale (mean 3.9 s)."""


@dataclass(frozen=True)
class Demo:
    """Ingests the embedded corpus: an unlabelled training split, a labelled evaluation split.

    The classes of the evaluation split never occur in the training split. With --task it is a task
    in splits train, valid and test instead, as those of HEAR.
    """

    NAME: ClassVar[str] = "demo"
    VERSION: ClassVar[str] = "1"
    LICENCE: ClassVar[str] = "CC0-1.0"
    CITATION: ClassVar[str] = ""
    HOMEPAGE: ClassVar[str] = ""
    ONLINE: ClassVar[bool] = False
    MAX_FAIL: ClassVar[float] = 0.0
    RETRY_OPTIONS: ClassVar[tuple[str, ...]] = ()

    n_train: int = 1600
    """Clips of the unlabelled training split, 1 or more."""
    n_per_class: int = 40
    """Clips of each evaluation class, 1 or more."""
    seed: int = 0
    """Seed of the whole corpus."""
    task: Literal["events", "pitch"] | None = None
    """events: scenes of 10 s with sound events from exact onsets; pitch: notes of instruments that
    no other split has, their pitch in the attributes."""
    n_task: int | None = None
    """Clips of a task, 5 or more; default: 200 scenes or 720 notes."""

    @property
    def directory(self) -> str:
        """Name of the shard directory if none is given."""
        return self.NAME if self.task is None else f"{self.NAME}_{self.task}"

    def plan(self, cache: Path) -> ClipPlan:
        """Draws class, length and seed of every clip."""
        # loads scipy, which the workers of other recipes should not wait for
        from slvr.ingest.synthesis import EVALUATION_CLASSES, TRAINING_CLASSES

        if self.n_train < 1 or self.n_per_class < 1:
            raise ValueError(
                f"expected at least 1 clip, got --n-train {self.n_train} and --n-per-class "
                f"{self.n_per_class}"
            )
        if self.task is not None:
            return self._task(self.task)
        train = [
            self._planned(f"train_{i:06d}", "train", TRAINING_CLASSES[i % len(TRAINING_CLASSES)], i)
            for i in range(self.n_train)
        ]
        evaluation = [
            self._planned(f"eval_{name}_{i:04d}", "eval", name, i)
            for name in EVALUATION_CLASSES
            for i in range(self.n_per_class)
        ]
        return ClipPlan(
            clips=(*train, *evaluation),
            labels={name: name.replace("_", " ") for name in EVALUATION_CLASSES},
            options={"n_train": self.n_train, "n_per_class": self.n_per_class, "seed": self.seed},
        )

    def _task(self, task: str) -> ClipPlan:
        """The clips of a task of the corpus."""
        n_clips = demo_tasks.DEFAULT_CLIPS[task] if self.n_task is None else self.n_task
        if n_clips < demo_tasks.FEWEST_CLIPS:
            raise ValueError(
                f"expected --n-task of {demo_tasks.FEWEST_CLIPS} or more, got {n_clips}"
            )
        return ClipPlan(
            clips=tuple(demo_tasks.planned(task, n_clips, self.seed, self.LICENCE)),
            labels={label: label.replace("_", " ") for label in demo_tasks.labels(task)},
            options={"task": task, "n_task": n_clips, "seed": self.seed},
            extra={"hear": demo_tasks.about(task)},
        )

    def _planned(self, key: str, split: str, name: str, i: int) -> Clip:
        digest = hashlib.sha256(f"{self.seed} {key}".encode()).digest()
        seed = int.from_bytes(digest[:6], "big")
        fixed = split == "eval" and i % 2 == 0
        log_range = np.log([SHORTEST_S, LONGEST_S])
        varied_s = float(np.exp(np.random.default_rng(seed).uniform(*log_range)))
        return Clip(
            key=key,
            split=split,
            source=Source(f"synthesis:{name}?seed={seed}"),
            labels=(name,) if split == "eval" else (),
            licence=self.LICENCE,
            n_samples=round((FIXED_S if fixed else varied_s) * SAMPLE_RATE_HZ),
        )

    def make(self, clip: Clip, codec: str) -> Clip:
        """Synthesises one clip."""
        from slvr.ingest.synthesis import synthesise

        if self.task is not None:
            known, wave = demo_tasks.synthesised(clip)
            return with_audio(known, _pcm(wave), codec)
        name, _, seed = clip.source.uri.removeprefix("synthesis:").partition("?seed=")
        wave = synthesise(name, int(seed), clip.n_samples / SAMPLE_RATE_HZ, SAMPLE_RATE_HZ)
        return with_audio(clip, _pcm(wave), codec)


def _pcm(wave: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    pcm: npt.NDArray[np.int16] = np.clip(np.rint(wave * 32768), -32768, 32767).astype(np.int16)
    return pcm
