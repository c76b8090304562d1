"""What several tests share: a small finished shard directory, and running our commands."""

import os

# Before torch is loaded, here and in the commands that tests start: small tensors on busy cores
# spend their time in thread barriers otherwise.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from one_name import no_twin_of_a_room  # noqa: F401  # a fixture of every test
from slvr.model.checkpoint import checkpoint_name, write_checkpoint
from slvr.model.encoders.resnet18 import ResNet18
from slvr.shards.audio import with_audio
from slvr.shards.clip import Clip, Event, Source
from slvr.shards.manifest import Description, ShardInfo
from slvr.shards.read import ShardDirectory
from slvr.shards.write import ShardWriter, finish
from slvr.train.config import TrainConfig
from slvr.train.configure import configure


def described(name: str, **other: object) -> Description:
    """The description of a directory made here."""
    fields = {
        **{"name": name, "recipe": "test", "recipe_version": "1", "options": {}},
        **{"tool_versions": {}, "licence": "CC0-1.0", "citation": "", "homepage": ""},
        **{"codec": "flac", "sample_rate_hz": 16_000, "labels": {}},
    }
    return Description(**fields | other)


def noise(n_samples: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9000, 9000, n_samples).astype(np.int16)


def write_directory(
    path: Path,
    n_clips: int = 12,
    n_shards: int = 2,
    n_classes: int = 3,
    codec: str = "flac",
    lengths_s: tuple[float, ...] = (0.2, 0.5),
    split: str = "train",
    sample_rate_hz: int = 16_000,
    first: int = 0,
    seeds: Sequence[int] | None = None,
) -> ShardDirectory:
    """Noise clips in shards, and one clip that failed; clip i has label `class_(i mod n)`.

    Clip i is noise of seed i, or of seeds[i]. Every other clip has an event; all have a pitch, a
    level and a speaker.
    """
    path.mkdir(parents=True)
    rows, infos = [], []
    clips = [
        with_audio(
            Clip(
                key=f"clip_{i:04d}",
                split=split,
                source=Source(f"made/{i}.wav", 0.0, 1.0),
                labels=(f"class_{i % n_classes}",) if n_classes else (),
                events=(Event("click", 0.05, 0.1 + i / 1000),) if i % 2 == 0 else (),
                attributes={"pitch": i, "level_db": -i / 4, "speaker": f"{i % 2}"},
            ),
            noise(round(lengths_s[i % len(lengths_s)] * 16_000), seeds[i] if seeds else i),
            codec,
        )
        for i in range(first, first + n_clips)
    ]
    failed = Clip(key="clip_gone", split=split, source=Source("made/gone.wav"))
    for s in range(n_shards):
        with ShardWriter(path, f"{split}-{s:06d}", split, codec) as writer:
            for clip in clips[s::n_shards]:
                writer.write(clip)
            if s == 0:
                writer.write(failed.failed("gone", "removed", "by its owner"))
        assert isinstance(writer.info, ShardInfo)
        rows += writer.rows
        infos.append(writer.info)
    labels = {f"class_{i}": f"class {i}" for i in range(n_classes)}
    about = described(path.name, codec=codec, sample_rate_hz=sample_rate_hz, labels=labels)
    finish(path, rows, infos, about)
    return ShardDirectory.open(path, sample_rate_hz)


@pytest.fixture
def make_directory(tmp_path: Path) -> Callable[..., ShardDirectory]:
    return lambda name="data", **options: write_directory(tmp_path / name, **options)


def configured(
    shards: Path | str = "x", recipe: str = "mtslvr-simclr-parallel", **options: object
) -> TrainConfig:
    """A training configuration; `encoder__width` is the flag `encoder.width`."""
    settings = {name.replace("__", "."): value for name, value in options.items()}
    return configure(recipe, {"shards": str(shards), **settings})


def write_run(
    run: Path, encoder: ResNet18, step: int = 7, normalise: str = "published", **config: object
) -> Path:
    """The checkpoint that `train` would have written of an encoder; returns the run's folder."""
    run.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.encoder.{name}": x for name, x in encoder.state_dict().items()}
    state = {
        "encoder": {"name": encoder.NAME, "shape": encoder.shape()},
        "front_end": {"name": "mtslvr", "shape": {}},
        "normalise": normalise,
        "config": {"normalise": normalise, **config},
        "step": step,
    }
    write_checkpoint(run / checkpoint_name(step), tensors, state)
    return run


def command(name: str, *args: str) -> list[str]:
    """The command line of one of our console scripts, from this environment."""
    return [str(Path(sys.executable).with_name(name)), *args]


def run(name: str, *args: str, cwd: Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Runs one of our commands to its end."""
    line = command(name, *args)
    return subprocess.run(
        line, cwd=cwd, capture_output=True, text=True, timeout=300, check=False, **options
    )
