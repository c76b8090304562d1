"""The joint model sums its tasks; a baseline runs its own task only."""

import pytest
import torch
from slvr.model.multitask import MultiTask

from slvr.model.encoders.resnet18 import VARIANTS, Encoder
from slvr.model.objectives.contract import AugmentationPrediction, SimCLR, SimSiam, Targets


def build(variant="parallel", *, contrastive=True, predictive=True, **options):
    torch.manual_seed(0)
    encoder = Encoder(variant, dim=16, width=8)
    return MultiTask(
        encoder,
        SimCLR(encoder.task_dim) if contrastive else None,
        AugmentationPrediction(encoder.task_dim) if predictive else None,
        **options,
    )


def batch():
    generator = torch.Generator().manual_seed(1)
    x1, x2 = (torch.randn(4, 3, 32, 33, generator=generator) for _ in range(2))
    labels = torch.randint(0, 2, (4, 7), generator=generator).float()
    return x1, x2, Targets(labels, torch.zeros(4, 0))


def batches_seen(module):
    return {int(n) for key, n in module.state_dict().items() if "num_batches_tracked" in key}


@pytest.mark.parametrize("variant", VARIANTS)
def test_total_is_contrastive_plus_weighted_predictive(variant):
    model = build(variant, predictive_weight=0.25)
    losses = model(*batch())
    torch.testing.assert_close(losses.total, losses.contrastive + 0.25 * losses.predictive)
    losses.total.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_objective_sees_the_embeddings_of_its_task(variant):
    model = build(variant)
    model.eval()
    x1, x2, targets = batch()
    losses = model(x1, x2, targets)
    for task, loss in (("contrastive", losses.contrastive), ("predictive", losses.predictive)):
        h1, h2 = model.encoder(x1, task), model.encoder(x2, task)
        torch.testing.assert_close(loss, getattr(model, task)(h1, h2, targets))


@pytest.mark.parametrize("task", ["contrastive", "predictive"])
def test_a_baseline_runs_its_own_task_only(task):
    both = build()
    one = build(contrastive=task == "contrastive", predictive=task == "predictive")
    one.encoder.load_state_dict(both.encoder.state_dict())
    getattr(one, task).load_state_dict(getattr(both, task).state_dict())
    losses, expected = one(*batch()), getattr(both(*batch()), task)
    torch.testing.assert_close(losses.total, expected)
    torch.testing.assert_close(getattr(losses, task), expected)
    assert {losses.contrastive is None, losses.predictive is None} == {True, False}
    trained = 0 if task == "contrastive" else 1
    assert batches_seen(one.encoder.end_norms[trained]) == {2}
    assert batches_seen(one.encoder.end_norms[1 - trained]) == {0}


def test_a_predictive_baseline_is_weighted_too():
    losses = build(contrastive=False, predictive_weight=0.5)(*batch())
    torch.testing.assert_close(losses.total, 0.5 * losses.predictive)


def test_views_have_batch_statistics_of_their_own():
    model = build()
    x1, x2, targets = batch()
    apart = model(x1, x2, targets).contrastive
    louder = model(x1, 10 * x2 + 3, targets).contrastive  # the first norm takes it out again
    torch.testing.assert_close(louder, apart, rtol=0.2, atol=0)


def test_any_objective_fits_either_task():
    encoder = Encoder("split", dim=16, width=8)
    model = MultiTask(encoder, SimSiam(8, width=16, bottleneck=4), SimCLR(8))
    assert torch.isfinite(model(*batch()).total)


def test_a_model_without_objectives_is_refused():
    with pytest.raises(ValueError, match="nothing to train"):
        build(contrastive=False, predictive=False)
