"""What an encoder is: features of clips in, an embedding for each task out.

Letters: V views, B clips, C channels, F bands, L frames, L' frames of embeddings, D embedding.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

ALL = "all"
"""The name under which every encoder gives the embeddings of all its tasks side by side."""


class Images(NamedTuple):
    """What a front end gives an encoder."""

    channels: int = 3
    n_mels: int = 128
    hop_s: float = 0.032


class Embedded(NamedTuple):
    """Embeddings of the views of a batch for one task."""

    clips: Tensor
    """(V, B, D)"""
    frames: Tensor | None = None
    """(V, B, L', D), of an encoder that has frames."""


class Encoder(nn.Module, ABC):
    """`encoder(x, task)`: (B, C, F, L) float32 features -> (B, D) embedding for that task.

    A new encoder is one subclass and one line of the registry. Its class also has `NAME`, `Config`
    (a frozen dataclass, its flags) and `build`.

    Attributes:
        tasks: what has an embedding of its own, in the order of `all`; `("all",)` where one
            embedding serves every task.
        dims: D of every name that `forward` takes, those of `tasks` and `all` at least.
        frame_stride: input frames a frame embedding; None where there are no frames.
        bn_views: `separate`: each view is a pass of its own, with its own batch statistics;
            `together`: the views are one batch.
    """

    NAME: ClassVar[str]
    Config: ClassVar[type[Any]]

    tasks: tuple[str, ...]
    dims: Mapping[str, int]
    frame_stride: int | None = None
    bn_views: Literal["separate", "together"] = "separate"

    @classmethod
    @abstractmethod
    def build(cls, config: Any, images: Images) -> Encoder:
        """The untrained encoder of a configuration, for the images of a front end."""

    @abstractmethod
    def forward(self, x: Tensor, task: str) -> Tensor:
        """(B, C, F, L) -> (B, dims[task]).

        Raises:
            ValueError: unknown task.
        """

    @abstractmethod
    def shape(self) -> dict[str, Any]:
        """What `type(self)(**shape)` makes the same network of; plain values, for a checkpoint."""

    def frames(self, x: Tensor, task: str) -> tuple[Tensor, Tensor]:
        """Clip and frame embeddings, (B, D) and (B, L', D); only where `frame_stride` is set."""
        raise TypeError(f"{self.NAME} has no frames")

    def embed(self, views: Tensor, tasks: Sequence[str]) -> dict[str, Embedded]:
        """Embeddings of (V, B, C, F, L) views for each of the tasks, by task."""
        passes = views if self.bn_views == "separate" else views.flatten(0, 1)[None]
        found = {}
        for task in tasks:
            if self.frame_stride is None:
                clips = torch.cat([self(x, task) for x in passes])
                frames = None
            else:
                each = [self.frames(x, task) for x in passes]
                clips = torch.cat([of_clips for of_clips, _ in each])
                frames = torch.cat([of_frames for _, of_frames in each])
                frames = frames.view(*views.shape[:2], *frames.shape[1:])
            found[task] = Embedded(clips.view(*views.shape[:2], -1), frames)
        return found

    def folded(self) -> Encoder:
        """A frozen copy to embed with, the same embeddings up to rounding, as fast as it can be."""
        return copy.deepcopy(self).eval().requires_grad_(False)

    def untrained(self, seed: int) -> Encoder:
        """A freshly initialised encoder of the same shape; the same seed gives the same one."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed seeds the GPUs' too
            return type(self)(**self.shape())
