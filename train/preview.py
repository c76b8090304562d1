"""What the model gets: clips and their views as one page to look at and listen to.

Letters: N clips, B clips of a batch, V views, T samples, F bands, L frames.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from slvr.command.page import render
from slvr.command.pictures import sound_url, spectrum_url
from slvr.pipeline.augmentations.temporal import FADE_SHAPES
from slvr.pipeline.frontends.contract import FrontEnd
from slvr.pipeline.loaders.batching import Batch, Batching
from slvr.pipeline.loaders.open import open_loader
from slvr.pipeline.stage import Stage, make_views
from slvr.pipeline.views.contract import Parted, Step
from slvr.shards.clip import SAMPLE_RATE_HZ
from slvr.shards.files import write_text
from slvr.shards.read import ShardDirectory
from slvr.train.build import build_stage
from slvr.train.config import TrainConfig
from slvr.train.state import PREVIEW
from slvr.train.validation import trained_on

RANGE_DB = 80  # of the pictures, down from the loudest point of a clip and its views


class Shown(NamedTuple):
    """A clip as training sees it."""

    key: str
    wave: Tensor
    """(T,), normalised."""
    views: Tensor
    """(V, T')."""
    steps: list[Step]
    parts: dict[str, Tensor]
    """What the views are taken from besides the clip, title -> (T,)."""


def write_preview(config: TrainConfig, out: Path, n: int) -> Path:
    """Writes `preview.html` into `out` and returns its path.

    The clips are the first that training takes, with its cuts, its normalisation and its views.

    Args:
        config: of the training.
        out: the folder; made if it is not there.
        n: N, at most as many as the split has.

    Raises:
        ValueError: unusable shards, or augmentations.
    """
    data = config.data
    device = torch.device("cpu")
    directory = ShardDirectory.open(data.shards)
    rows, keep = directory.clips(data.split), trained_on(data, directory)
    n_clips = len(rows) if keep is None else int(rows["key"].map(keep).sum())
    n_samples = round(data.clip_s * SAMPLE_RATE_HZ)
    batching = Batching(data.batch, n_samples, data.seed, short=data.short)
    loader, _ = open_loader(
        directory, data.split, batching, device, resident=False, workers=0, keep=keep
    )
    stage = build_stage(
        config.parts, data.clip_s, data.normalise, device, shards=directory, short=data.short
    )
    shown: list[Shown] = []
    for step, batch in enumerate(loader.batches()):
        shown += _of_step(batch, stage, (data.seed, step))
        if len(shown) >= min(n, n_clips):
            break
    labels = dict(zip(rows["key"], rows["labels"], strict=True))
    names = directory.manifest.labels
    page = render(
        "train",
        "preview.html.j2",
        name=directory.name,
        clips=[
            {
                "key": clip.key,
                "labels": [names.get(label, label) for label in labels[clip.key]],
                "panels": _panels(clip, stage.front_end),
                "steps": _steps(clip.steps),
            }
            for clip in shown[: min(n, n_clips)]
        ],
        n_views=stage.views.n_views,
        n_panels=max(1 + len(clip.parts) + len(clip.views) for clip in shown),
        n_clips=n_clips,
        range_db=RANGE_DB,
        config=config.flat(),
    )
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / PREVIEW, page)
    return out / PREVIEW


def _of_step(batch: Batch, stage: Stage, seed: tuple[int, int]) -> list[Shown]:
    """The B clips of a training step."""
    made = make_views(batch.pcm, seed, stage.views, stage.normalisation, cut=batch.cut)
    waves, views, plan = made
    parts: list[dict[str, Tensor]] = [{} for _ in batch.keys]
    if isinstance(stage.views, Parted):
        parts = stage.views.parts(waves, plan)
    return [
        Shown(key, waves[i], views[:, i], plan.describe(i), parts[i])
        for i, key in enumerate(batch.keys)
    ]


def _panels(clip: Shown, front_end: FrontEnd) -> list[dict[str, str]]:
    """Picture and sound of a clip and its views, at one brightness and one level."""
    waves = [clip.wave, *clip.parts.values(), *clip.views]
    images = [front_end.heard(wave[None])[0].numpy() for wave in waves]  # (F, L)
    loudest_db = max(float(image.max()) for image in images)
    peak = max(float(wave.abs().max()) for wave in waves)
    return [
        {
            "title": title,
            "picture": spectrum_url(image, loudest_db, RANGE_DB),
            "audio": sound_url((0.9 * wave / max(peak, 1e-8)).numpy(), SAMPLE_RATE_HZ),
        }
        for title, image, wave in zip(
            ["clip", *clip.parts, *(f"view {v + 1}" for v in range(len(clip.views)))],
            images,
            waves,
            strict=True,
        )
    ]


def _steps(steps: list[Step]) -> list[dict[str, Any]]:
    """For each thing done its name, and per parameter its name and value in each view."""
    return [
        {
            "name": step.name,
            "params": [
                {"name": name, "values": [_value(step.name, name, view) for view in step.params]}
                for name in dict.fromkeys(name for view in step.params for name in view)
            ],
        }
        for step in steps
    ]


def _value(step: str, name: str, view: Mapping[str, float | list[float]]) -> str:
    """A parameter of a view in words; nothing where the view has none of that name."""
    numbers = np.ravel(view.get(name, [])).tolist()
    if (step, name) == ("fade", "shape"):
        return FADE_SHAPES[int(numbers[0])]
    return ", ".join(f"{x:.4g}" if isinstance(x, float) else str(x) for x in numbers)
