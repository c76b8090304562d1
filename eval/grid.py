"""The predictor grid of the HEAR 2021 kit: training, early stopping, selection.

Letters: G points, N rows, D features, K classes.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from slvr.eval.predictors import GridPoint, Init, Predictors

_BETAS, _ADAM_EPS = (0.9, 0.999), 1e-8

Validate = Callable[[Tensor], tuple[float, Any]]
"""Score of probabilities (N, K), the greater the better, and what else was chosen by it."""


@dataclass(frozen=True, kw_only=True)
class GridSettings:
    """How all points are trained.

    Attributes:
        hidden_dim: units of a hidden layer.
        dropout: share of hidden units that drop out.
        batch: rows of a step.
        max_epochs: passes over the rows, at most.
        check_every: epochs from one validation to the next.
        patience: validations without a better score after which a point stops.
        seed: of weights, order and dropout.
    """

    hidden_dim: int = 1024
    dropout: float = 0.1
    batch: int = 1024
    max_epochs: int = 500
    check_every: int = 3
    patience: int = 20
    seed: int = 42


@dataclass(frozen=True)
class Trained:
    """What became of a point.

    Attributes:
        point: which.
        score: the best of its validations.
        epoch: after which it was reached, counted from 1.
        chosen: what the validation chose with it.
        state: parameters then.
    """

    point: GridPoint
    score: float
    epoch: int
    chosen: Any
    state: dict[str, Tensor]


def kit_points(n: int = 8) -> list[GridPoint]:
    """The first n of the kit's 16 points in the order in which it tries them, shuffled by 42."""
    rates = (3.2e-3, 1e-3, 3.2e-4, 1e-4)
    inits: tuple[Init, ...] = ("xavier_uniform", "xavier_normal")
    points = [GridPoint(layers, lr, init) for layers, init, lr in product((1, 2), inits, rates)]
    random.Random(42).shuffle(points)
    return points[:n]


def best_of(trained: Sequence[Trained]) -> Trained:
    """The point with the greatest score; of equal ones the first."""
    return max(trained, key=lambda each: each.score)


def train_grid(
    points: Sequence[GridPoint],
    x: Tensor,
    y: Tensor,
    n_classes: int,
    x_valid: Tensor,
    validate: Validate,
    settings: GridSettings,
) -> list[Trained]:
    """What became of each point, in their order; all are trained as one.

    Args:
        points: the grid.
        x: (N, D) embeddings, on the device.
        y: (N,) int64 classes, for cross-entropy; or (N, K) of 0 and 1, for the binary one.
        n_classes: K.
        x_valid: (N', D).
        validate: scores the probabilities of x_valid.
        settings: of all of them.
    """
    return _Run(points, x, y, n_classes, settings).trained(x_valid, validate)


def probabilities(
    found: Trained, x: Tensor, n_classes: int, single: bool, settings: GridSettings
) -> Tensor:
    """(N, K) what a trained point says of embeddings (N, D)."""
    model = Predictors([found.point], x.shape[1], n_classes, settings.hidden_dim, x.device)
    model.load(0, found.state)
    return _said(model, x, single, settings.batch)[0]


class _Run:
    """The training of the points that have not stopped."""

    def __init__(
        self,
        points: Sequence[GridPoint],
        x: Tensor,
        y: Tensor,
        n_classes: int,
        settings: GridSettings,
    ) -> None:
        self._x, self._y, self._settings = x, y, settings
        self._single = y.ndim == 1
        # the order that Predictors sorts them into
        self._numbers = sorted(range(len(points)), key=lambda i: -points[i].hidden_layers)
        sizes = x.shape[1], n_classes, settings.hidden_dim, x.device
        self._model = Predictors(points, *sizes).seeded(settings.seed)
        self._mean, self._square = (torch.zeros_like(self._model.flat) for _ in range(2))
        self._rates = self._model.vector([point.lr for point in self._model.points])
        self._order = torch.Generator().manual_seed(settings.seed)
        depth = self._model.points[0].hidden_layers
        self._drops = [
            torch.Generator(x.device).manual_seed(settings.seed + layer) for layer in range(depth)
        ]
        self._n_steps = 0

    def trained(self, x_valid: Tensor, validate: Validate) -> list[Trained]:
        """All points, each with its best epoch."""
        best: dict[int, Trained] = {}
        waited = dict.fromkeys(self._numbers, 0)
        for epoch in range(1, self._settings.max_epochs + 1):
            self._epoch()
            if epoch % self._settings.check_every:
                continue
            said = _said(self._model, x_valid, self._single, self._settings.batch)
            for p, number in enumerate(self._numbers):
                score, chosen = validate(said[p])
                waited[number] += 1
                if number not in best or score > best[number].score:
                    state = self._model.state(p)
                    best[number] = Trained(self._model.points[p], score, epoch, chosen, state)
                    waited[number] = 0
            going = [p for p, i in enumerate(self._numbers) if waited[i] < self._settings.patience]
            if not going:
                break
            if len(going) < len(self._numbers):
                self._keep(going)
        return [best[i] for i in sorted(best)]

    def _epoch(self) -> None:
        """One pass over the rows in a fresh order."""
        order = torch.randperm(len(self._x), generator=self._order).to(self._x.device)
        x, y = self._x[order], self._y[order]
        step = self._settings.batch
        for rows, targets in zip(torch.split(x, step), torch.split(y, step), strict=True):
            # a batch norm has no statistics of one row
            if len(rows) > 1 or not self._model.points[0].hidden_layers:
                self._step(rows, targets)

    def _step(self, x: Tensor, y: Tensor) -> None:
        keep = 1 - self._settings.dropout
        kept = [
            x.new_empty(len(x), self._settings.hidden_dim).bernoulli_(keep, generator=drop)
            for drop in self._drops[: self._model.points[0].hidden_layers]
        ]
        flat = self._model.flat.requires_grad_()
        logits = self._model.logits(x, kept, keep)
        n = len(self._model.points)
        if self._single:
            targets = y.expand(n, -1).reshape(-1)
            loss, count = F.cross_entropy(logits.flatten(0, 1), targets, reduction="sum"), len(x)
        else:
            targets = y.expand(n, -1, -1)
            loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
            count = y.numel()
        # the mean of each point: their gradients do not meet, so a sum over points is right
        (gradient,) = torch.autograd.grad(loss, flat, loss.new_tensor(1 / count))
        self._model.flat = flat.detach()
        self._adam(gradient)

    def _adam(self, gradient: Tensor) -> None:
        """Moves p by -lr m' / (sqrt(v') + eps), corrected for their start (Kingma & Ba 2015)."""
        self._n_steps += 1
        corrected = [1 - beta**self._n_steps for beta in _BETAS]
        self._mean.lerp_(gradient, 1 - _BETAS[0])
        self._square.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
        root = corrected[1] ** 0.5
        length = self._square.sqrt().add_(_ADAM_EPS * root)
        moved = self._mean * self._rates
        self._model.flat.addcdiv_(moved, length, value=-root / corrected[0])

    def _keep(self, going: Sequence[int]) -> None:
        """Goes on with some of the points alone."""
        others = (self._mean, self._square, self._rates)
        self._model, (self._mean, self._square, self._rates) = self._model.kept(going, others)
        self._numbers = [self._numbers[p] for p in going]


@torch.no_grad()
def _said(model: Predictors, x: Tensor, single: bool, batch: int) -> Tensor:
    """(G, N, K) probabilities."""
    parts = [model.logits(rows) for rows in torch.split(x, batch)]
    logits = torch.cat(parts, dim=1)
    return logits.softmax(-1) if single else logits.sigmoid()
