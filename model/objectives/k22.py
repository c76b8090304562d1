"""Clip-level, frame-level and pitch-shift terms on one encoder (multiple sampling strategies).

Kuroyanagi and Komatsu, "Self-supervised learning method using multiple sampling strategies for
general-purpose audio representation", ICASSP 2022, arXiv 2505.18984; the clip-level term alone is
COLA (Saeed et al., ICASSP 2021, arXiv 2010.10915).
Letters: V views, B clips, L' frames, D embedding. View 0 is the anchor, view 1 the positive, view 2
the anchor shifted in pitch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slvr.model.encoders.contract import Embedded
from slvr.model.gather import gathered, rank
from slvr.model.objectives.contract import Given, Known, Objective
from slvr.model.objectives.geometry import geometry
from slvr.model.objectives.similarity import Kind, Similarity, framewise

Pairs = Literal["self", "shifted"]


class K22(Objective):
    """Three terms on a clip's anchor, positive and shifted anchor; W is shared.

    With z = fc(tanh(norm(h))) of clips, u the same of frames, g of frames with a single value, and
    the similarity s(x, y), see `Similarity`:

    | term    | loss                                                                          |
    |---------|-------------------------------------------------------------------------------|
    | `clip`  | cross-entropy of finding the positive of each anchor among those of all clips |
    | `frame` | `framewise` of the frames of each view with themselves, the mean over views;  |
    |         | or of the anchor's with the shifted anchor's                                  |
    | `pitch` | (g_anchor - g_shifted - shift)^2, the mean over clips and frames              |

    In training the clips are those of all processes.

    Args:
        dim: D.
        similarity: see `Similarity`.
        temperature: of a cosine similarity.
        pairs: what frames are compared with: `self` as in the public code, or `shifted`.
        tolerance: frames that may lie between two that belong together.
    """

    NAME = "k22"
    terms: ClassVar[tuple[str, ...]] = ("clip", "frame", "pitch")
    needs = frozenset({"shift"})
    uses_frames = True
    n_views = 3

    @dataclass(frozen=True)
    class Config:
        """Clips, frames and pitch shifts that find each other; the terms share their weights."""

        similarity: Literal["bilinear", "cosine", "cosine-code"] = "bilinear"
        """How alike two embeddings are: by a trained matrix, by their angle, or by what the public
        code computes for that, where a pair is divided by the norm of another."""
        temperature: float = 0.2
        """Of a cosine similarity, above 0."""
        pairs: Literal["self", "shifted"] = "self"
        """The frames of a view find themselves, or those of the anchor shifted in pitch."""
        tolerance: int = 0
        """Frames by which two that belong together may lie apart, 0 or more."""

        def __post_init__(self) -> None:
            if not self.temperature > 0 or self.tolerance < 0:
                raise ValueError(
                    f"--objectives.k22.temperature {self.temperature}, tolerance {self.tolerance}: "
                    "out of range; expected a temperature above 0 and a tolerance of 0 or more"
                )

    def __init__(
        self,
        dim: int,
        similarity: Kind = "bilinear",
        temperature: float = 0.2,
        pairs: Pairs = "self",
        tolerance: int = 0,
    ) -> None:
        super().__init__()
        self.pairs, self.tolerance = pairs, tolerance
        self.similarity = Similarity(dim, similarity, temperature)
        self.clip = _head(nn.Linear(dim, dim, bias=False))
        if "frame" in self.terms:
            self.frame = _head(nn.Linear(dim, dim))
        if "pitch" in self.terms:
            self.pitch = _head(nn.Linear(dim, 1))

    @classmethod
    def build(cls, config: Any, given: Given) -> K22:
        """The untrained objective of a configuration."""
        return cls(given.dim, **vars(config))

    def forward(self, h: Embedded, known: Known) -> dict[str, Tensor]:
        """The loss of each of `terms`."""
        losses = {"clip": self._clip_loss(h)}
        if "frame" in self.terms:
            losses["frame"] = self._frame_loss(h)
        if "pitch" in self.terms:
            error = self._heard(h) - known["shift"][:, None]
            losses["pitch"] = error.square().mean()
        return losses

    @torch.no_grad()
    def measures(self, h: Embedded, known: Known) -> dict[str, float]:
        """Clips whose positive is found first, and the explained share of the squared shift."""
        logits, right = self._logits(h)
        found = {"found": float((logits.argmax(1) == right).float().mean())}
        if "pitch" in self.terms:
            shift = known["shift"][:, None]
            left = (self._heard(h).mean(1, keepdim=True) - shift).square().sum()
            whole = shift.square().sum()
            if whole:
                found["r2_shift"] = 1 - float(left / whole)
        return found | geometry(*h.clips[:2])

    def _logits(self, h: Embedded) -> tuple[Tensor, Tensor]:
        """(B, all clips) similarities of anchors and positives, and the column of each's own."""
        anchors, positives = self.clip(h.clips[0]), self.clip(h.clips[1])
        own = torch.arange(len(anchors), device=anchors.device)
        if self.training:
            positives = gathered(positives).flatten(0, 1)
            own = own + rank() * len(anchors)
        return self.similarity(anchors, positives, own), own

    def _clip_loss(self, h: Embedded) -> Tensor:
        return F.cross_entropy(*self._logits(h))

    def _frame_loss(self, h: Embedded) -> Tensor:
        assert h.frames is not None, "uses_frames"
        frames = self.frame(h.frames)
        if self.pairs == "shifted":
            return framewise(frames[0], frames[2], self.similarity, self.tolerance)
        views = [framewise(view, view, self.similarity, self.tolerance) for view in frames]
        return torch.stack(views).mean()

    def _heard(self, h: Embedded) -> Tensor:
        """(B, L') how much lower the head takes the shifted anchor's frames than the anchor's.

        The sign is the public code's, though a positive shift raises the pitch.
        """
        assert h.frames is not None, "uses_frames"
        anchor, shifted = self.pitch(h.frames[0]), self.pitch(h.frames[2])
        lower: Tensor = (anchor - shifted).squeeze(-1).float()
        return lower


class ClipFrame(K22):
    """The terms `clip` and `frame` of `K22`, on two views or more."""

    NAME = "cola_frame"
    terms = ("clip", "frame")
    needs = frozenset[str]()
    n_views = 2

    @dataclass(frozen=True)
    class Config:
        """Clips and frames that find each other; the terms share their weights."""

        similarity: Literal["bilinear", "cosine", "cosine-code"] = "bilinear"
        """How alike two embeddings are: see objective k22."""
        temperature: float = 0.2
        """Of a cosine similarity, above 0."""
        tolerance: int = 0
        """Frames by which two that belong together may lie apart, 0 or more."""

        def __post_init__(self) -> None:
            if not self.temperature > 0 or self.tolerance < 0:
                raise ValueError(
                    f"--objectives.cola-frame.temperature {self.temperature}, tolerance "
                    f"{self.tolerance}: out of range; expected a temperature above 0 and a "
                    "tolerance of 0 or more"
                )


class COLA(K22):
    """The term `clip` of `K22`: COLA, on two crops of each clip."""

    NAME = "cola"
    terms = ("clip",)
    needs = frozenset[str]()
    uses_frames = False
    n_views = 2

    @dataclass(frozen=True)
    class Config:
        """Two crops of a clip that find each other by a trained similarity."""

        similarity: Literal["bilinear", "cosine", "cosine-code"] = "bilinear"
        """How alike two embeddings are: see objective k22."""
        temperature: float = 0.2
        """Of a cosine similarity, above 0."""

        def __post_init__(self) -> None:
            if not self.temperature > 0:
                raise ValueError(
                    f"--objectives.cola.temperature {self.temperature}: out of range; expected "
                    "more than 0"
                )


def _head(last: nn.Linear) -> nn.Sequential:
    """(..., D) -> (..., values of the last layer): fc(tanh(norm(h)))."""
    return nn.Sequential(nn.LayerNorm(last.in_features), nn.Tanh(), last)
