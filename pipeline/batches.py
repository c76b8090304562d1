"""Views and what is known of them, straight from shards, for training loops of one's own.

Letters: B clips, T samples, V views, C channels, F bands, L frames.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from slvr.pipeline.frontends.contract import FrontEnd
from slvr.pipeline.loaders.batching import Batching
from slvr.pipeline.loaders.by_clip import on_device
from slvr.pipeline.loaders.open import open_loader
from slvr.pipeline.normalise import Normalisation
from slvr.pipeline.short import Short
from slvr.pipeline.stage import Stage, known_of, make_views
from slvr.pipeline.views.contract import Known, ViewMaker
from slvr.shards.read import ShardDirectory


class Seen(NamedTuple):
    """A batch of views."""

    keys: tuple[str, ...]
    """(B,) of the clips."""
    views: Tensor
    """(V, B, T') waveforms, or with a front end (V, B, C, F, L) images; float32 on the device."""
    known: Known
    """(B, ...) by name: labels, differences, whatever the view maker knows."""


class Batches:
    """Endless batches of views: `for keys, views, known in batches`.

    Order, cuts and views are functions of seed and step. `state()` says which step comes next;
    given back, it goes on there, to the bit on one kind of device.
    """

    def __init__(
        self,
        shards: str | Path | ShardDirectory,
        views: ViewMaker,
        device: torch.device | str = "cpu",
        *,
        batch: int = 100,
        clip_s: float = 10.0,
        split: str = "train",
        seed: int = 0,
        short: Short = "loop",
        normalise: Normalisation = "published",
        front_end: FrontEnd | None = None,
        resident: bool | Literal["auto"] = "auto",
        workers: int = 1,
        state: dict[str, Any] | None = None,
    ) -> None:
        """Opens the shards.

        Args:
            shards: a shard directory, its path or URL.
            views: makes the views, on the device.
            device: where they are made.
            batch: B.
            clip_s: length of the clips in seconds; longer ones are cut at random.
            split: one of the directory's splits.
            seed: of order, cuts and views.
            short: what fills clips that are shorter: the clip again and again, silence behind it,
                or silence on both sides.
            normalise: of the waveforms.
            front_end: what the views pass last; None gives waveforms.
            resident: keep all clips decoded on the device; `auto`: if they take at most half of
                what is free there.
            workers: processes that read and decode where clips are not resident.
            state: of an earlier `state()`, to go on from.

        Raises:
            ValueError: unusable shards, or a state of other shards or settings.
        """
        directory = shards if isinstance(shards, ShardDirectory) else ShardDirectory.open(shards)
        self._device = torch.device(device)
        n_samples = round(clip_s * directory.manifest.sample_rate_hz)
        self._about = {
            "shards": directory.fingerprint,
            "split": split,
            "batch": batch,
            "n_samples": n_samples,
            "seed": seed,
            "short": short,
            "normalise": normalise,
            # of one plan: its augmentations, and what their ranges make of a draw
            "views": hashlib.sha256(views.sample(8, 0).to_json().encode()).hexdigest(),
        }
        self._step = 0 if state is None else self._resumed(state)
        self._views, self._seed, self._normalisation = views, seed, normalise
        self._stage: Stage | None = None
        if front_end is not None:
            self._stage = Stage(views, front_end.to(self._device), normalise)
        batching = Batching(batch, n_samples, seed, short=short)
        loader, _ = open_loader(
            directory, split, batching, self._device, resident=resident, workers=workers
        )
        self._batches = on_device(loader.batches(self._step), self._device)

    def __iter__(self) -> Iterator[Seen]:
        return self

    def __next__(self) -> Seen:
        batch = next(self._batches)
        seed = (self._seed, self._step)
        made = make_views(batch.pcm, seed, self._views, self._normalisation, cut=batch.cut)
        self._step += 1
        views = made.views if self._stage is None else self._stage.images(made)
        return Seen(batch.keys, views, known_of(self._views, made))

    def state(self) -> dict[str, Any]:
        """What the next batches depend on, as plain values for JSON or a checkpoint."""
        return {"step": self._step, **self._about}

    def _resumed(self, state: dict[str, Any]) -> int:
        different = [
            f"{name} {state.get(name)!r} there, {value!r} now"
            for name, value in self._about.items()
            if state.get(name) != value
        ]
        if different:
            raise ValueError(
                f"state: cannot go on from it: {'; '.join(different)}; open the batches as they "
                "were opened then"
            )
        return int(state["step"])
