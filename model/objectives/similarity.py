"""How alike two embeddings are, and the cross-entropy of frames that find each other.

Letters: B clips, N other clips, L' frames, K other frames, D embedding.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Kind = Literal["bilinear", "cosine", "cosine-code"]
PAIRS_AT_ONCE = 2**23
"""Similarities of frames that are there at one time, 32 MB: those of long clips are many."""


class Similarity(nn.Module):
    """(B, D) and (N, D) embeddings -> (B, N) similarities, float32 or better.

    | kind          | s(x, y_j), where y_own is what belongs to x                     |
    |---------------|-----------------------------------------------------------------|
    | `bilinear`    | (W x) . y_j, without a temperature                              |
    | `cosine`      | x . y_j / (|x| |y_j| t)                                         |
    | `cosine-code` | x . y_j / (|x| |y_own| t): what the public code of K22 computes |

    Under autocast too: exponents of bfloat16 products stray by more than the losses differ.

    Args:
        dim: D.
        kind: one of the three.
        temperature: t.
    """

    def __init__(self, dim: int, kind: Kind = "bilinear", temperature: float = 0.2) -> None:
        super().__init__()
        self.kind: Kind = kind
        self.temperature = temperature
        self.bilinear = nn.Linear(dim, dim, bias=False) if kind == "bilinear" else None

    def forward(self, x: Tensor, y: Tensor, own: Tensor) -> Tensor:
        """The similarities.

        Args:
            x: (..., B, D).
            y: (..., N, D).
            own: (B,) the row of y that belongs to each row of x.
        """
        with torch.autocast(x.device.type, enabled=False):
            x, y = (z.to(torch.promote_types(z.dtype, torch.float32)) for z in (x, y))
            if self.bilinear is not None:
                return self.bilinear(x) @ y.mT  # type: ignore[no-any-return]
            x = x / _norm(x)
            if self.kind == "cosine":
                y = y / _norm(y)
            else:
                x = x / _norm(y.index_select(-2, own))
            return x @ y.mT / self.temperature


def _norm(x: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm.clamp(min=1e-8)


def framewise(u: Tensor, v: Tensor, similarity: Similarity, tolerance: int = 0) -> Tensor:
    """The mean cross-entropy of the frames of each clip finding their own among its others.

    The mean over clips and frames i of
    `-mean_{|j - i| <= tolerance} s(u_i, v_j) + log sum_k exp s(u_i, v_k)`.
    Where there are more than `PAIRS_AT_ONCE` similarities they are made by blocks of frames, and
    once more on the way back; memory then grows with the frames, not with their square.

    Args:
        u: (B, L', D).
        v: (B, L', D) of the same clips.
        similarity: s.
        tolerance: frames.
    """
    n_clips, n_frames = u.shape[:2]
    own = torch.arange(n_frames, device=u.device)
    if n_clips * n_frames * n_frames <= PAIRS_AT_ONCE:
        return _entropies(u, v, similarity, own, tolerance) / (n_clips * n_frames)
    rows = max(1, min(n_frames, PAIRS_AT_ONCE // n_frames))
    clips = max(1, PAIRS_AT_ONCE // (rows * n_frames))
    total = u.new_zeros((), dtype=torch.promote_types(u.dtype, torch.float32))
    for some_u, some_v in zip(torch.split(u, clips), torch.split(v, clips), strict=True):
        parts = zip(torch.split(some_u, rows, dim=1), torch.split(own, rows), strict=True)
        for part, of_part in parts:
            total = total + checkpoint(
                *(_entropies, part, some_v, similarity, of_part, tolerance), use_reentrant=False
            )
    return total / (n_clips * n_frames)


def _entropies(u: Tensor, v: Tensor, similarity: Similarity, own: Tensor, tolerance: int) -> Tensor:
    """The sum of the cross-entropies of frames u (B, R, D), which are number `own` (R,), in v."""
    s = similarity(u, v, own)
    near = (own[:, None] - torch.arange(v.shape[1], device=v.device)).abs() <= tolerance
    right = (s * near).sum(-1) / near.sum(-1)
    total: Tensor = (s.logsumexp(-1) - right).sum()
    return total
