"""A folded encoder gives the same embeddings."""

import pytest
import torch
from torch import nn

from slvr.model.encoders.folding import folded
from slvr.model.encoders.resnet18 import TASKS, VARIANTS, ResNet18
from slvr.model.norms import ViewNorm


def trained(variant, **options):
    """An encoder whose norms have weights and statistics as after training."""
    torch.manual_seed(0)
    encoder = ResNet18(variant, dim=12, width=8, **options)
    for module in encoder.modules():
        if isinstance(module, ViewNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return encoder


@pytest.mark.parametrize("exact_speedups", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_embeddings_are_those_of_the_encoder(variant, dtype, tolerance, exact_speedups):
    encoder = trained(variant, exact_speedups=exact_speedups).to(dtype)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    fast = folded(encoder)
    assert encoder.training
    assert all(torch.equal(before[name], now) for name, now in encoder.state_dict().items())
    assert not any(p.requires_grad for p in fast.parameters())
    encoder.double().eval()
    x = torch.randn(3, 3, 32, 45, dtype=dtype)
    for task in (*TASKS, "all"):
        expected = encoder(x.double(), task)
        found = fast(x, task)
        assert found.dtype == dtype
        assert (found - expected).abs().max() < tolerance * expected.abs().max()


@pytest.mark.parametrize("variant", VARIANTS)
def test_only_the_norms_after_a_relu_are_left(variant):
    norms = [name for name, m in folded(trained(variant)).named_modules() if type(m) is ViewNorm]
    assert norms == (
        ["end_norms.0", "end_norms.1"] if variant in ("bn", "series", "parallel") else []
    )
