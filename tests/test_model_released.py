"""Published state dicts load, and give the original implementation's numbers.

Weights are not stored anywhere: `filled` makes every tensor a function of its published name. What
needs the original's numbers is skipped where they are absent; `data/model_golden.npz` and
`data/model_steps.npz` hold our own, made by this file (`python tests/test_model_released.py`) when
both sets agreed.
"""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from slvr.model.encoders.contract import Encoder
from slvr.model.encoders.resnet18 import TASKS, VARIANTS, ResNet18
from slvr.model.learner import Head, Learner
from slvr.model.objectives.mlap import MLAP
from slvr.model.objectives.simclr import SimCLR
from slvr.model.objectives.simsiam import SimSiam
from slvr.model.released import load_released, load_released_joint, published_names

FIXTURES = Path(__file__).parents[2] / "shared" / "fixtures"
GOLDEN = Path(__file__).parent / "data" / "model_golden.npz"
STEPS = Path(__file__).parent / "data" / "model_steps.npz"
CONTRASTIVE = {"simclrv1": SimCLR, "simsiam": SimSiam}
LABELS = ("a", "b", "c", "d", "e", "f", "g")
needs_fixtures = pytest.mark.skipif(
    not FIXTURES.exists(), reason="the original implementation's numbers are not in this clone"
)


def original(name):
    path = FIXTURES / name
    if path.suffix == ".json":
        return json.loads(path.read_text())
    with np.load(path) as arrays:
        return dict(arrays)


def filled_tensor(name, shape):
    kind = name.rpartition(".")[2]
    if kind == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    generator = torch.Generator().manual_seed(seed)
    if kind == "running_var":
        return 1 + 0.1 * torch.rand(shape, generator=generator)
    noise = torch.randn(shape, generator=generator)
    if kind in ("bias", "running_mean"):
        return 0.1 * noise
    return 1 + 0.1 * noise if len(shape) == 1 else noise * math.sqrt(2 / math.prod(shape[1:]))


def filled(shapes):
    return {name: filled_tensor(name, tuple(shape)) for name, shape in shapes.items()}


def published_shapes(module):
    tensors = module.state_dict()
    return {theirs: list(tensors[ours].shape) for ours, theirs in published_names(module).items()}


def bare(variant):
    """The state dict of a published backbone."""
    with torch.device("meta"):
        encoder = ResNet18(variant)
    return filled(published_shapes(encoder))


def untrained(contrastive, variant, *, sizes=None, **options):
    """A learner of the published kind; `sizes` are the contrastive objective's."""
    encoder = ResNet18(variant, **options)
    objective = CONTRASTIVE[contrastive](encoder.dims["contrastive"], **(sizes or {}))
    heads = {
        objective.NAME: Head(objective, "contrastive"),
        "mlap": Head(MLAP(encoder.dims["predictive"], LABELS), "predictive"),
    }
    return Learner(encoder, heads, {"labels"})


def joint(contrastive, variant, **options):
    """A published joint model, loaded."""
    learner = untrained(contrastive, variant, **options)
    load_released_joint(filled(published_shapes(learner)), learner)
    return learner


def randn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(int(seed)))


def their_tasks(variant):
    if variant == "none":
        return {"all": "single"}
    return {"contrastive": "task0", "predictive": "task1"}


def assert_equal_up_to(tolerance, ours, theirs):
    """Largest difference below `tolerance` times the spread of the expected values."""
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < tolerance * theirs.std()


@needs_fixtures
@pytest.mark.parametrize("variant", VARIANTS)
def test_names_and_shapes_are_the_published_ones(variant):
    with torch.device("meta"):
        shapes = published_shapes(ResNet18(variant))
    assert shapes == original("state_dict_keys.json")["variants"][variant]["keys"]


@needs_fixtures
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("contrastive", CONTRASTIVE)
def test_joint_names_and_shapes_are_the_published_ones(contrastive, variant):
    with torch.device("meta"):
        shapes = published_shapes(untrained(contrastive, variant))
    published = original("losses_framework_keys_gradnorms.json")["framework_state_dict_keys"]
    their_variant = "None" if variant == "none" else variant
    assert shapes == published[f"{contrastive}_trans_{their_variant}"]


@needs_fixtures
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_training_pass_moves_the_published_statistics(variant):
    touched = original("state_dict_keys.json")["bn_touched_by_one_train_forward"]
    for task, their_task in their_tasks(variant).items():
        encoder = ResNet18(variant, dim=4, width=4)
        encoder(torch.randn(2, 3, 32, 32), task)
        tensors = encoder.state_dict()
        counts = {
            theirs: int(tensors[ours])
            for ours, theirs in published_names(encoder).items()
            if "num_batches_tracked" in ours
        }
        moved = {name: count for name, count in counts.items() if count}
        assert moved == touched[f"{variant}/{their_task}/bn_touched"]


@needs_fixtures
@pytest.mark.parametrize("variant", ["none", "parallel"])
def test_outputs_and_statistics_equal_the_original(variant):
    expected = original(f"backbone_{variant}.npz")
    state_dict = bare(variant)
    for task, their_task in their_tasks(variant).items():
        encoder = load_released(state_dict, variant)
        encoder.eval()
        for frames in (157, 313):
            x = randn(expected[f"seed_x{frames}"][0], 4, 3, 128, frames)
            with torch.no_grad():
                ours = encoder(x, task).numpy()
            assert_equal_up_to(2e-5, ours, expected[f"eval_x{frames}_{their_task}"])
        encoder.train()
        with torch.no_grad():
            ours = encoder(randn(expected["seed_x157"][0], 4, 3, 128, 157), task).numpy()
        assert_equal_up_to(2e-5, ours, expected[f"train_x157_{their_task}"])
        for name in ("running_mean", "running_var"):
            after = expected[f"train_x157_{their_task}_after_bn1_{name}"]
            # single ulps of numbers near 1 whose spread is 0.03: channels last sums otherwise
            assert_equal_up_to(1e-4, getattr(encoder.bn1, name).numpy(), after)


# In float32 single gradients differ from those of float64 by up to 1e-3, ours and the original's
# alike: a ReLU or a maximum flips with the order of summation, and so with the number of threads.
# Hence 3e-3 here; that the two forms are equal is shown in float64 (test_model_resnet18.py).
@needs_fixtures
@pytest.mark.parametrize(
    ("variant", "exact_speedups"), [("none", True), ("parallel", False), ("parallel", True)]
)
def test_joint_step_equals_the_original(variant, exact_speedups):
    numbers = original("losses.npz")
    their_name = f"simclrv1_trans_{'None' if variant == 'none' else variant}"
    expected = {name.removeprefix(f"joint_{their_name}_"): value for name, value in numbers.items()}
    norms = original("losses_framework_keys_gradnorms.json")["grad_l2_norm_per_parameter"]
    learner = joint("simclrv1", variant, exact_speedups=exact_speedups)
    seeds = numbers["joint_seeds_x1_x2_y"][:2]
    views = torch.stack([randn(seed, 8, 3, 128, 157) for seed in seeds])
    known = {"labels": torch.from_numpy(numbers["joint_y"])}
    theirs = {"total": "total", "simclr.nt_xent": "cont", "mlap.bce": "pred"}
    assert learner.columns == tuple(theirs)

    learner.eval()
    with torch.no_grad():
        losses = learner(views, known)
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(expected[f"eval_{theirs[name]}"], rel=1e-5)

    learner.train()
    losses = learner(views, known)
    losses["total"].backward()
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(expected[theirs[name]], rel=1e-5)
    running_mean = learner.encoder.bn1.running_mean.numpy()
    assert_equal_up_to(1e-5, running_mean, expected["bn1_running_mean"])

    names = published_names(learner)
    ours = {names[name]: p.grad.double().norm().item() for name, p in learner.named_parameters()}
    assert ours == pytest.approx(norms[their_name], rel=3e-3, abs=1e-6)
    assert math.hypot(*ours.values()) == pytest.approx(expected["gradnorm"], rel=1e-4)

    torch.optim.Adam(learner.parameters(), lr=5e-5, weight_decay=1e-6).step()
    with torch.no_grad():
        total = learner(views, known)["total"].item()
    assert total == pytest.approx(expected["total_after_1_adam_step"], rel=1e-4)


@pytest.mark.parametrize("wrong", ["none", "series"])
def test_a_wrong_variant_is_refused_and_the_right_one_named(wrong):
    with pytest.raises(ValueError, match=r"missing \(.*unexpected \(.*variant 'bn'") as error:
        load_released(bare("bn"), wrong)
    assert f"does not fit variant {wrong!r}" in str(error.value)
    assert "layer1.0.conv1" in str(error.value)
    assert len(str(error.value)) < 500


def test_what_is_no_published_model_is_refused():
    whole_checkpoint = {"state_dict": bare("none"), "epoch": 3}
    with pytest.raises(ValueError, match=r"122 missing.*2 unexpected.*of no variant"):
        load_released(whole_checkpoint, "none")
    small = ResNet18("none", dim=10, width=8)
    names = published_names(small)
    tensors = {names[name]: tensor for name, tensor in small.state_dict().items()}
    with pytest.raises(ValueError, match=r"conv1.weight \(8, 3, 7, 7\) for \(64, 3, 7, 7\)"):
        load_released(tensors, "none")


def test_a_joint_model_of_other_objectives_is_refused_and_nothing_loaded():
    simsiam, simclr = (joint(name, "split") for name in ("simsiam", "simclrv1"))
    before = simsiam.encoder.conv1.weight.clone()
    with pytest.raises(
        ValueError, match=r"missing \(cont_p.*its encoder is that of variant 'split'"
    ):
        load_released_joint(filled(published_shapes(simclr)), simsiam)
    assert torch.equal(simsiam.encoder.conv1.weight, before)


def test_the_encoder_of_a_joint_model_loads_alone():
    learner = joint("simclrv1", "split")
    encoder = load_released(filled(published_shapes(learner)), "split")
    expected = learner.encoder.state_dict()
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def golden():
    """Eight values of every task's embedding, per variant and mode; losses of two joint models."""
    arrays = {}
    views = torch.stack([randn(0, 4, 3, 128, 63), randn(1, 4, 3, 128, 63)])
    known = {"labels": (randn(2, 4, 7) > 0).float()}
    for variant in VARIANTS:
        encoder = load_released(bare(variant), variant)
        for mode in ("eval", "train"):
            encoder.train(mode == "train")
            for task in TASKS:
                with torch.no_grad():
                    arrays[f"{variant}_{mode}_{task}"] = encoder(views[0], task)[:, :8].numpy()
    for contrastive, variant in (("simclrv1", "parallel"), ("simsiam", "series")):
        with torch.no_grad():
            losses = joint(contrastive, variant)(views, known)
        arrays[f"losses_{contrastive}_{variant}"] = torch.stack([*losses.values()]).numpy()
    return arrays


def test_golden():
    ours = golden()
    with np.load(GOLDEN) as stored:
        assert set(stored) == set(ours)
        for name, expected in stored.items():
            assert_equal_up_to(1e-4, ours[name], expected)


def test_a_joint_model_of_another_encoder_is_refused():
    class Other(Encoder):
        NAME, tasks, dims = "other", ("all",), {"all": 4}
        build = forward = shape = None

    learner = Learner(Other(), {"simclr": Head(SimCLR(4), "all")}, ())
    for call in (published_names, lambda model: load_released_joint({}, model)):
        with pytest.raises(ValueError, match=r"holds a ResNet-18.*is Other; use --encoder res"):
            call(learner)


def step(contrastive, variant):
    """A training step of a narrow model in float64, where no order of summation shows.

    `losses`; of each parameter's gradient, and of each statistic after it, in the order of their
    published names: norm, and product with a tensor of random numbers that its name gives.
    """
    sizes = {"width": 32, "bottleneck": 8} if contrastive == "simsiam" else {}
    learner = joint(contrastive, variant, sizes=sizes, dim=12, width=8).double()
    views = torch.stack([randn(seed, 6, 3, 32, 33) for seed in (3, 4)]).double()
    losses = learner(views, {"labels": (randn(5, 6, 7) > 0).double()})
    losses["total"].backward()

    def told(tensors):
        named = sorted((published_names(learner)[name], x) for name, x in tensors)
        noise = [filled_tensor(f"{name} seen by.weight", (x.numel(), 1)) for name, x in named]
        rows = [
            (x.norm().item(), (x.flatten() @ n[:, 0].double()).item())
            for (_, x), n in zip(named, noise, strict=True)
        ]
        return np.array(rows)

    statistics = [(name, x) for name, x in learner.named_buffers() if "running" in name]
    return {
        "losses": torch.stack([*losses.values()]).detach().numpy(),
        "gradients": told((name, p.grad) for name, p in learner.named_parameters()),
        "statistics": told(statistics),
    }


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("contrastive", CONTRASTIVE)
def test_losses_and_gradients_of_a_step_stay_what_they_are(contrastive, variant):
    found = step(contrastive, variant)
    with np.load(STEPS) as stored:
        losses, gradients, statistics = (stored[f"{contrastive}_{variant}_{of}"] for of in found)
    np.testing.assert_allclose(found["losses"], losses, rtol=1e-6, atol=0)
    for ours, expected in ((found["gradients"], gradients), (found["statistics"], statistics)):
        assert ours.shape == expected.shape
        # a product of many numbers may be small: it is right up to its vector's norm; some
        # gradients are zero, biases that a batch norm takes out again
        assert (np.abs(ours - expected) <= 1e-6 * expected[:, :1] + 1e-12).all()


if __name__ == "__main__":
    np.savez(GOLDEN, **golden())
    steps = {(a, b): step(a, b) for a in CONTRASTIVE for b in VARIANTS}
    np.savez(STEPS, **{f"{a}_{b}_{of}": x for (a, b), s in steps.items() for of, x in s.items()})
