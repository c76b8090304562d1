"""Few-shot classifiers that solve all episodes as one batch, in the span of the supports.

With n supports everything a linear classifier needs is the Gram matrix of the supports and their
products with the queries: 5-way 1-shot lives in 5 dimensions, whatever the embedding's size.

Letters: T episodes, N ways, k supports a class, n = N k supports, Q query vectors, D embedding.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from slvr.eval.episodes import Episodes
from slvr.eval.protocol import Query, Support
from slvr.eval.supports import Supports

Classifier = Callable[[Tensor, Tensor, int, torch.Generator], Tensor]
"""Scores (T, N, Q), the higher the likelier, from the Gram matrix of the supports (T, n, n), their
products with the queries (T, n, Q), the number of ways N, and a CPU generator for random choices.
Supports are sorted by class, k = n / N of each."""

_BATCH_BYTES = 1 << 28
"""What the arrays of one batch of episodes may take, about; memory does not grow with T."""


def centroid(gram: Tensor, kernel: Tensor, n_way: int, generator: torch.Generator) -> Tensor:
    """Scores of the nearest centroid: -|q - c|^2 / 2 less |q|^2, which all classes share.

    Prototypical networks' rule (Snell et al. 2017, eq. 2) on fixed features.
    """
    n_tasks, n, _ = gram.shape
    k = n // n_way
    blocks = gram.view(n_tasks, n_way, k, n_way, k)
    norms = torch.einsum("tcicj->tc", blocks) / k**2
    return kernel.view(n_tasks, n_way, k, -1).mean(2) - norms[..., None] / 2


def sgd(
    gram: Tensor, kernel: Tensor, n_way: int, generator: torch.Generator, n_epochs: int = 20
) -> Tensor:
    """Decision values of one-versus-all logistic regression by plain stochastic gradient descent.

    scikit-learn's `SGDClassifier(loss="log_loss", alpha=0, learning_rate="adaptive", eta0=0.1,
    max_iter=20, tol=1e-4, n_iter_no_change=2)`: the published protocol. Without a penalty the
    weights stay sums of supports, w = sum_i dual_i x_i, and each step moves one dual.
    """
    n_tasks, n, _ = gram.shape
    order = shuffled(n_tasks, n_way, n, generator).to(gram.device)
    dual = sgd_duals(gram, order, n_epochs)
    return dual @ (kernel + 1)


def shuffled(n_tasks: int, n_way: int, n: int, generator: torch.Generator) -> Tensor:
    """(T, N, n): a random order of the supports for each one-versus-all problem."""
    return torch.rand((n_tasks, n_way, n), generator=generator).argsort(-1)


def sgd_duals(gram: Tensor, order: Tensor, n_epochs: int = 20) -> Tensor:
    """The dual weights (T, N, n) of the one-versus-all problems after `n_epochs`.

    Args:
        gram: (T, n, n).
        order: (T, N, n), a permutation of the n supports for each problem; epoch e visits them in
            the order of its e-th power, because scikit-learn shuffles the shuffled order again
            from the same seed.
        n_epochs: passes over the supports.
    """
    n_tasks, n_way, n = order.shape
    # The intercept learns at the rate of a weight, like one on a feature that is always 1.
    rows = (gram + 1).flatten(0, 1)
    first_row = n * torch.arange(n_tasks, device=gram.device)[:, None]
    sign = _one_hot(n_way, n // n_way, gram).mul(2).sub(1).expand(n_tasks, -1, -1)

    dual = gram.new_zeros(n_tasks, n_way, n)
    decision = torch.zeros_like(dual)
    rate = gram.new_full((n_tasks, n_way), 0.1)
    best_loss = torch.full_like(rate, torch.inf)
    stale_epochs = torch.zeros_like(rate)
    visit = order
    for _ in range(n_epochs):
        loss = torch.zeros_like(rate)
        for i in torch.split(visit, 1, dim=-1):
            y = sign.gather(-1, i).squeeze(-1)
            margin = y * decision.gather(-1, i).squeeze(-1)
            loss += F.softplus(-margin)
            step = (rate * y * torch.sigmoid(-margin)).unsqueeze(-1)
            dual.scatter_add_(-1, i, step)
            decision += step * rows[first_row + i.squeeze(-1)]
        # Two epochs in a row without 1e-4 of gain a sample divide the rate by 5; below 1e-6, stop.
        stale_epochs = torch.where(loss > best_loss - 1e-4 * n, stale_epochs + 1, 0)
        best_loss = torch.minimum(best_loss, loss)
        stuck = stale_epochs >= 2
        rate = torch.where(stuck, torch.where(rate > 1e-6, rate / 5, 0), rate)
        stale_epochs = torch.where(stuck, 0, stale_epochs)
        visit = visit.gather(-1, order)
    return dual


def logistic(gram: Tensor, kernel: Tensor, n_way: int, generator: torch.Generator) -> Tensor:
    """Log-odds of multinomial logistic regression, sum of log losses + |W|^2 / 2, free intercepts.

    The objective of scikit-learn's `LogisticRegression()`, solved to machine precision by damped
    Newton steps in the n coordinates of the supports' span.
    """
    n_tasks, n, _ = gram.shape
    batch = max(1, _BATCH_BYTES // (32 * (n_way * (n + 1)) ** 2))
    if n_tasks > batch:
        parts = zip(torch.split(gram, batch), torch.split(kernel, batch), strict=True)
        return torch.cat([logistic(g, k, n_way, generator) for g, k in parts])

    # Coordinates of the supports and the queries in an orthonormal basis of the span; directions
    # that only rounding fills are left out.
    power, basis = torch.linalg.eigh(gram.double())
    scale = power.clamp_min(0).sqrt()
    inside = power > 1e-7 * power[:, -1:]
    inverse = torch.where(inside, 1 / scale.where(inside, 1), 0)
    supports = F.pad(basis * (scale * inside)[:, None], (0, 1), value=1)  # (T, n, n + 1)
    queries = (kernel.double().mT @ basis) * inverse[:, None]
    weights = _newton(supports, _one_hot(n_way, n // n_way, supports))
    return (weights @ F.pad(queries, (0, 1), value=1).mT).to(gram.dtype)


def _newton(x: Tensor, y: Tensor) -> Tensor:
    """The weights (T, N, m) of multinomial regression on x (T, n, m), y (N, n) one-hot.

    The last column of x is the constant 1, whose weight is free of the penalty.
    """
    n_tasks, _, m = x.shape
    n_way = len(y)
    penalty = x.new_ones(m)
    penalty[-1] = 0
    # Equal steps of all intercepts change nothing: a trace of curvature there keeps H invertible.
    curvature = torch.diag(penalty.clamp_min(1e-9).repeat(n_way))

    def objective(weights: Tensor) -> Tensor:
        log_p = (weights @ x.mT).log_softmax(1)
        return (penalty * weights**2).sum((1, 2)) / 2 - (y * log_p).sum((1, 2))

    weights = x.new_zeros(n_tasks, n_way, m)
    squares = (x[..., :, None] * x[..., None, :]).flatten(2)  # (T, n, m m)
    for _ in range(100):
        p = (weights @ x.mT).softmax(1)  # (T, N, n)
        gradient = (p - y) @ x + penalty * weights
        if gradient.abs().max() < 1e-7:
            break
        # d2/dW_c dW_d = sum_i p_ci ([c = d] - p_di) x_i x_i' + [c = d] penalty
        pair = torch.diag_embed(p.mT) - p.mT[..., :, None] * p.mT[..., None, :]  # (T, n, N, N)
        hessian = (pair.flatten(2).mT @ squares).view(n_tasks, n_way, n_way, m, m)
        hessian = hessian.transpose(2, 3).reshape(n_tasks, n_way * m, n_way * m) + curvature
        newton = torch.linalg.solve(hessian, gradient.flatten(1)).view_as(weights)
        # Halve the step of the episodes that it would make worse.
        slope = (newton * gradient).sum((1, 2))
        before, step = objective(weights), x.new_ones(n_tasks)
        for _ in range(30):
            after = objective(weights - step[:, None, None] * newton)
            worse = after > before - 1e-4 * step * slope + 1e-12 * before
            if not worse.any():
                break
            step = torch.where(worse, step / 2, step)
        weights = weights - step[:, None, None] * newton
    return weights


CLASSIFIERS: dict[str, Classifier] = {"sgd": sgd, "logistic": logistic, "centroid": centroid}


def few_shot_accuracies(
    features: Tensor,
    first_piece: NDArray[np.int64],
    n_pieces: NDArray[np.int64],
    episodes: Episodes,
    classifier: str,
    normalise_features: Literal["l2", "none"],
    seed: int = 0,
    device: torch.device | str = "cpu",
    *,
    support: Support = "mean",
    query: Query = "scores",
) -> NDArray[np.float64]:
    """The accuracy of each episode, (T,) in [0, 1].

    Args:
        features: (P, D) float32, one row a piece; may lie on a memory-mapped file.
        first_piece: row of each clip's first piece.
        n_pieces: pieces of each clip; its rows follow one another.
        episodes: in indices of clips.
        classifier: a name of `CLASSIFIERS`.
        normalise_features: "l2" divides each feature vector by its length.
        seed: seed of the classifier's own random choices.
        device: where they are solved.
        support: "mean" of a clip's pieces, or the one "piece" that was drawn with the task.
        query: decides by the sum of its pieces' "scores", or by majority of their "votes", ties to
            the lowest class.
    """
    n_tasks, n_way, _ = episodes.support.shape
    l2 = normalise_features == "l2"
    supports_of = Supports(features, first_piece, n_pieces, episodes, support, l2)
    asked = episodes.query.reshape(n_tasks, -1)
    query_first = torch.from_numpy(first_piece[asked])
    query_end = torch.from_numpy(n_pieces[asked].cumsum(1))  # in the row of the task's pieces

    generator = torch.Generator().manual_seed(seed)
    correct = torch.empty(n_tasks, dtype=torch.float64)
    # Episodes of about the same number of query pieces share a batch: next to no padding.
    by_length = query_end[:, -1].argsort(stable=True)
    longest = int(query_end[:, -1].max())
    n_supports = supports_of.n
    row_bytes = 4 * (features.shape[1] + 2 * n_supports)
    rows_a_task = n_supports * supports_of.most_pieces + longest
    batch = max(1, _BATCH_BYTES // (rows_a_task * row_bytes))
    for t in torch.split(by_length, batch):
        rows, owner = _query_rows(query_first[t], query_end[t])
        supports, queries = supports_of.vectors(t).to(device), features[rows].to(device)
        if l2:
            queries = F.normalize(queries, dim=-1)
        scores = CLASSIFIERS[classifier](
            supports @ supports.mT, supports @ queries.mT, n_way, generator
        )
        said = scores.mT.double().cpu()
        if query == "votes":
            said = F.one_hot(said.argmax(-1), n_way).double()
        # Padding counts for an extra query, which is dropped.
        sums = said.new_zeros(len(t), asked.shape[1] + 1, n_way)
        sums.scatter_add_(1, owner[..., None].expand_as(said), said)
        guess = sums[:, :-1].argmax(-1)
        truth = torch.arange(n_way).repeat_interleave(episodes.query.shape[2])
        correct[t] = (guess == truth).double().mean(1)
    accuracies: NDArray[np.float64] = correct.numpy()
    return accuracies


def mean_and_ci(accuracies: NDArray[np.float64]) -> tuple[float, float]:
    """The mean and the half-width of its 95% confidence interval, 1.96 std / sqrt(T)."""
    return float(accuracies.mean()), float(1.96 * accuracies.std() / np.sqrt(len(accuracies)))


def _query_rows(first: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """The feature rows of all query pieces of each episode, and whose they are.

    `first` (T, queries): row of each query's first piece; `end`: pieces up to and with the query.
    Both results are (T, R), R the most pieces of a task; padding belongs to query `queries` and
    repeats the last row.
    """
    n_tasks, n_queries = first.shape
    position = torch.arange(int(end[:, -1].max())).expand(n_tasks, -1).contiguous()
    owner = torch.searchsorted(end, position, right=True)
    inside = owner.clamp_max(n_queries - 1)
    begin = F.pad(end[:, :-1], (1, 0))
    rows = first.gather(1, inside) + position - begin.gather(1, inside)
    last = (first[:, -1] + end[:, -1] - begin[:, -1] - 1)[:, None]
    return torch.where(owner < n_queries, rows, last), owner


def _one_hot(n_way: int, k: int, like: Tensor) -> Tensor:
    """(N, n): 1 where the support is of the class."""
    return torch.eye(n_way, dtype=like.dtype, device=like.device).repeat_interleave(k, dim=1)
