"""The batched predictor grid against a plain loop, and against the kit's own numbers."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hear_by_hand import trained_one_by_one
from slvr.eval.grid import GridSettings, best_of, kit_points, probabilities, train_grid
from slvr.eval.predictors import GridPoint, Predictors

FIXTURES = Path(__file__).parents[2] / "shared" / "fixtures" / "k22"
FOUND = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the kit's own numbers are not here")


def clusters(n: int, seed: int, single: bool, n_classes: int = 5, dim: int = 12):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(n_classes, dim))
    if single:
        y = rng.integers(0, n_classes, n)
        x = centres[y]
    else:
        y = (rng.random((n, n_classes)) < 0.3).astype(np.float32)
        x = y @ centres
    x = x + 0.8 * rng.normal(size=(n, dim))
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("seed", [42, 5])
def test_the_grid_is_the_loop_of_its_points(single: bool, seed: int) -> None:
    x, y = clusters(130, seed, single)
    x_valid, y_valid = clusters(90, seed + 1, single)

    def validate(said):
        # a smooth score, which rounding does not move from one epoch to another
        right = said[torch.arange(90), y_valid] if single else 1 - (said - y_valid).abs().mean(1)
        return float(right.log().mean()), len(said)

    points = [*kit_points(4), GridPoint(0, 1e-2, "xavier_normal")]
    assert {point.hidden_layers for point in points} == {0, 1, 2}
    settings = GridSettings(
        hidden_dim=16, batch=64, max_epochs=60, check_every=2, patience=2, seed=seed
    )
    ours = train_grid(points, x, y, 5, x_valid, validate, settings)
    theirs = trained_one_by_one(points, x, y, 5, x_valid, validate, settings)
    assert [each.point for each in ours] == points
    assert len({epoch for _, epoch, _ in theirs}) > 1  # some stopped before others
    for found, (score, epoch, chosen) in zip(ours, theirs, strict=True):
        assert (found.epoch, found.chosen) == (epoch, chosen)
        # biases before a batch norm have no gradient but rounding, which Adam makes steps of
        assert found.score == pytest.approx(score, rel=5e-3)
        again = validate(probabilities(found, x_valid, 5, single, settings))[0]
        assert again == pytest.approx(found.score, rel=1e-5)
    best = max(range(len(points)), key=lambda i: theirs[i][0])
    assert best_of(ours) is ours[best]


def test_a_point_does_not_depend_on_the_others_of_the_grid() -> None:
    (x, y), (x_valid, y_valid) = clusters(70, 0, True), clusters(40, 1, True)

    def validate(said):
        return float(said[torch.arange(40), y_valid].log().mean()), None

    settings = GridSettings(hidden_dim=8, batch=32, max_epochs=6, check_every=3)
    points = kit_points(6)
    together = train_grid(points, x, y, 5, x_valid, validate, settings)
    for point, found in zip(points, together, strict=True):
        (alone,) = train_grid([point], x, y, 5, x_valid, validate, settings)
        assert alone.epoch == found.epoch
        assert alone.score == pytest.approx(found.score, rel=5e-3)


def test_of_equal_validations_the_first_counts_and_patience_ends_the_training() -> None:
    x, y = clusters(20, 0, True)
    asked = []
    settings = GridSettings(hidden_dim=4, batch=8, max_epochs=100, check_every=3, patience=4)
    points = kit_points(2)
    found = train_grid(points, x, y, 5, x, lambda _: (asked.append(1) or 0.5, "x"), settings)
    assert [each.epoch for each in found] == [3, 3]
    assert len(asked) == 2 * 5  # the first, and four that were no better
    assert best_of(found) is found[0]


def test_the_points_are_those_that_the_kit_tries() -> None:
    points = kit_points(16)
    assert len(set(points)) == 16 and kit_points() == points[:8]
    assert {point.lr for point in points} == {3.2e-3, 1e-3, 3.2e-4, 1e-4}


def filled(key: str, like: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(int(hashlib.sha256(key.encode()).hexdigest()[:8], 16))
    leaf, shape = key.rsplit(".", 1)[-1], tuple(like.shape)
    if leaf == "running_var":
        return 1 + 0.1 * torch.rand(shape, generator=generator)
    values = torch.randn(shape, generator=generator)
    if leaf == "weight" and len(shape) == 2:
        return values * math.sqrt(2 / shape[1])
    return 1 + 0.1 * values if leaf == "weight" else 0.1 * values


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@FOUND
def test_logits_losses_and_gradients_are_the_kits() -> None:
    facts = json.loads((FIXTURES / "hear_eval.json").read_text())["predictor"]
    arrays = np.load(FIXTURES / "hear_eval.npz")
    x, y = normal(395, 7, 24), (normal(396, 7, 11) > 0.3).float()
    points = [GridPoint(layers, 1e-3, "xavier_normal") for layers in (1, 0, 2)]
    model = Predictors(points, 24, 11, 32)
    for p in range(3):
        model.load(p, {name: filled(name, values) for name, values in model.state(p).items()})
    model.flat.requires_grad_()
    evaluated = model.logits(x).detach()
    trained = model.logits(x, [torch.ones(7, 32)] * 2)
    losses = F.binary_cross_entropy_with_logits(
        trained, y.expand(3, -1, -1), reduction="none"
    ).mean((1, 2))
    gradients = Predictors(points, 24, 11, 32)
    (gradients.flat,) = torch.autograd.grad(losses.sum(), model.flat)
    for p, point in enumerate(model.points):
        name = f"h{point.hidden_layers}"
        for mode, logits in (("eval", evaluated), ("train", trained.detach())):
            want = arrays[f"predictor_{name}_{mode}_logits"]
            np.testing.assert_allclose(logits[p].numpy(), want, atol=2e-5 * want.std(), rtol=0)
        assert float(losses[p].detach()) == pytest.approx(facts[name]["bce"], rel=1e-5)
        of_point = gradients.state(p)
        for key, norm in facts[name]["grad_norms"].items():
            assert float(of_point[key].norm()) == pytest.approx(norm, rel=2e-3, abs=1e-7)
    labels = torch.tensor(facts["multiclass_ce"]["labels"])
    loss = float(F.cross_entropy(evaluated[0], labels))
    assert loss == pytest.approx(facts["multiclass_ce"]["value"], rel=1e-5)
