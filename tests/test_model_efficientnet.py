"""EfficientNet-B0: equal to a slow one by hand, and to the reference package's numbers."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from efficientnet_by_hand import features, filled_state, reference_name, to_eight
from slvr.model.encoders.efficientnet import EfficientNet, StochasticDepth, rounded
from slvr.model.norms import ViewNorm

FIXTURES = Path(__file__).parents[2] / "shared" / "fixtures" / "k22"


def rn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def encoder(**options):
    """With weights by the rule and no stochastic depth, in training mode."""
    made = EfficientNet(**{"stochastic_depth": 0.0, **options})
    made.load_state_dict(filled_state(made))
    return made


def by_name(one):
    """Its tensors under the reference's names, of the network before pooling."""
    return {
        reference_name(name): tensor
        for name, tensor in one.state_dict().items()
        if not name.startswith("project.")
    }


@pytest.mark.parametrize("padding", ["static", "dynamic"])
@pytest.mark.parametrize("head_norm", [True, False])
@pytest.mark.parametrize(
    ("width", "seed", "shape"), [(0.2, 1, (3, 2, 64, 101)), (0.35, 2, (2, 1, 40, 67))]
)
def test_it_is_the_slow_one_in_both_modes(width, padding, head_norm, seed, shape):
    options = {"width": width, "padding": padding, "head_norm": head_norm}
    one = encoder(in_channels=shape[1], **options).double()
    x = rn(seed, *shape).double()
    size = 224 if padding == "static" else None
    options = {"width": width, "head_norm": head_norm, "size": size}
    for training in (False, True):
        weights = {name: tensor.clone() for name, tensor in by_name(one).items()}
        found = one.train(training).features(x)
        expected, seen = features(x.mT, weights, training=training, **options)
        assert found.shape[2] == (math.floor if size else math.ceil)(shape[3] / 32)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    after = by_name(one)
    assert seen
    for name, (mean, var) in seen.items():
        for leaf, batch in (("running_mean", mean), ("running_var", var)):
            moved = 0.99 * weights[f"{name}.{leaf}"] + 0.01 * batch
            torch.testing.assert_close(after[f"{name}.{leaf}"], moved, rtol=1e-9, atol=1e-9)


def test_gradients_are_those_of_the_slow_one():
    one = encoder(width=0.25, padding="dynamic").double()
    weights = {
        name: tensor.clone().requires_grad_(tensor.is_floating_point())
        for name, tensor in by_name(one).items()
    }
    x = rn(3, 3, 1, 64, 70).double()
    one.features(x).square().mean().backward()
    features(x.mT, weights, width=0.25, training=True)[0].square().mean().backward()
    for name, parameter in one.named_parameters():
        if not name.startswith("project."):
            expected = weights[reference_name(name)].grad.view(parameter.shape)
            torch.testing.assert_close(parameter.grad, expected, rtol=1e-8, atol=1e-12, msg=name)


@pytest.mark.parametrize("pool_mel", ["mean", "max"])
@pytest.mark.parametrize("pool_time", ["mean", "max"])
def test_embeddings_are_pooled_features_through_one_layer(pool_mel, pool_time):
    pools = {"pool_mel": pool_mel, "pool_time": pool_time}
    one = encoder(width=0.25, dim=6, **pools).double().eval()
    x = rn(4, 2, 1, 64, 130).double()
    clips, frames = one.frames(x, "all")
    image = one.features(x)  # (B, H, L', F')
    for b in range(2):
        of_time = []
        for t in range(4):
            bands = [image[b, :, t, f] for f in range(2)]
            high = torch.maximum(*bands) if pool_mel == "max" else sum(bands) / 2
            of_time.append(one.project.weight @ high + one.project.bias)
            torch.testing.assert_close(frames[b, t], of_time[-1])
        rows = torch.stack(of_time)
        torch.testing.assert_close(clips[b], rows.amax(0) if pool_time == "max" else rows.mean(0))
    assert torch.equal(one(x, "all"), clips)


def test_widths_and_sizes_are_the_published_ones():
    one = EfficientNet()
    without = sum(p.numel() for p in one.parameters()) - sum(
        p.numel() for p in one.project.parameters()
    )
    assert without == 4_006_972
    assert [block.squeeze.out_features for block in one.blocks] == [
        *(8, 4, 6, 6, 10, 10, 20, 20, 20, 28, 28, 28, 48, 48, 48, 48)
    ]
    assert {(norm.eps, norm.momentum) for norm in one.modules() if isinstance(norm, ViewNorm)} == {
        (1e-3, 0.01)
    }
    for channels in (8, 11.9, 12, 20.1, 28.8, 35.2, 1280):
        assert rounded(channels) == to_eight(channels)
    chances = [block.stochastic_depth.p for block in one.blocks]
    assert chances == pytest.approx([0.2 * i / 16 for i in range(16)])


def test_stochastic_depth_leaves_out_rows_and_keeps_the_mean():
    torch.manual_seed(0)
    layer, x = StochasticDepth(0.25), rn(5, 4000, 2, 3, 1)
    y = layer(x)
    left_out = (y == 0).flatten(1).all(1)
    assert 0.22 < left_out.float().mean() < 0.28
    torch.testing.assert_close(y[~left_out], x[~left_out] / 0.75)
    assert torch.equal(layer.eval()(x), x)


def test_training_draws_other_depths_each_time_and_evaluation_none():
    torch.manual_seed(0)
    one = EfficientNet(width=0.25, stochastic_depth=0.5)
    x = rn(6, 4, 1, 64, 96)
    assert not torch.equal(one(x, "all"), one(x, "all"))
    one.eval()
    assert torch.equal(one(x, "all"), one(x, "all"))


def test_what_cannot_be_is_refused_in_a_sentence():
    for options in ({"dim": 0}, {"width": 0.0}, {"stochastic_depth": 1.0}):
        with pytest.raises(ValueError, match="expected dim of 1 or more, width above 0"):
            EfficientNet(**options)
    with pytest.raises(ValueError, match="64 bands and 31 frames; expected 32 or more"):
        EfficientNet(width=0.25)(rn(7, 1, 1, 64, 31), "all")
    assert EfficientNet(width=0.25, padding="dynamic").eval().frames(rn(7, 1, 1, 64, 31), "all")


def original(name):
    path = FIXTURES / name
    if not path.exists():
        pytest.skip(f"the reference's numbers (shared/fixtures/k22/{name}) are not beside us")
    return np.load(path) if path.suffix == ".npz" else json.loads(path.read_text())


@pytest.mark.parametrize("head_norm", [True, False])
def test_features_are_the_reference_package_s(head_norm):
    numbers, tail = original("effnet_b0.npz"), "bn" if head_norm else "nobn"
    cases = [(300, 4, 96, "x96", "static"), (300, 4, 96, "x96", "dynamic")]
    cases += [(301, 2, 101, "x101", "static"), (301, 2, 101, "x101", "dynamic")]
    for seed, n, frames, name, padding in cases:
        key = f"eval_{name}_{tail}"
        if name == "x101":
            key += {"static": "_static224", "dynamic": "_dynamic"}[padding]
        expected = torch.from_numpy(numbers[key])
        one = encoder(head_norm=head_norm, padding=padding).eval()
        found = one.features(rn(seed, n, 1, frames, 64).mT)
        assert found.shape == expected.shape
        assert (found - expected).abs().max() < 2e-5 * expected.std(), key
        folded = one.folded().features(rn(seed, n, 1, frames, 64).mT)
        assert (folded - expected).abs().max() < 2e-5 * expected.std(), key


@pytest.mark.parametrize("head_norm", [True, False])
def test_a_training_step_is_the_reference_package_s(head_norm):
    numbers, tail = original("effnet_b0.npz"), "bn" if head_norm else "nobn"
    one = encoder(head_norm=head_norm)
    found = one.features(rn(302, 4, 1, 96, 64).mT)
    expected = torch.from_numpy(numbers[f"train_x96_{tail}"])
    assert (found - expected).abs().max() < 2e-4 * expected.std()
    state = by_name(one)
    stored = [key for key in numbers if key.startswith(f"train_x96_{tail}_") and "after" in key]
    assert len(stored) == 4
    for key in stored:
        name = key.removeprefix(f"train_x96_{tail}_").removesuffix("_after")
        after = torch.from_numpy(numbers[key])
        torch.testing.assert_close(state[f"_{name}"], after, rtol=2e-4, atol=2e-5)
    found.square().mean().backward()
    norms = original("effnet_b0.json")["report"][f"train_x96_{tail}_gradnorm_of_mean_square"]
    ours = {
        reference_name(name): float(parameter.grad.norm())
        for name, parameter in one.named_parameters()
        if not name.startswith("project.")
    }
    largest = max(norms.values())
    compared = {name: norm for name, norm in norms.items() if norm > 1e-6 * largest}
    assert set(compared) <= set(ours) and len(compared) > 100
    for name, norm in compared.items():
        assert ours[name] == pytest.approx(norm, rel=1e-3), name
