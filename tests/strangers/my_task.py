"""A downstream task of somebody else's, in a file of its own."""

from dataclasses import dataclass

import torch

from slvr.eval.config import Models
from slvr.eval.tables import Table
from slvr.eval.tasks.contract import Presented, Task


@dataclass(frozen=True)
class Distance:
    """How far apart the clips lie."""

    n_clips: int
    distance: float
    dim: int


class MyTask(Task):
    """How far apart the clips lie."""

    NAME = "apart"

    @dataclass(frozen=True, kw_only=True)
    class Config(Models):
        """Mean distance of the clips from each other."""

        n_clips: int = 100
        """Clips that are looked at, at most; at least 2."""

    def score(self, model, data, features, device):
        """One row."""
        means = features[data.split].clip_means[: self.config.n_clips]
        distance = float(torch.pdist(means).mean())
        return [Distance(len(means), distance, means.shape[1])]

    def present(self, results):
        """A table of all of them."""
        rows = [[row.model, row.set, f"{row.distance:.3f}"] for row in results.itertuples()]
        return Presented("Apart", "Distances", [Table("Distance", ["model", "set", ""], rows)])
