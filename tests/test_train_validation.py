import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from model.encoder import Encoder
from model.multitask import MultiTask
from model.objectives import AugmentationPrediction, SimCLR
from train.validation import EarlyStop, geometry, validate

NAMES = [f"op_{k}" for k in range(7)]


def test_geometry_of_embeddings_that_fill_the_sphere() -> None:
    """Random unit vectors: distance 2 between strangers, so uniformity -4; spread 1."""
    torch.manual_seed(0)
    h = torch.randn(400, 300)
    found = geometry(h, 3 * h)
    assert found["alignment"] == pytest.approx(0, abs=1e-6)
    assert found["uniformity"] == pytest.approx(-4, abs=0.1)
    assert found["spread"] == pytest.approx(1, abs=0.02)
    assert geometry(h, -h)["alignment"] == pytest.approx(4, abs=1e-5)


def test_geometry_of_collapsed_embeddings() -> None:
    h = torch.ones(50, 30) + 1e-4 * torch.randn(50, 30)
    found = geometry(h, h)
    assert found["spread"] < 0.01 and found["uniformity"] == pytest.approx(0, abs=1e-3)


def test_validation_means_the_losses_and_leaves_the_model_alone() -> None:
    torch.manual_seed(0)
    encoder = Encoder("parallel", dim=16, width=4)
    model = MultiTask(encoder, SimCLR(8), AugmentationPrediction(8))
    batches = [
        (torch.randn(6, 3, 32, 33), torch.randn(6, 3, 32, 33), torch.randint(0, 2, (6, 7)).float())
        for _ in range(3)
    ]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = validate(model, NAMES, batches)
    assert model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    model.eval()
    with torch.no_grad():
        losses = [model(*batch) for batch in batches]
        logits = [
            model.predictive.head(model.encoder(x, "predictive")) for b in batches for x in b[:2]
        ]
    for name in ("total", "contrastive", "predictive"):
        expected = np.mean([float(getattr(loss, name)) for loss in losses])
        assert found[name] == pytest.approx(expected, rel=1e-5)
    truth = torch.cat([b[2] for b in batches for _ in range(2)])
    for k, name in enumerate(NAMES):
        expected = average_precision_score(truth[:, k], torch.cat(logits)[:, k])
        assert found[f"ap_{name}"] == pytest.approx(expected)


def test_early_stop_counts_from_the_last_progress() -> None:
    stop = EarlyStop()
    told = [stop.update(loss, delta=0.1) for loss in (3.0, 2.0, 1.95, 2.5, 1.8, 1.79)]
    assert told == [True, True, False, False, True, False]
    assert stop == EarlyStop(best=1.8, waited=1) and not math.isinf(stop.best)
