"""The encoder's variants share what they should, and the speed-ups change nothing."""

import pytest
import torch
import torch.nn.functional as F

from slvr.model.encoders.adapters import AdaptedConv
from slvr.model.encoders.resnet18 import TASKS, VARIANTS, ResNet18, filled_up
from slvr.model.norms import ViewNorm

N_PARAMETERS = {
    "none": 11_689_512,
    "split": 11_689_512,
    "bn": 11_524_904,
    "series": 14_308_648,
    "parallel": 13_949_736,
}
ADAPTED = ("bn", "series", "parallel")


def small(variant, seed=0, **options):
    """An encoder whose weights and statistics are all different from their neutral values."""
    torch.manual_seed(seed)
    encoder = ResNet18(variant, dim=12, width=8, **options).double()
    with torch.no_grad():
        for tensor in encoder.state_dict().values():
            if tensor.ndim == 1:
                tensor.add_(0.1 * torch.rand_like(tensor))
    return encoder


def features(seed=1, clips=3, frames=45):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(clips, 3, 32, frames, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameter_count_is_the_published_one(variant):
    with torch.device("meta"):
        encoder = ResNet18(variant)
    assert sum(p.numel() for p in encoder.parameters()) == N_PARAMETERS[variant]


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_is_the_contrastive_half_then_the_predictive(variant):
    encoder = small(variant).eval()
    x = features()
    contrastive, predictive, whole = (encoder(x, task) for task in (*TASKS, "all"))
    assert whole.shape == (3, encoder.dims["all"]) == (3, 12)
    for task, embedding in zip(TASKS, (contrastive, predictive), strict=True):
        assert embedding.shape == (3, encoder.dims[task])
    assert encoder.tasks == (("all",) if variant == "none" else TASKS)
    if variant == "none":
        assert torch.equal(contrastive, whole)
        assert torch.equal(predictive, whole)
    else:
        assert torch.equal(whole, torch.cat([contrastive, predictive], dim=1))
        assert not torch.allclose(contrastive, predictive)


@pytest.mark.parametrize("variant", VARIANTS)
def test_in_eval_mode_a_row_depends_on_itself_and_no_statistic_moves(variant):
    encoder = small(variant).eval()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    x = features()
    whole = encoder(x, "all")
    torch.testing.assert_close(encoder(x[1:2], "all"), whole[1:2], rtol=1e-10, atol=1e-12)
    encoder.embed(torch.stack([x, x]), TASKS)
    assert all(torch.equal(before[name], now) for name, now in encoder.state_dict().items())


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_task_trains_the_shared_weights_and_its_own(variant):
    encoder = small(variant)
    own = []
    for task in TASKS:
        encoder.zero_grad(set_to_none=True)
        encoder(features(), task).square().sum().backward()
        own.append({name for name, p in encoder.named_parameters() if p.grad is not None})
    everything = {name for name, _ in encoder.named_parameters()}
    assert own[0] | own[1] == everything
    shared = own[0] & own[1]
    assert {"conv1.weight", "layer1.0.conv1.conv.weight", "layer4.1.conv2.conv.weight"} <= shared
    assert all(name in shared for name in everything if name.startswith("layer1"))
    apart = everything - shared
    expected = {
        "none": set(),
        "split": {"heads"},
        "bn": {"heads", "end_norms", "norms"},
        "series": {"heads", "end_norms", "norms", "adapters"},
        "parallel": {"heads", "end_norms", "norms", "adapters"},
    }[variant]
    kinds = {"heads", "end_norms", "norms", "adapters", "conv", "bn1", "shortcut"}
    assert kinds & {part for name in apart for part in name.split(".")} == expected


@pytest.mark.parametrize("bn_views", ["separate", "together"])
@pytest.mark.parametrize("n_views", [2, 3])
@pytest.mark.parametrize("tasks", [TASKS, TASKS[:1], TASKS[1:], ("all",), ("predictive", "all")])
@pytest.mark.parametrize("variant", VARIANTS)
def test_speedups_change_neither_outputs_nor_gradients_nor_statistics(
    variant, tasks, n_views, bn_views
):
    results = []
    for exact_speedups in (False, True):
        encoder = small(variant, exact_speedups=exact_speedups)
        encoder.bn_views = bn_views
        views = torch.stack([features(seed) for seed in range(n_views)]).requires_grad_()
        found = encoder.embed(views, tasks)
        assert tuple(found) == tasks
        embedded = torch.cat([found[task].clips for task in tasks], dim=2)
        random = torch.Generator().manual_seed(5)
        (embedded * torch.randn(embedded.shape, generator=random)).sum().backward()
        gradients = {name: parameter.grad for name, parameter in encoder.named_parameters()}
        results.append(
            {"embeddings": embedded, "gradient of views": views.grad}
            | {f"gradient of {name}": x for name, x in gradients.items() if x is not None}
            | dict(encoder.named_buffers())
        )
    plain, fast = results
    assert plain.keys() == fast.keys()
    for name, expected in plain.items():
        difference = (fast[name] - expected).abs().max().item()
        assert difference < 1e-10, f"{name} differs by {difference}"


@pytest.mark.parametrize("variant", VARIANTS)
def test_embedding_two_views_is_four_passes_in_the_order_of_the_tasks(variant):
    together, apart = small(variant), small(variant)
    views = torch.stack([features(1), features(2)])
    found = together.embed(views, TASKS)
    tasks = ("all",) if variant == "none" else TASKS
    expected = {task: torch.stack([apart(x, task) for x in views]) for task in tasks}
    for task in TASKS:
        right = expected["all" if variant == "none" else task]
        torch.testing.assert_close(found[task].clips, right, rtol=1e-10, atol=1e-10)
        assert found[task].frames is None
    for name, buffer in together.named_buffers():
        torch.testing.assert_close(buffer, apart.get_buffer(name), rtol=1e-10, atol=1e-12)
    assert int(together.bn1.num_batches_tracked) == 2 * len(tasks)


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("variant", ADAPTED)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("task", [0, 1])
def test_adapted_convolution_is_its_formula(variant, stride, task, fold):
    torch.manual_seed(0)
    layer = AdaptedConv(4, 6, stride, variant=variant, n_tasks=2, fold=fold).double()
    x = torch.randn(2, 4, 9, 12, dtype=torch.float64)

    def normalised(y):  # fresh norms have weight 1 and bias 0
        mean, var = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), keepdim=True, correction=0)
        return (y - mean) / torch.sqrt(var + 1e-5)

    y = F.conv2d(x, layer.conv.weight, stride=stride, padding=1)
    if variant == "series":
        y = y + F.conv2d(normalised(y), layer.adapters[task][1].weight)
    if variant == "parallel":
        y = y + F.conv2d(x, layer.adapters[task].weight, stride=stride)
    torch.testing.assert_close(layer(x, task), normalised(y), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("variant", ADAPTED)
def test_shortcut_of_adapters_averages_and_adds_zero_channels(variant):
    block = small(variant).layer2[0].eval()
    torch.nn.init.zeros_(block.conv2.norms[1].weight)
    torch.nn.init.zeros_(block.conv2.norms[1].bias)
    x = torch.rand(2, 8, 6, 8, dtype=torch.float64)
    y = block(x, 1)
    assert y.shape == (2, 16, 3, 4)
    averaged = x.reshape(2, 8, 3, 2, 4, 2).mean((3, 5))
    torch.testing.assert_close(y[:, :8], averaged)
    assert y[:, 8:].abs().max() == 0


@pytest.mark.parametrize("in_channels", [1, 3, 8])
def test_channels_of_zeros_change_neither_embedding_nor_gradients(in_channels, monkeypatch):
    """On a GPU images are filled up to eight channels."""
    torch.manual_seed(0)
    model = ResNet18("parallel", dim=12, width=8, in_channels=in_channels)
    x = torch.randn(4, in_channels, 32, 20)
    expected, with_zeros = [], []
    for found, fill in ((expected, lambda x: x), (with_zeros, filled_up)):
        monkeypatch.setattr(model, "_stem", lambda x, fill=fill: ResNet18._stem(model, fill(x)))
        model.zero_grad()
        y = model(x, "all")
        y.square().sum().backward()
        found += [y, *(p.grad for p in model.parameters() if p.grad is not None)]
    assert filled_up(x).shape == (4, 8, 32, 20)
    for ours, reference in zip(with_zeros, expected, strict=True):
        torch.testing.assert_close(
            ours, reference, rtol=1e-4, atol=1e-4 * float(reference.detach().abs().max())
        )


def test_initial_weights():
    torch.manual_seed(0)
    encoder = ResNet18("parallel", width=32)
    for name, module in encoder.named_modules():
        if isinstance(module, torch.nn.Conv2d) and module.weight.numel() > 2000:
            fan_out = module.weight[:, 0].numel()
            spread = module.weight.std().item()
            assert spread == pytest.approx((2 / fan_out) ** 0.5, rel=0.1), name
        if isinstance(module, ViewNorm):
            assert (module.weight == 1).all(), name
            assert (module.bias == 0).all(), name


def test_images_lie_channels_last_and_weights_do_not():
    encoder = ResNet18("parallel", 12, 8)
    views = torch.stack([features(1), features(2)]).float()
    encoder.embed(views, TASKS)["contrastive"].clips.sum().backward()
    trunk = encoder._trunk(features().float())
    assert trunk.is_contiguous(memory_format=torch.channels_last)
    for name, parameter in encoder.named_parameters():
        assert parameter.is_contiguous(), name
        assert parameter.grad is None or parameter.grad.is_contiguous(), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_same_seed_same_weights(variant):
    first, second = small(variant).state_dict(), small(variant).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["conv1.weight"], small(variant, seed=1).conv1.weight)


@pytest.mark.parametrize("frames", [33, 157, 313])
def test_any_length(frames):
    assert small("bn").eval()(features(frames=frames), "all").shape == (3, 12)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"'serial'.*none, split, bn, series, parallel"):
        ResNet18("serial")
    with pytest.raises(ValueError, match=r"dim=7.*2 tasks"):
        ResNet18("split", dim=7)
    with pytest.raises(ValueError, match="width=0"):
        ResNet18("none", width=0)
    for variant in ("none", "bn"):
        with pytest.raises(ValueError, match=r"'both'.*contrastive, predictive, all"):
            small(variant)(features(), "both")
        with pytest.raises(ValueError, match=r"'both'.*contrastive, predictive, all"):
            small(variant).embed(features()[None], ("contrastive", "both"))
