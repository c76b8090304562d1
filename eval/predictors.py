"""Shallow predictors of the HEAR 2021 kit, all points of a grid as one batched model.

A predictor is hidden_layers x [linear, batch norm, dropout, ReLU] and a linear layer to the classes
(Turian et al., arXiv 2203.03022). Those of a grid see the same rows in the same order and the same
units drop out, as if each had been seeded alike, so what becomes of one does not depend on which
others there are; their first layers are one product of matrices, and Adam is a few operations on
one vector of all parameters.

Letters: G points, B rows, D features, H hidden units, K classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Init = Literal["xavier_uniform", "xavier_normal"]

_EPS, _MOMENTUM = 1e-5, 0.1  # of the batch norms
_STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True)
class GridPoint:
    """What one predictor is made with.

    Attributes:
        hidden_layers: 0 for a linear one.
        lr: of Adam.
        init: distribution of the weights; gain 1 for a layer that reads the embedding, else sqrt 2.
    """

    hidden_layers: int
    lr: float
    init: Init


@dataclass(frozen=True)
class _Part:
    """One kind of parameter of several points that follow one another."""

    name: str  # as the kit's modules are called
    first: int
    n: int
    shape: tuple[int, ...]  # of one point

    @property
    def size(self) -> int:
        return self.n * prod(self.shape)


class Predictors:
    """Predictors of the same embeddings.

    Attributes:
        points: the deepest first; where points are numbered, it is in this order.
        flat: all parameters.
    """

    def __init__(
        self,
        points: Sequence[GridPoint],
        n_features: int,
        n_classes: int,
        hidden_dim: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.points = sorted(points, key=lambda point: -point.hidden_layers)
        self.hidden_dim = hidden_dim
        self.n_features, self.n_classes = n_features, n_classes
        depths = [point.hidden_layers for point in self.points]
        self._n_at = [sum(depth > layer for depth in depths) for layer in range(max(depths) + 1)]
        self._parts = list(_parts(depths, n_features, hidden_dim, n_classes))
        self._running = [
            _Part(f"hidden.{4 * layer + 1}.{which}", 0, n, (hidden_dim,))
            for layer, n in enumerate(self._n_at[:-1])
            for which in _STATISTICS
        ]
        self.flat = torch.zeros(sum(part.size for part in self._parts), device=device)
        self._statistics = torch.zeros(sum(part.size for part in self._running), device=device)

    def seeded(self, seed: int) -> "Predictors":
        """These with fresh weights: each point by itself from the same seed."""
        for p, point in enumerate(self.points):
            self.load(p, _fresh(point, self, seed))
        return self

    def state(self, p: int) -> dict[str, Tensor]:
        """A copy of the parameters and statistics of a point, under the kit's names."""
        return {name: values.clone() for name, values in self._of(p)}

    def load(self, p: int, state: Mapping[str, Tensor]) -> None:
        """Takes over the parameters and statistics of a point."""
        for name, values in self._of(p):
            values.copy_(state[name])

    def vector(self, values: Sequence[float]) -> Tensor:
        """A vector as long as `flat`: for each parameter the value of its point."""
        filled = torch.empty_like(self.flat)
        for part, view in zip(self._parts, self._views(filled, self._parts), strict=True):
            of_points = torch.tensor(values[part.first : part.first + part.n])
            view.copy_(of_points.view(-1, *(1 for _ in part.shape)).expand_as(view))
        return filled

    def kept(
        self, chosen: Sequence[int], others: Sequence[Tensor]
    ) -> tuple["Predictors", list[Tensor]]:
        """Some points alone, and what of other vectors like `flat` is theirs."""
        points = [self.points[p] for p in chosen]
        sizes = self.n_features, self.n_classes, self.hidden_dim, self.flat.device
        made = Predictors(points, *sizes)
        smaller = [torch.empty_like(made.flat) for _ in others]
        pairs = [(self.flat, made.flat), *zip(others, smaller, strict=True)]
        for old, new in pairs:
            _copy_rows(chosen, self._parts, old, made._parts, new)
        _copy_rows(chosen, self._running, self._statistics, made._running, made._statistics)
        return made, smaller

    def logits(
        self, x: Tensor, kept: Sequence[Tensor] | None = None, keep_share: float = 1.0
    ) -> Tensor:
        """(G, B, K) logits of embeddings (B, D).

        Args:
            x: the embeddings.
            kept: training: (B, H) of 0 and 1 for each layer, the units that do not drop out.
                None: not training, statistics of the batch norms as they were learnt.
            keep_share: of them, by which the kept ones are divided.
        """
        views = iter(self._views(self.flat, self._parts))
        running = iter(self._views(self._statistics, self._running))
        # Dividing by the share of kept units commutes with the ReLU: the next product does it.
        scale = 1 / keep_share if kept is not None else 1.0
        heads: list[Tensor] = []
        hidden = x.new_empty(0)
        for layer, n in enumerate(self._n_at):
            m = (self._n_at[layer - 1] if layer else len(self.points)) - n
            hidden, done = (hidden, hidden) if layer == 0 else torch.split(hidden, [n, m], dim=1)
            if n:
                weight, bias, gain, shift = (next(views) for _ in range(4))
                if layer == 0:
                    linear = F.linear(x, weight.flatten(0, 1), bias.flatten())
                else:
                    product = _products(hidden, weight, bias, scale)
                    linear = product.transpose(0, 1).reshape(len(x), -1)
                normal = F.batch_norm(
                    linear,
                    next(running).flatten(),
                    next(running).flatten(),
                    gain.flatten(),
                    shift.flatten(),
                    kept is not None,
                    _MOMENTUM,
                    _EPS,
                )
            if m:
                weight, bias = next(views), next(views)
                if layer == 0:
                    flat = F.linear(x, weight.flatten(0, 1), bias.flatten())
                    heads.append(flat.view(len(x), m, -1).transpose(0, 1))
                else:
                    heads.append(_products(done, weight, bias, scale))
            if n:
                hidden = normal.view(len(x), n, -1)
                if kept is not None:
                    hidden = hidden * kept[layer][:, None]
                hidden = hidden.relu()
        return torch.cat(heads[::-1]) if len(heads) > 1 else heads[0]

    def _of(self, p: int) -> Iterator[tuple[str, Tensor]]:
        """Name and values of everything of a point."""
        for parts, flat in ((self._parts, self.flat), (self._running, self._statistics)):
            for part, view in zip(parts, self._views(flat, parts), strict=True):
                if part.first <= p < part.first + part.n:
                    yield part.name, view[p - part.first].detach()

    @staticmethod
    def _views(flat: Tensor, parts: Sequence[_Part]) -> list[Tensor]:
        """Each part of a vector, (n, *shape)."""
        pieces = torch.split(flat, [part.size for part in parts])
        return [piece.view(part.n, *part.shape) for piece, part in zip(pieces, parts, strict=True)]


def _parts(
    depths: Sequence[int], n_features: int, hidden_dim: int, n_classes: int
) -> Iterator[_Part]:
    """The parameters layer by layer: those of a hidden layer, then of what ends before it."""
    before = len(depths)
    for layer in range(depths[0] + 1):
        n, width = sum(depth > layer for depth in depths), hidden_dim if layer else n_features
        if n:
            yield _Part(f"hidden.{4 * layer}.weight", 0, n, (hidden_dim, width))
            yield _Part(f"hidden.{4 * layer}.bias", 0, n, (hidden_dim,))
            yield _Part(f"hidden.{4 * layer + 1}.weight", 0, n, (hidden_dim,))
            yield _Part(f"hidden.{4 * layer + 1}.bias", 0, n, (hidden_dim,))
        if before - n:
            yield _Part("projection.weight", n, before - n, (n_classes, width))
            yield _Part("projection.bias", n, before - n, (n_classes,))
        before = n


def _products(hidden: Tensor, weight: Tensor, bias: Tensor, scale: float) -> Tensor:
    """(n, B, O) of hidden (B, n, H), weight (n, O, H) and bias (n, O)."""
    return torch.baddbmm(bias[:, None], hidden.transpose(0, 1), weight.mT, alpha=scale)


def _fresh(point: GridPoint, like: Predictors, seed: int) -> dict[str, Tensor]:
    """The parameters of a point before training, as `torch.nn.Linear` and the kit have them."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    width = like.n_features
    for layer in range(point.hidden_layers + 1):
        last = layer == point.hidden_layers
        name = "projection" if last else f"hidden.{4 * layer}"
        units = like.n_classes if last else like.hidden_dim
        weight, gain = torch.empty(units, width), sqrt(2) if layer else 1.0
        if point.init == "xavier_uniform":
            torch.nn.init.xavier_uniform_(weight, gain, generator)
        else:
            torch.nn.init.xavier_normal_(weight, gain, generator)
        bound = 1 / sqrt(width)
        state[f"{name}.weight"] = weight
        state[f"{name}.bias"] = torch.empty(units).uniform_(-bound, bound, generator=generator)
        if not last:
            norm = f"hidden.{4 * layer + 1}"
            state |= {f"{norm}.weight": torch.ones(units), f"{norm}.bias": torch.zeros(units)}
            state |= {f"{norm}.running_mean": torch.zeros(units)}
            state |= {f"{norm}.running_var": torch.ones(units)}
        width = units
    return state


def _copy_rows(
    chosen: Sequence[int],
    parts: Sequence[_Part],
    old: Tensor,
    new_parts: Sequence[_Part],
    new: Tensor,
) -> None:
    """Copies what belongs to the chosen points from one vector into a smaller one."""
    from_views = Predictors._views(old, parts)
    into_views = Predictors._views(new, new_parts)
    for into, view in zip(new_parts, into_views, strict=True):
        for row in range(into.n):
            p = chosen[into.first + row]
            for part, values in zip(parts, from_views, strict=True):
                same = (part.name, part.shape) == (into.name, into.shape)
                if same and part.first <= p < part.first + part.n:
                    view[row] = values[p - part.first]
