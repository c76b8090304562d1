"""Every objective keeps the contract; each is what its paper says."""

import math

import pytest
import torch
import torch.nn.functional as F

from slvr.model.objectives.contract import (
    AugmentationPrediction,
    AugSelf,
    Joint,
    Objective,
    SimCLR,
    SimSiam,
    Targets,
)
from slvr.model.objectives.losses import nt_xent, simsiam

COLUMNS = (0, 1, 1, 4, 6)
OBJECTIVES = {
    "simclr": SimCLR,
    "simsiam": lambda dim: SimSiam(dim, width=32, bottleneck=8),
    "mlap": AugmentationPrediction,
    "augself": lambda dim: AugSelf(dim, COLUMNS, width=16),
    "joint": lambda dim: Joint(
        {"mlap": AugmentationPrediction(dim), "augself": AugSelf(dim, COLUMNS, width=16)}
    ),
}


def batch(clips=6, dim=12):
    generator = torch.Generator().manual_seed(0)
    h1, h2 = (torch.randn(clips, dim, generator=generator) for _ in range(2))
    labels = torch.randint(0, 2, (clips, 7), generator=generator).float()
    differences = 2 * torch.rand(clips, len(COLUMNS), generator=generator) - 1
    return h1, h2, Targets(labels, differences)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_contract(name):
    torch.manual_seed(0)
    objective = OBJECTIVES[name](12)
    h1, h2, targets = batch()
    h1, h2 = h1.requires_grad_(), h2.requires_grad_()
    loss = objective(h1, h2, targets)
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
    h1, h2, targets = batch()
    h1, h2, labels, differences = (tensor.double() for tensor in (h1, h2, *targets))
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    torch.testing.assert_close(
        objective(h1[order], h2[order], Targets(labels[order], differences[order])),
        objective(h1, h2, Targets(labels, differences)),
    )


def test_an_objective_needs_a_forward():
    class Unfinished(Objective):
        pass

    with pytest.raises(TypeError, match="forward"):
        Unfinished()


def test_simclr_projects_with_one_hidden_layer():
    torch.manual_seed(0)
    objective = SimCLR(12, temperature=0.2)
    h1, h2, targets = batch()
    first, _, second = (*objective.projector.layer1, objective.projector.layer2)
    z1, z2 = (
        F.linear(F.relu(F.linear(h, first.weight, first.bias)), second.weight, second.bias)
        for h in (h1, h2)
    )
    assert z1.shape == (6, 256)
    torch.testing.assert_close(objective(h1, h2, targets), nt_xent(z1, z2, 0.2))


def test_simsiam_normalises_each_view_alone_and_leaves_the_projection_signed():
    torch.manual_seed(0)
    objective = SimSiam(12, width=32, bottleneck=8)
    h1, h2, targets = batch()
    loss = objective(h1, h2, targets)
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
    h1, h2, targets = batch()
    loss = objective(h1, h2, targets)
    assert {int(n) for key, n in objective.state_dict().items() if "tracked" in key} == {1}
    p = torch.sigmoid(objective.head(torch.cat([h1, h2])).double())
    y = targets.labels.repeat(2, 1).double()
    expected = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_augmentation_prediction_without_an_opinion_costs_log_2():
    objective = AugmentationPrediction(12)
    torch.nn.init.zeros_(objective.head.layer4.weight)
    torch.nn.init.zeros_(objective.head.layer4.bias)
    assert objective(*batch()).item() == pytest.approx(math.log(2), rel=1e-6)


def test_augself_is_the_mean_over_clips_with_the_augmentation_summed_over_augmentations():
    """By loops, in numbers: two parameters share the weight of their augmentation."""
    torch.manual_seed(0)
    objective = AugSelf(12, COLUMNS, width=16).double()
    h1, h2, targets = batch(clips=9)
    h1, h2, labels, differences = (tensor.double() for tensor in (h1, h2, *targets))
    loss = objective(h1, h2, Targets(labels, differences))
    assert {int(n) for key, n in objective.state_dict().items() if "tracked" in key} == {1}
    rows = torch.cat([torch.cat([h1, h2], 1), torch.cat([h2, h1], 1)])
    told = objective.head(rows).tanh().tolist()
    expected = 0.0
    for augmentation in set(COLUMNS):
        errors = [
            (told[row][p] - sign * differences[clip, p].item()) ** 2
            for sign, first in ((1, 0), (-1, 9))
            for clip, row in enumerate(range(first, first + 9))
            if labels[clip, augmentation]
            for p, column in enumerate(COLUMNS)
            if column == augmentation
        ]
        expected += sum(errors) / len(errors)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_augself_does_not_see_differences_of_augmentations_that_were_not_applied():
    torch.manual_seed(0)
    objective = AugSelf(12, COLUMNS, width=16)
    h1, h2, (labels, differences) = batch()
    expected = objective(h1, h2, Targets(labels, differences))
    applied = labels[:, list(COLUMNS)]
    assert 0 < applied.sum() < applied.numel()
    for other, same in ((1 - applied, True), (applied, False)):
        loss = objective(h1, h2, Targets(labels, differences + 0.5 * other))
        assert torch.equal(loss, expected) is same
    assert objective(h1, h2, Targets(0 * labels, differences)) == 0


def test_augself_of_swapped_views_predicts_the_opposite_place_and_costs_the_same():
    torch.manual_seed(0)
    objective = AugSelf(12, COLUMNS, width=16).double()
    h1, h2, targets = batch()
    h1, h2, labels, differences = (tensor.double() for tensor in (h1, h2, *targets))
    there, back = objective.predict(h1, h2).chunk(2)
    torch.testing.assert_close(torch.cat([back, there]), objective.predict(h2, h1))
    loss = objective(h1, h2, Targets(labels, differences))
    torch.testing.assert_close(objective(h2, h1, Targets(labels, -differences)), loss)
    wrong = objective(h2, h1, Targets(labels, differences))
    assert abs(wrong - loss) > 1e-3


def test_augself_learns_differences_that_the_embeddings_hold():
    torch.manual_seed(0)
    objective = AugSelf(12, COLUMNS, width=16)
    h1, h2, targets = batch(clips=64)
    targets = Targets(targets.labels, (h1 - h2)[:, : len(COLUMNS)].clamp(-1, 1))
    optimiser = torch.optim.Adam(objective.parameters(), lr=1e-2)
    losses = []
    for _ in range(150):
        losses.append(objective(h1, h2, targets))
        losses[-1].backward()
        optimiser.step()
        optimiser.zero_grad()
    assert losses[-1] < 0.1 * losses[0]


def test_a_joint_objective_is_the_sum_of_its_parts():
    torch.manual_seed(0)
    objective = OBJECTIVES["joint"](12)
    h1, h2, targets = batch()
    parts = [part(h1, h2, targets) for part in objective.parts.values()]
    torch.testing.assert_close(objective(h1, h2, targets), parts[0] + parts[1])
    assert {key.split(".")[1] for key in objective.state_dict()} == {"mlap", "augself"}
