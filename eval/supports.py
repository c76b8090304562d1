"""What stands for the labelled clips of few-shot episodes.

Letters: T episodes, t some of them, n supports of an episode, D embedding.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from slvr.eval.episodes import Episodes
from slvr.eval.protocol import Support


class Supports:
    """The feature vectors of the supports of all episodes.

    Attributes:
        n: supports of an episode.
        most_pieces: that one of them has.
    """

    def __init__(
        self,
        features: Tensor,
        first_piece: NDArray[np.int64],
        n_pieces: NDArray[np.int64],
        episodes: Episodes,
        support: Support,
        l2: bool,
    ) -> None:
        """Reads no feature yet; see `few_shot_accuracies`."""
        self._features, self._l2 = features, l2
        first, counts = first_piece[episodes.support], n_pieces[episodes.support]
        if support == "piece":
            first = first + np.floor(episodes.support_draw * counts).astype(np.int64)
            counts = np.ones_like(counts)
        self._first = torch.from_numpy(first.reshape(len(first), -1))
        self._counts = torch.from_numpy(counts.reshape(len(first), -1))
        self.n, self.most_pieces = self._first.shape[1], int(counts.max())

    def vectors(self, tasks: Tensor) -> Tensor:
        """(t, n, D) float32 of some episodes, by class: the mean over each support's pieces.

        With L2 each piece counts alike, whatever its length, and so does each support.
        """
        first, counts = self._first[tasks].flatten(), self._counts[tasks].flatten()
        ends = counts.cumsum(0)
        rows = torch.arange(int(ends[-1])) + (first - ends + counts).repeat_interleave(counts)
        pieces = self._features[rows]
        pieces = F.normalize(pieces, dim=-1) if self._l2 else pieces
        means = torch.segment_reduce(pieces, "mean", lengths=counts, axis=0)
        if self._l2 and self.most_pieces > 1:  # the bits of single pieces stay as they are
            means = F.normalize(means, dim=-1)
        return means.view(len(tasks), self.n, -1)
