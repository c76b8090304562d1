"""The predictors of the HEAR 2021 kit as a plain loop over the grid: slow, and easy to believe."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slvr.eval.grid import GridSettings
from slvr.eval.predictors import GridPoint, Predictors


class Drop(nn.Module):
    """Dropout from a generator of its own."""

    def __init__(self, share: float, seed: int, device: torch.device) -> None:
        super().__init__()
        self.share, self.generator = share, torch.Generator(device).manual_seed(seed)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * torch.empty_like(x).bernoulli_(1 - self.share, generator=self.generator).div_(
            1 - self.share
        )


class Network(nn.Module):
    """What the kit builds of a point, its modules under the same names."""

    def __init__(
        self, point: GridPoint, n_features: int, n_classes: int, settings: GridSettings, device: Any
    ) -> None:
        super().__init__()
        modules: list[nn.Module] = []
        width = n_features
        for layer in range(point.hidden_layers):
            modules += [
                nn.Linear(width, settings.hidden_dim),
                nn.BatchNorm1d(settings.hidden_dim),
                Drop(settings.dropout, settings.seed + layer, device),
                nn.ReLU(),
            ]
            width = settings.hidden_dim
        self.hidden = nn.Sequential(*modules)
        self.projection = nn.Linear(width, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(self.hidden(x))


def trained_one_by_one(
    points: list[GridPoint],
    x: Tensor,
    y: Tensor,
    n_classes: int,
    x_valid: Tensor,
    validate: Callable[[Tensor], tuple[float, Any]],
    settings: GridSettings,
    counted: Callable[[int], None] = lambda n: None,
) -> list[tuple[float, int, Any]]:
    """Best score, its epoch and what was chosen with it, of each point."""
    results = []
    single = y.ndim == 1
    for point in points:
        fresh = Predictors([point], x.shape[1], n_classes, settings.hidden_dim).seeded(
            settings.seed
        )
        network = Network(point, x.shape[1], n_classes, settings, x.device)
        network.load_state_dict(fresh.state(0), strict=False)
        network.to(x.device)
        optimiser = torch.optim.Adam(network.parameters(), lr=point.lr)
        order = torch.Generator().manual_seed(settings.seed)
        best: tuple[float, int, Any] | None = None
        waited = 0
        for epoch in range(1, settings.max_epochs + 1):
            network.train()
            shuffled = torch.randperm(len(x), generator=order).to(x.device)
            for rows in shuffled.split(settings.batch):
                if len(rows) < 2 and point.hidden_layers:
                    continue
                logits = network(x[rows])
                loss_of = F.cross_entropy if single else F.binary_cross_entropy_with_logits
                loss = loss_of(logits, y[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            counted(1)
            if epoch % settings.check_every:
                continue
            network.eval()
            with torch.no_grad():
                logits = torch.cat([network(part) for part in x_valid.split(settings.batch)])
            score, chosen = validate(logits.softmax(-1) if single else logits.sigmoid())
            waited += 1
            if best is None or score > best[0]:
                best, waited = (score, epoch, chosen), 0
            if waited >= settings.patience:
                break
        assert best is not None
        results.append(best)
    return results
