"""Every objective keeps the contract; each is what its paper says."""

import math

import pytest
import torch
import torch.nn.functional as F

from model.losses import nt_xent, simsiam
from model.objectives import AugmentationPrediction, Objective, SimCLR, SimSiam

OBJECTIVES = {
    "simclr": SimCLR,
    "simsiam": lambda dim: SimSiam(dim, width=32, bottleneck=8),
    "mlap": AugmentationPrediction,
}


def batch(clips=6, dim=12):
    generator = torch.Generator().manual_seed(0)
    h1, h2 = (torch.randn(clips, dim, generator=generator) for _ in range(2))
    return h1, h2, torch.randint(0, 2, (clips, 7), generator=generator).float()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_contract(name):
    torch.manual_seed(0)
    objective = OBJECTIVES[name](12)
    h1, h2, labels = batch()
    h1, h2 = h1.requires_grad_(), h2.requires_grad_()
    loss = objective(h1, h2, labels)
    assert isinstance(objective, Objective)
    assert loss.shape == ()
    loss.backward()
    for tensor in (h1, h2, *objective.parameters()):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()
    assert h1.grad.norm() > 0
    assert h2.grad.norm() > 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_same_seed_same_weights(name):
    weights = []
    for _ in range(2):
        torch.manual_seed(3)
        weights.append(OBJECTIVES[name](12).state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_order_of_clips_does_not_matter(name):
    torch.manual_seed(0)
    objective = OBJECTIVES[name](12).double()
    h1, h2, labels = (tensor.double() for tensor in batch())
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    torch.testing.assert_close(
        objective(h1[order], h2[order], labels[order]), objective(h1, h2, labels)
    )


def test_an_objective_needs_a_forward():
    class Unfinished(Objective):
        pass

    with pytest.raises(TypeError, match="forward"):
        Unfinished()


def test_simclr_projects_with_one_hidden_layer():
    torch.manual_seed(0)
    objective = SimCLR(12, temperature=0.2)
    h1, h2, labels = batch()
    first, _, second = (*objective.projector.layer1, objective.projector.layer2)
    z1, z2 = (
        F.linear(F.relu(F.linear(h, first.weight, first.bias)), second.weight, second.bias)
        for h in (h1, h2)
    )
    assert z1.shape == (6, 256)
    torch.testing.assert_close(objective(h1, h2, labels), nt_xent(z1, z2, 0.2))


def test_simsiam_normalises_each_view_alone_and_leaves_the_projection_signed():
    torch.manual_seed(0)
    objective = SimSiam(12, width=32, bottleneck=8)
    h1, h2, labels = batch()
    loss = objective(h1, h2, labels)
    assert {int(n) for key, n in objective.state_dict().items() if "tracked" in key} == {2}
    z1, z2 = objective.projector(h1), objective.projector(h2)
    assert z1.min() < 0
    torch.testing.assert_close(z1.mean(0), torch.zeros(32), atol=1e-6, rtol=0)
    p1, p2 = objective.predictor(z1), objective.predictor(z2)
    assert p1.shape == z1.shape
    torch.testing.assert_close(loss, simsiam(p1, p2, z1, z2))


def test_augmentation_prediction_normalises_the_views_together():
    torch.manual_seed(0)
    objective = AugmentationPrediction(12, n_labels=7)
    h1, h2, labels = batch()
    loss = objective(h1, h2, labels)
    assert {int(n) for key, n in objective.state_dict().items() if "tracked" in key} == {1}
    p = torch.sigmoid(objective.head(torch.cat([h1, h2])).double())
    y = torch.cat([labels, labels]).double()
    expected = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_augmentation_prediction_without_an_opinion_costs_log_2():
    objective = AugmentationPrediction(12)
    torch.nn.init.zeros_(objective.head.layer4.weight)
    torch.nn.init.zeros_(objective.head.layer4.bias)
    assert objective(*batch()).item() == pytest.approx(math.log(2), rel=1e-6)
