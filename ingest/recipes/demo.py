"""The embedded corpus: sounds synthesised from a seed, no network."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
MIXTURE_S = 4.0
"""Length of the clips of split `mixtures`."""
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
    two_sources: float = 0.0
    """Share of the training clips that hold two sounds at once, 0 to 1; `ingest demo-sources`
    writes the sounds by themselves."""
    n_mixtures: int = 0
    """Clips of a split `mixtures`, two sounds of evaluation classes at once in each, 0 or more."""

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
        if not 0 <= self.two_sources <= 1 or self.n_mixtures < 0:
            raise ValueError(
                f"--two-sources {self.two_sources}, --n-mixtures {self.n_mixtures}: expected a "
                "share from 0 to 1 and a number from 0 up"
            )
        share = self.two_sources
        train = [
            self._planned(f"train_{i:06d}", "train", TRAINING_CLASSES[i % len(TRAINING_CLASSES)], i)
            if int((i + 1) * share) == int(i * share)
            else self._mixture(f"train_{i:06d}", "train", TRAINING_CLASSES, i)
            for i in range(self.n_train)
        ]
        mixtures = [
            self._mixture(f"mixture_{i:04d}", "mixtures", EVALUATION_CLASSES, i)
            for i in range(self.n_mixtures)
        ]
        added = {"two_sources": share, "n_mixtures": self.n_mixtures}
        evaluation = [
            self._planned(f"eval_{name}_{i:04d}", "eval", name, i)
            for name in EVALUATION_CLASSES
            for i in range(self.n_per_class)
        ]
        return ClipPlan(
            clips=(*train, *evaluation, *mixtures),
            labels={name: name.replace("_", " ") for name in EVALUATION_CLASSES},
            options={"n_train": self.n_train, "n_per_class": self.n_per_class, "seed": self.seed}
            | (added if any(added.values()) else {}),
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

    def _mixture(self, key: str, split: str, classes: Sequence[str], i: int) -> Clip:
        """Two sounds of different classes at once, as long as one would be."""
        first = self._planned(key, split, classes[i % len(classes)], i)
        seed = int(first.source.uri.rpartition("=")[2])
        other = classes[(i + 1 + seed % (len(classes) - 1)) % len(classes)]
        n_samples = round(MIXTURE_S * SAMPLE_RATE_HZ) if split == "mixtures" else first.n_samples
        uri = f"{first.source.uri}&{other}?seed={seed + 1}"
        labels = (classes[i % len(classes)], other) if split == "mixtures" else ()
        return replace(first, source=Source(uri), n_samples=n_samples, labels=labels)

    def make(self, clip: Clip, codec: str) -> Clip:
        """Synthesises one clip."""
        if self.task is not None:
            known, wave = demo_tasks.synthesised(clip)
            return with_audio(known, _pcm(wave, 32768), codec)
        sounds = sources_of(clip)
        pcm = np.sum([sound.astype(np.int32) for sound in sounds], axis=0)
        return with_audio(clip, np.clip(pcm, -32768, 32767).astype(np.int16), codec)


def _pcm(wave: npt.NDArray[np.float32], full_scale: float) -> npt.NDArray[np.int16]:
    pcm: npt.NDArray[np.int16] = np.clip(np.rint(wave * full_scale), -32768, 32767).astype(np.int16)
    return pcm


def sources_of(clip: Clip) -> list[npt.NDArray[np.int16]]:
    """The sounds (T,) that a clip is the sum of; of two each has half of the range."""
    from slvr.ingest.synthesis import synthesise

    sounds = clip.source.uri.removeprefix("synthesis:").split("&")
    found: list[npt.NDArray[np.int16]] = []
    for sound in sounds:
        name, _, seed = sound.partition("?seed=")
        wave = synthesise(name, int(seed), clip.n_samples / SAMPLE_RATE_HZ, SAMPLE_RATE_HZ)
        found.append(_pcm(wave, 32768 / len(sounds)))
    return found
