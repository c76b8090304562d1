"""Every objective is what its paper says; what all of them keep is in test_model_doors.py."""

import math

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score

from slvr.model.encoders.contract import Embedded
from slvr.model.objectives.augself import AugSelf
from slvr.model.objectives.contract import Objective
from slvr.model.objectives.geometry import ROWS, geometry
from slvr.model.objectives.losses import nt_xent, simsiam
from slvr.model.objectives.mlap import MLAP
from slvr.model.objectives.simclr import SimCLR
from slvr.model.objectives.simsiam import SimSiam

LABELS = ("a", "b", "c", "d", "e", "f", "g")
QUANTITIES = {"a.x": 0, "b.x": 1, "b.y": 1, "e.x": 4, "g.x": 6}
COLUMNS = list(QUANTITIES.values())
OBJECTIVES = {
    "simclr": SimCLR,
    "simsiam": lambda dim: SimSiam(dim, width=32, bottleneck=8),
    "mlap": lambda dim: MLAP(dim, LABELS),
    "augself": lambda dim: AugSelf(dim, QUANTITIES, width=16),
}


def made(name, dim=12):
    torch.manual_seed(0)
    return OBJECTIVES[name](dim)


def batch(clips=6, dim=12, dtype=torch.float32):
    """Views (2, B, D), and what is known of them."""
    generator = torch.Generator().manual_seed(0)
    views = torch.randn(2, clips, dim, generator=generator)
    labels = torch.randint(0, 2, (clips, len(LABELS)), generator=generator).float()
    differences = 2 * torch.rand(clips, len(COLUMNS), generator=generator) - 1
    known = {"labels": labels.to(dtype), "differences": differences.to(dtype)}
    return Embedded(views.to(dtype)), known


def value(losses):
    """The loss of an objective of one term."""
    (loss,) = losses.values()
    return loss


def batches_seen(objective):
    return {int(n) for key, n in objective.state_dict().items() if "tracked" in key}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_order_of_clips_does_not_matter(name):
    objective = made(name).double()
    h, known = batch(dtype=torch.float64)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    mixed = {key: tensor[order] for key, tensor in known.items()}
    torch.testing.assert_close(objective(Embedded(h.clips[:, order]), mixed), objective(h, known))


def test_an_objective_needs_a_forward():
    class Unfinished(Objective):
        @classmethod
        def build(cls, config, given):
            return cls()

    with pytest.raises(TypeError, match="forward"):
        Unfinished()


def test_simclr_projects_with_one_hidden_layer():
    torch.manual_seed(0)
    objective = SimCLR(12, temperature=0.2)
    h, known = batch()
    first, _, second = (*objective.projector.layer1, objective.projector.layer2)
    z1, z2 = (
        F.linear(F.relu(F.linear(x, first.weight, first.bias)), second.weight, second.bias)
        for x in h.clips
    )
    assert z1.shape == (6, 256)
    torch.testing.assert_close(objective(h, known), {"nt_xent": nt_xent(z1, z2, 0.2)})


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_that_divides_by_nothing_is_refused(temperature):
    with pytest.raises(ValueError, match=r"temperature.*out of range; expected more than 0"):
        SimCLR.Config(temperature)


@pytest.mark.parametrize(
    ("config", "name"),
    [(SimSiam.Config, "width"), (SimSiam.Config, "bottleneck"), (AugSelf.Config, "width")],
)
def test_layers_without_values_are_refused(config, name):
    with pytest.raises(ValueError, match=rf"\.{name} 0: out of range; expected 1 or more"):
        config(**{name: 0})


def test_simsiam_normalises_each_view_alone_and_leaves_the_projection_signed():
    objective = made("simsiam")
    h, known = batch()
    loss = objective(h, known)
    assert batches_seen(objective) == {2}
    z1, z2 = (objective.projector(x) for x in h.clips)
    assert z1.min() < 0
    torch.testing.assert_close(z1.mean(0), torch.zeros(32), atol=1e-6, rtol=0)
    p1, p2 = objective.predictor(z1), objective.predictor(z2)
    assert p1.shape == z1.shape
    torch.testing.assert_close(loss, {"cosine": simsiam(p1, p2, z1, z2)})


def test_mlap_normalises_the_views_together():
    objective = made("mlap")
    h, known = batch()
    loss = value(objective(h, known))
    assert batches_seen(objective) == {1}
    p = torch.sigmoid(objective.head(torch.cat([*h.clips])).double())
    y = known["labels"].repeat(2, 1).double()
    expected = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_mlap_without_an_opinion_costs_log_2():
    objective = made("mlap")
    torch.nn.init.zeros_(objective.head.layer4.weight)
    torch.nn.init.zeros_(objective.head.layer4.bias)
    assert value(objective(*batch())).item() == pytest.approx(math.log(2), rel=1e-6)


@torch.no_grad()
def test_mlap_measures_the_precision_of_each_augmentation_that_there_is():
    objective = made("mlap").eval()
    h, known = batch(clips=20)
    known["labels"][:, 2] = 0
    found = objective.measures(h, known)
    assert list(found) == [f"ap_{name}" for name in LABELS if name != "c"]
    scores = objective.head(torch.cat([*h.clips]))
    for k, name in enumerate(LABELS):
        if name != "c":
            truth = known["labels"][:, k].repeat(2)
            expected = average_precision_score(truth, scores[:, k])
            assert found[f"ap_{name}"] == pytest.approx(expected)


def test_augself_is_the_mean_over_clips_with_the_augmentation_summed_over_augmentations():
    """By loops, in numbers: two parameters share the weight of their augmentation."""
    objective = made("augself").double()
    h, known = batch(clips=9, dtype=torch.float64)
    h1, h2 = h.clips
    loss = value(objective(h, known))
    assert batches_seen(objective) == {1}
    rows = torch.cat([torch.cat([h1, h2], 1), torch.cat([h2, h1], 1)])
    told = objective.head(rows).tanh().tolist()
    expected = 0.0
    for augmentation in set(COLUMNS):
        errors = [
            (told[row][p] - sign * known["differences"][clip, p].item()) ** 2
            for sign, first in ((1, 0), (-1, 9))
            for clip, row in enumerate(range(first, first + 9))
            if known["labels"][clip, augmentation]
            for p, column in enumerate(COLUMNS)
            if column == augmentation
        ]
        expected += sum(errors) / len(errors)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_augself_does_not_see_differences_of_augmentations_that_were_not_applied():
    objective = made("augself")
    h, known = batch()
    expected = value(objective(h, known))
    applied = known["labels"][:, COLUMNS]
    assert 0 < applied.sum() < applied.numel()
    for other, same in ((1 - applied, True), (applied, False)):
        moved = known | {"differences": known["differences"] + 0.5 * other}
        assert torch.equal(value(objective(h, moved)), expected) is same
    assert value(objective(h, known | {"labels": 0 * known["labels"]})) == 0


def test_augself_of_swapped_views_predicts_the_opposite_place_and_costs_the_same():
    objective = made("augself").double()
    h, known = batch(dtype=torch.float64)
    swapped = Embedded(h.clips.flip(0))
    there, back = objective._predicted(h).chunk(2)
    torch.testing.assert_close(torch.cat([back, there]), objective._predicted(swapped))
    loss = value(objective(h, known))
    opposite = known | {"differences": -known["differences"]}
    torch.testing.assert_close(value(objective(swapped, opposite)), loss)
    assert abs(value(objective(swapped, known)) - loss) > 1e-3


def test_augself_learns_differences_that_the_embeddings_hold():
    objective = made("augself")
    h, known = batch(clips=64)
    known["differences"] = (h.clips[0] - h.clips[1])[:, : len(COLUMNS)].clamp(-1, 1)
    optimiser = torch.optim.Adam(objective.parameters(), lr=1e-2)
    losses = []
    for _ in range(150):
        losses.append(value(objective(h, known)))
        losses[-1].backward()
        optimiser.step()
        optimiser.zero_grad()
    assert losses[-1] < 0.1 * losses[0]


@torch.no_grad()
def test_augself_measures_the_explained_share_of_each_difference_that_there_is():
    objective = made("augself")
    h, known = batch(clips=20)
    torch.nn.init.zeros_(objective.head.layer3.weight)
    torch.nn.init.zeros_(objective.head.layer3.bias)
    assert objective.measures(h, known) == {f"r2_{name}": 0 for name in QUANTITIES}
    known["differences"].fill_(0.5)
    objective.head.layer3.bias.fill_(math.atanh(0.5))  # right one way round, wrong the other
    expected = 1 - (0 + 1) / (0.25 + 0.25)
    for explained in objective.measures(h, known).values():
        assert explained == pytest.approx(expected)
    known["labels"][:, 1] = 0
    assert list(objective.measures(h, known)) == ["r2_a.x", "r2_e.x", "r2_g.x"]


def plain_geometry(h1, h2, pairs):
    """By loops over clips, in float64, as the papers define it."""
    z1, z2 = (h.double() / h.double().norm(dim=1, keepdim=True) for h in (h1, h2))
    apart = [(a - b).square().sum() for a, b in zip(z1, z2, strict=True)]
    potentials = [torch.exp(-2 * (z1[i] - z1[j]).square().sum()) for i, j in pairs]
    deviation = (z1 - z1.mean(0)).square().mean(0).sqrt()
    return {
        "alignment": float(sum(apart) / len(apart)),
        "uniformity": math.log(sum(potentials) / len(potentials)),
        "spread": float(deviation.mean()) * math.sqrt(z1.shape[1]),
    }


@pytest.mark.parametrize("rows", [4, 5, 9, 10, ROWS])
def test_geometry_is_its_definition_of_as_many_clips_as_stand_together(rows, monkeypatch):
    """Ten clips; nine leave a last one without a pair."""
    monkeypatch.setattr("slvr.model.objectives.geometry.ROWS", rows)
    h1, h2 = batch(clips=10)[0].clips
    h1 = h1 + 2 * h1[:1]  # not all directions alike
    pairs = [(i, j) for j in range(10) for i in range(j) if i // rows == j // rows]
    assert geometry(h1, h2) == pytest.approx(plain_geometry(h1, h2, pairs), rel=1e-5)


def test_geometry_of_more_clips_than_stand_together_is_near_that_of_all_pairs():
    h1, h2 = batch(clips=ROWS + 300)[0].clips
    z = F.normalize(h1.double(), dim=1)
    every_pair = torch.pdist(z).square().mul(-2).exp().mean().log().item()
    assert geometry(h1, h2)["uniformity"] == pytest.approx(every_pair, rel=0.01)


def test_geometry_of_embeddings_that_fill_the_sphere():
    """Random unit vectors: distance 2 between strangers, so uniformity -4; spread 1."""
    h = torch.randn(400, 300, generator=torch.Generator().manual_seed(0))
    found = geometry(h, 3 * h)
    assert found["alignment"] == pytest.approx(0, abs=1e-6)
    assert found["uniformity"] == pytest.approx(-4, abs=0.1)
    assert found["spread"] == pytest.approx(1, abs=0.02)
    assert geometry(h, -h)["alignment"] == pytest.approx(4, abs=1e-5)


def test_geometry_of_collapsed_embeddings():
    h = torch.ones(50, 30) + 1e-4 * torch.randn(50, 30, generator=torch.Generator().manual_seed(0))
    found = geometry(h, h)
    assert found["spread"] < 0.01
    assert found["uniformity"] == pytest.approx(0, abs=1e-3)


def test_geometry_does_not_hide_that_there_is_none():
    h = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    assert math.isnan(geometry(h[:1], h[:1])["uniformity"])  # no pair
    h[2] = torch.nan
    assert all(math.isnan(value) for value in geometry(h, h).values())


@torch.no_grad()
@pytest.mark.parametrize("name", ["simclr", "simsiam"])
def test_contrastive_objectives_measure_the_geometry_of_their_embeddings(name):
    h, known = batch()
    assert made(name).measures(h, known) == geometry(*h.clips)
