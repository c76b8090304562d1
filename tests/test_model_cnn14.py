"""CNN14 against published numbers and against its definition in float64."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from slvr.model.encoders.cnn14 import CNN14

FIXTURES = Path(__file__).parents[2] / "shared" / "fixtures"
PAPER = {"width": 64, "dim": 128}


def randn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def images(*shape, seed):
    """(B, 1, F, L) of what is stored as (B, 1, L, F)."""
    return randn(*shape, seed=seed).mT


@pytest.fixture(scope="module")
def filled():
    """The encoder with the originals' weights, and their numbers."""
    path = FIXTURES / "separation" / "cnn14.npz"
    if not path.exists():
        pytest.skip("the originals' numbers (shared/fixtures/separation) are not beside us")
    sys.path.insert(0, str(FIXTURES))
    try:
        from fill import fill
    finally:
        sys.path.remove(str(FIXTURES))
    return fill(CNN14(**PAPER, block_dropout=0, dropout=0)), np.load(path)


def parts(encoder, x):
    """Pooled vector, embedding and mean and deviation of each block behind its pooling."""
    seen, pooled = [], []
    hooks = [encoder.dropout.register_forward_pre_hook(lambda _, x: pooled.append(x[0]))]
    hooks.append(
        encoder.block_dropout.register_forward_hook(lambda _m, _x, y: seen.append(y.detach()))
    )
    h = encoder(x, "all")
    for hook in hooks:
        hook.remove()
    blocks = np.array(
        [[float(y.double().mean()), float(y.double().std(correction=0))] for y in seen]
    )
    return pooled[0], h, blocks, seen[0][0, :4, :4, :4]


def assert_near(found, expected, near):
    found = found.detach().numpy()
    assert np.abs(found - expected).max() < near * expected.std(), np.abs(found - expected).max()


@pytest.mark.parametrize(
    ("name", "shape", "seed"), [("x96", (4, 1, 96, 64), 0), ("x101", (2, 1, 101, 64), 1)]
)
def test_equals_the_original_in_eval_mode(filled, name, shape, seed):
    encoder, stored = filled
    with torch.no_grad():
        pooled, h, blocks, corner = parts(encoder.eval(), images(*shape, seed=seed))
    assert_near(pooled, stored[f"eval_{name}_pooled"], 2e-5)
    assert_near(h, stored[f"eval_{name}_bottleneck"], 2e-5)
    assert_near(corner, stored[f"eval_{name}_block1_corner"], 2e-5)
    assert np.allclose(blocks, stored[f"eval_{name}_block_mean_std"], rtol=2e-3, atol=1e-5)


def test_equals_the_original_in_train_mode_gradients_and_statistics_too(filled):
    encoder, stored = filled
    before = {key: tensor.clone() for key, tensor in encoder.state_dict().items()}
    pooled, h, _, _ = parts(encoder.train(), images(8, 1, 96, 64, seed=2))
    assert_near(pooled, stored["train_x96_pooled"], 1e-4)
    assert_near(h, stored["train_x96_bottleneck"], 1e-4)
    loss = F.relu(h).square().mean()
    assert loss.item() == pytest.approx(float(stored["train_x96_loss"]), rel=1e-5)
    loss.backward()
    norms = json.loads((FIXTURES / "separation" / "cnn14_gradnorms.json").read_text())
    # float32 sums of 37 million squares lose 0.4%
    found = {name: float(p.grad.double().norm()) for name, p in encoder.named_parameters()}
    assert found.keys() == norms.keys()
    for name, norm in norms.items():
        assert found[name] == pytest.approx(norm, rel=2e-3), name
    state = encoder.state_dict()
    after = [key for key in stored if key.startswith("train_x96_after_")]
    assert len(after) == 5
    for key in after:
        name = key.removeprefix("train_x96_after_")
        assert_near(state[name].flatten()[:64], stored[key], 1e-4)
    encoder.zero_grad(set_to_none=True)
    encoder.load_state_dict(before)


def test_names_and_shapes_are_the_published_ones():
    path = FIXTURES / "separation" / "cnn14_keys.json"
    if not path.exists():
        pytest.skip("the originals' numbers (shared/fixtures/separation) are not beside us")
    with torch.device("meta"):
        state = CNN14(**PAPER).state_dict()
    expected = json.loads(path.read_text())["keys"]
    assert {key: list(tensor.shape) for key, tensor in state.items()} == expected


@pytest.mark.parametrize(("dim", "n"), [(128, 75_739_712), (1024, 77_575_616)])
def test_parameter_count_is_the_published_one(dim, n):
    with torch.device("meta"):
        encoder = CNN14(dim=dim)
    assert sum(p.numel() for p in encoder.parameters()) == n


def small(seed=0, **options):
    """Every weight and statistic off its neutral value, in float64, no dropout."""
    torch.manual_seed(seed)
    sizes = {"width": 2, "dim": 5, "n_mels": 40, "in_channels": 2} | options
    encoder = CNN14(**sizes, block_dropout=0, dropout=0).double()
    with torch.no_grad():
        for tensor in encoder.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand_like(tensor))
    return encoder


def normed(x, state, name, axes, training):
    """Batch norm from its definition."""
    shape = [1 if i in axes else n for i, n in enumerate(x.shape)]
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    if training:
        mean, var = x.mean(axes), x.var(axes, correction=0)
    scale = state[f"{name}.weight"] / (var + 1e-5).sqrt()
    return (x - mean.reshape(shape)) * scale.reshape(shape) + state[f"{name}.bias"].reshape(shape)


def convolved(x, weight):
    """3x3 convolution with a border of zeros, as sums of shifted images."""
    x, n = F.pad(x, (1, 1, 1, 1)), x.shape
    return sum(
        torch.einsum("bilf,oi->bolf", x[:, :, i : i + n[2], j : j + n[3]], weight[:, :, i, j])
        for i in range(3)
        for j in range(3)
    )


def by_definition(encoder, x, training):
    """(B, C, F, L) -> columns (B, W, L') in the order of the paper's figure."""
    state = encoder.state_dict()
    channels, n_mels = x.shape[1:3]
    flat = x.reshape(len(x), channels * n_mels, -1)
    x = normed(flat, state, "bn0", (0, 2), training).reshape(x.shape).transpose(2, 3)
    for i in range(1, 7):
        for j in (1, 2):
            x = convolved(x, state[f"conv_block{i}.conv{j}.weight"])
            x = normed(x, state, f"conv_block{i}.bn{j}", (0, 2, 3), training).clamp(min=0)
        if i < 6:
            height, width = x.shape[2] // 2, x.shape[3] // 2
            x = x[:, :, : 2 * height, : 2 * width].unflatten(3, (width, 2)).mean(4)
            x = x.unflatten(2, (height, 2)).mean(3)
    return x.mean(3)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize(
    ("options", "n_frames"), [({}, 64), ({"n_mels": 64, "in_channels": 1}, 101)]
)
def test_equals_its_definition(training, rectified, options, n_frames):
    encoder = small(rectified=rectified, **options).train(training)
    channels, n_mels = (options.get("in_channels", 2), options.get("n_mels", 40))
    x = randn(3, channels, n_mels, n_frames, seed=3).double()
    columns = by_definition(encoder, x, training)
    weight, bias = encoder.fc1.weight, encoder.fc1.bias
    expected = (columns.max(2).values + columns.mean(2)) @ weight.T + bias
    frames = 2 * columns.transpose(1, 2) @ weight.T + bias
    if rectified:
        expected, frames = expected.clamp(min=0), frames.clamp(min=0)
    found = encoder.frames(x, "all")
    assert found[1].shape == (3, n_frames // 32, 5)
    for ours, theirs in zip(found, (expected, frames), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_a_clip_of_one_column_is_its_frame():
    encoder = small().eval()
    clips, frames = encoder.frames(randn(2, 2, 40, 63, seed=4).double(), "all")
    torch.testing.assert_close(clips, frames[:, 0])


def test_order_in_the_batch_does_not_matter_in_eval_mode():
    encoder, x = small().eval(), randn(4, 2, 40, 40, seed=5).double()
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(encoder(x[order], "all"), encoder(x, "all")[order])


def test_too_few_frames_or_bands_are_a_sentence():
    encoder = small().eval()
    assert encoder(randn(2, 2, 40, 32, seed=6).double(), "all").shape == (2, 5)
    with pytest.raises(ValueError, match="31 frames; five poolings by 2 need 32 or more"):
        encoder(randn(2, 2, 40, 31, seed=6).double(), "all")
    with pytest.raises(ValueError, match="31 bands; five poolings by 2 need 32 or more"):
        small(n_mels=31)
    with pytest.raises(ValueError, match="width 0, dim 5"):
        small(width=0)
    with pytest.raises(ValueError, match=r"dropout 1\.0; expected sizes"):
        CNN14(dropout=1.0)


def test_dropout_is_in_training_alone_and_where_it_is_said():
    torch.manual_seed(0)
    encoder = CNN14(2, 5, 40)
    x = randn(4, 1, 40, 64, seed=7)
    first, second = encoder(x, "all"), encoder(x, "all")
    assert not torch.equal(first, second)
    encoder.eval()
    assert torch.equal(encoder(x, "all"), encoder(x, "all"))
    assert (encoder.block_dropout.p, encoder.dropout.p) == (0.2, 0.5)


def test_weights_begin_as_the_paper_s():
    torch.manual_seed(0)
    encoder = CNN14(8, 16)
    for name, weight in encoder.named_parameters():
        if weight.ndim == 1:
            assert torch.equal(weight, torch.full_like(weight, "bias" not in name)), name
        else:
            around = weight[0, 0].numel()
            limit = (6 / ((weight.shape[0] + weight.shape[1]) * around)) ** 0.5
            assert 0.9 * limit < weight.abs().max() <= limit, name
