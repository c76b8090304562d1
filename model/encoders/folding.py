"""A trained encoder made of convolutions alone, to embed with.

Letters: W the weights of a 3x3 convolution, A of an adapter, N and N' batch norms.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from slvr.model.encoders.adapters import AdaptedConv
from slvr.model.encoders.contract import Encoder
from slvr.model.norms import ONE, Passes, ViewNorm

Network = TypeVar("Network", bound=Encoder)


def folded(encoder: Network) -> Network:
    """A frozen copy of a ResNet-18 whose convolutions contain the adapters and the batch norms.

    The same embeddings as the encoder's in eval mode, up to rounding. It cannot be trained or
    saved; the norms at the end of each task, which follow a ReLU, stay as they are.
    """
    dtype = encoder.get_parameter("conv1.weight").dtype
    frozen = copy.deepcopy(encoder).double().eval().requires_grad_(False)
    for parent in list(frozen.modules()):
        for name, child in parent.named_children():
            if isinstance(child, AdaptedConv):
                parent.register_module(name, _FoldedConv(child))
            elif name == "shortcut":
                parent.register_module(name, nn.ModuleList(_fused(*child.children())))
    stem, same = _fused(frozen.get_submodule("conv1"), frozen.get_submodule("bn1"))
    frozen.register_module("conv1", stem)
    frozen.register_module("bn1", same)
    frozen = frozen.to(dtype)
    return frozen.to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]


class _FoldedConv(nn.Module):
    """An `AdaptedConv` as one convolution for each task."""

    def __init__(self, adapted: AdaptedConv) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            _fused(_without_adapter(adapted, task), norm)[0]
            for task, norm in enumerate(adapted.norms)
        )

    def forward(self, x: Tensor, task: int, passes: Passes = ONE) -> Tensor:
        y: Tensor = self.convs[task](x)
        return y


class _Same(nn.Module):
    """What stands where a norm was."""

    def forward(self, x: Tensor, passes: Passes = ONE) -> Tensor:
        return x


def _fused(conv: nn.Module, norm: nn.Module) -> tuple[nn.Conv2d, _Same]:
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, ViewNorm)
    return fuse_conv_bn_eval(conv, norm), _Same()


def _without_adapter(adapted: AdaptedConv, task: int) -> nn.Conv2d:
    """The convolution that gives what one task's norm gets.

    Parallel: W + A at the middle tap. Series, where N'(y) = s y + b: y + A N'(y) = (1 + A s) W x +
    A b; the padding is that of W alone, since all that follows it is 1x1.
    """
    conv = copy.deepcopy(adapted.conv)
    if adapted.variant == "parallel":
        middle = adapted.adapters[task].get_parameter("weight")
        conv.weight.add_(F.pad(middle, (1, 1, 1, 1)))
    elif adapted.variant == "series":
        norm, adapter = adapted.adapters[task].children()
        assert isinstance(norm, ViewNorm)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        a = adapter.get_parameter("weight")[:, :, 0, 0]
        s = norm.weight * (norm.running_var + norm.eps).rsqrt()
        b = norm.bias - norm.running_mean * s
        conv.weight.add_(torch.einsum("oc,cikl->oikl", a * s, conv.weight))
        conv.bias = nn.Parameter(a @ b, requires_grad=False)
    return conv
