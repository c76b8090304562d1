"""An encoder, a view maker and an objective of somebody else's, who has this file and no more.

Letters: V views, B clips, T samples, T' samples of a view, C channels, F bands, L frames, L' frames
of embeddings, D embedding.
"""

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slvr.model.encoders.contract import ALL, Encoder
from slvr.model.objectives.contract import Objective
from slvr.pipeline.augmentations import PitchShift
from slvr.pipeline.views.contract import Step


class MyEncoder(Encoder):
    """Frame embeddings by one convolution, and their mean."""

    NAME = "mine"
    tasks = (ALL,)
    frame_stride = 4

    @dataclass(frozen=True)
    class Config:
        """One convolution over log-mel frames."""

        dim: int = 8
        """Values of an embedding, 1 or more."""

    def __init__(self, dim, n_mels):
        super().__init__()
        self.n_mels = n_mels
        self.dims = {ALL: dim}
        self.layer = nn.Conv1d(n_mels, dim, self.frame_stride, stride=self.frame_stride)

    @classmethod
    def build(cls, config, images):
        """For the one channel of `--front-end logmel`."""
        if images.channels != 1:
            raise ValueError(f"--encoder mine: takes 1 channel, got {images.channels}")
        return cls(config.dim, images.n_mels)

    def shape(self):
        """Width and bands."""
        return {"dim": self.dims[ALL], "n_mels": self.n_mels}

    def frames(self, x, task):
        """(B, D) and (B, L', D) of (B, 1, F, L) in dB."""
        frames = torch.tanh(self.layer(x[:, 0] / 50)).mT
        return frames.mean(1), frames

    def forward(self, x, task):
        """(B, D) of (B, 1, F, L)."""
        return self.frames(x, task)[0]


@dataclass(frozen=True)
class CropPlan:
    """Where the crops begin, and how far the third view is shifted."""

    starts: Tensor
    """(2, B) samples."""
    semitones: Tensor
    """(B,)"""

    def __len__(self):
        return len(self.semitones)

    def rows(self, first, last):
        """The plan of the clips first to last - 1 alone."""
        return CropPlan(self.starts[:, first:last], self.semitones[first:last])

    def describe(self, clip):
        """Two things were done."""
        one, two = self.starts[:, clip].tolist()
        crop = [{"start": start, "semitones": 0.0} for start in (one, two)]
        third = {"start": one, "semitones": self.semitones[clip].item()}
        return [Step("crop_and_shift", [*crop, third])]

    def to_json(self):
        """Starts and semitones."""
        return json.dumps([self.starts.tolist(), self.semitones.tolist()])

    @classmethod
    def from_json(cls, text, device="cpu"):
        """What `to_json` wrote."""
        starts, semitones = json.loads(text)
        return cls(torch.tensor(starts, device=device), torch.tensor(semitones, device=device))


class Crops:
    """Two crops of a clip, and the first again at another pitch."""

    NAME = "crops"
    n_views = 3
    knows = frozenset({"pitch"})
    columns = ()
    quantities: ClassVar = {}

    @dataclass(frozen=True)
    class Config:
        """Two crops of a clip, and the first again at another pitch."""

        crop_s: float = 0.15
        """Length of a view in seconds, above 0 and shorter than the clip."""

    def __init__(self, n_samples, crop_samples):
        if not 0 < crop_samples < n_samples:
            raise ValueError(
                f"--views.crop-s: a crop of {crop_samples} samples does not fit into a clip of "
                f"{n_samples}; give a shorter one, or a longer --clip-s"
            )
        self.n_samples, self.crop_samples = n_samples, crop_samples
        self.shift = PitchShift("continuous")

    @classmethod
    def build(cls, config, waves):
        """Crops of the clips that there are."""
        return cls(waves.n_samples, round(config.crop_s * waves.sample_rate_hz))

    def sample(self, n, seed, device="cpu"):
        """All of it from the seed."""
        seed = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
        drawn = torch.Generator(device).manual_seed(seed)
        last = self.n_samples - self.crop_samples
        starts = torch.randint(last + 1, (2, n), generator=drawn, device=device)
        return CropPlan(starts, self.shift.sample(n, drawn, torch.device(device))["semitones"])

    def apply(self, waves, plan):
        """(B, T) -> (3, B, T')."""
        at = plan.starts[..., None] + torch.arange(self.crop_samples, device=waves.device)
        crops = waves.expand(2, -1, -1).gather(2, at)
        shifted = self.shift.apply(crops[0], {"semitones": plan.semitones})
        return torch.cat([crops, shifted[None]])

    def on_features(self, images, plan):
        """(V, B, C, F, L) without what is too quiet to be heard."""
        return images.clamp(min=-60)

    def known(self, plan):
        """`pitch`: (B,) of the third view, in octaves."""
        return {"pitch": plan.semitones / 12}


class Two(Objective):
    """The crops agree, and the frames of the third view tell its pitch, through one projection."""

    NAME = "two"
    terms = ("a", "b")
    n_views = 3
    needs = frozenset({"pitch"})
    uses_frames = True

    @dataclass(frozen=True)
    class Config:
        """The crops agree, and the frames tell the pitch."""

        scale: float = 1.0
        """Of the pitch."""

    def __init__(self, dim, scale):
        super().__init__()
        self.scale = scale
        self.shared = nn.Linear(dim, dim)

    @classmethod
    def build(cls, config, given):
        """As wide as the embedding."""
        return cls(given.dim, config.scale)

    def forward(self, h, known):
        """`a`: 1 - cosine of the crops; `b`: squared error of the pitch, over clips and frames."""
        one, two = self.shared(h.clips[:2])
        error = self._told(h) - self.scale * known["pitch"][:, None]
        return {"a": 1 - F.cosine_similarity(one, two).mean(), "b": error.square().mean()}

    def measures(self, h, known):
        """`right_way`: share of clips whose shift is told up or down as it is."""
        told = self._told(h).mean(1)
        return {"right_way": float((told.sign() == known["pitch"].sign()).float().mean())}

    def _told(self, h):
        """(B, L')"""
        return (self.shared(h.frames[2]) - self.shared(h.frames[0])).sum(-1)
