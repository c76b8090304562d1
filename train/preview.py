"""What the model gets: clips and their views as one page to look at and listen to.

Letters: N clips, V=2 views, T samples, M mel bands, L frames.
"""

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import torch
from matplotlib.image import imsave

from slvr.command.page import data_url, render
from slvr.pipeline.augmentations.temporal import FADE_SHAPES
from slvr.pipeline.frontends.mtslvr import MTSLVR
from slvr.pipeline.loaders.batching import Batching, cut_batch, drawn_clips
from slvr.pipeline.normalise import normalise, to_float
from slvr.pipeline.views.chain_plan import ChainPlan
from slvr.shards.clip import SAMPLE_RATE_HZ
from slvr.shards.files import write_text
from slvr.shards.read import ShardDirectory
from slvr.train.config import TrainConfig
from slvr.train.validation import trained_on
from slvr.train.views import build_views

PREVIEW = "preview.html"
RANGE_DB = 80  # of the pictures, down from the loudest point of a clip and its views

Floats = npt.NDArray[np.float32]


def write_preview(config: TrainConfig, out: Path, n: int) -> Path:
    """Writes `preview.html` into `out` and returns its path.

    The clips are the first that training would take, cut and normalised as there; the views are
    drawn as there, from the same seed.

    Args:
        config: of the training.
        out: the folder; made if it is not there.
        n: N, at most as many as the split has.

    Raises:
        ValueError: unusable shards, or augmentations.
    """
    directory = ShardDirectory.open(config.shards)
    rows, keep = directory.clips(config.split), trained_on(config)
    if keep is not None:
        rows = rows[rows["key"].map(keep)].reset_index(drop=True)
    dataset = directory.dataset(config.split, keep)
    if len(rows) == 0:
        raise ValueError(f"{config.shards}: no clips in split {config.split!r}; ingest some first")
    batching = Batching(min(n, len(rows)), round(config.clip_s * SAMPLE_RATE_HZ), config.seed)
    epochs, chosen = next(drawn_clips(len(rows), batching, 0))
    pcm = cut_batch(batching, epochs, chosen, [dataset[i] for i in chosen])

    waves = normalise(to_float(pcm), config.normalise)
    views = build_views(config)
    plan = views.sample(len(waves), (config.seed, 0, 0))
    shown = np.stack([waves, *views.apply(waves, plan)], axis=1)  # (N, 1 + V, T)
    clips = [
        {
            "key": rows["key"][row],
            "labels": [directory.manifest.labels.get(x, x) for x in rows["labels"][row]],
            "panels": _panels(shown[i]),
            "steps": _steps(plan, i),
        }
        for i, row in enumerate(chosen)
    ]
    page = render(
        "train",
        "preview.html.j2",
        name=directory.name,
        clips=clips,
        n_clips=len(rows),
        range_db=RANGE_DB,
        config=dataclasses.asdict(config),
    )
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / PREVIEW, page)
    return out / PREVIEW


def _panels(waves: Floats) -> list[dict[str, str]]:
    """Picture and sound of a clip and its views (1 + V, T), at one brightness and one level."""
    images = MTSLVR()(torch.from_numpy(waves))[:, 0].numpy()  # (1 + V, M, L)
    loudest_db = float(images.max())
    audible = 0.9 * waves / max(float(np.abs(waves).max()), 1e-8)
    return [
        {
            "title": title,
            "picture": data_url("image/png", _png(image, loudest_db)),
            "audio": data_url("audio/flac", _flac(wave)),
        }
        for title, image, wave in zip(("clip", "view 1", "view 2"), images, audible, strict=True)
    ]


def _png(image: Floats, loudest_db: float) -> bytes:
    buffer = io.BytesIO()
    imsave(
        buffer,
        image,
        vmin=loudest_db - RANGE_DB,
        vmax=loudest_db,
        cmap="magma",
        origin="lower",
        format="png",
    )
    return buffer.getvalue()


def _flac(wave: Floats) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _steps(plan: ChainPlan, clip: int) -> list[dict[str, Any]]:
    """For each link of the chain its name, and per parameter its name and value in each view."""
    return [
        {
            "name": step.name,
            "params": [
                {"name": name, "values": [_value(name, view[name]) for view in step.params]}
                for name in step.params[0]
            ],
        }
        for step in plan.describe(clip)
    ]


def _value(name: str, value: float | list[float]) -> str:
    if name == "shape":
        return FADE_SHAPES[int(np.ravel(value)[0])]
    numbers = np.ravel(value).tolist()
    return ", ".join(f"{x:.4g}" if isinstance(x, float) else str(x) for x in numbers)
