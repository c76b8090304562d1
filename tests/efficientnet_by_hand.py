"""EfficientNet-B0 written out slowly, from the paper's table alone; weights by reference names.

Letters: B clips, C channels, H time, W bands. Nothing of the package is
used.
"""

import hashlib
import math

import torch
import torch.nn.functional as F

ROWS = [(3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3)]
ROWS += [(5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1)]


def blocks(width=1.0):
    """(channels in, out, kernel, stride, expansion) of the sixteen blocks."""
    found, before = [], to_eight(32 * width)
    for kernel, stride, expansion, channels, repeats in ROWS:
        after = to_eight(channels * width)
        for i in range(repeats):
            found.append((before, after, kernel, stride if i == 0 else 1, expansion))
            before = after
    return found


def to_eight(channels):
    near = max(8, 8 * math.floor(channels / 8 + 0.5))
    return near if near >= 0.9 * channels else near + 8


def filled(name, shape):
    """A weight that is a function of its reference name and shape alone."""
    seed = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
    drawn = torch.Generator().manual_seed(seed)
    leaf = name.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    if leaf == "running_var":
        return 1 + 0.1 * torch.rand(shape, generator=drawn)
    normal = torch.randn(shape, generator=drawn)
    if leaf == "weight" and len(shape) > 1:
        return normal * (2 / math.prod(shape[1:])) ** 0.5
    return 1 + 0.1 * normal if leaf == "weight" else 0.1 * normal


def reference_name(ours):
    """What the reference package calls a tensor of our encoder."""
    part, _, leaf = ours.rpartition(".")
    top = {"stem.conv": "_conv_stem", "stem.norm": "_bn0", "head.conv": "_conv_head"}
    top["head.norm"] = "_bn1"
    if part in top:
        return f"{top[part]}.{leaf}"
    _, number, *inner = part.split(".")
    name = {
        "expand.conv": "_expand_conv",
        "expand.norm": "_bn0",
        "depthwise.conv": "_depthwise_conv",
        "depthwise.norm": "_bn1",
        "squeeze": "_se_reduce",
        "excite": "_se_expand",
        "project.conv": "_project_conv",
        "project.norm": "_bn2",
    }[".".join(inner)]
    return f"_blocks.{number}.{name}.{leaf}"


def filled_state(encoder, prefix=""):
    """A state dict of the encoder by the rule; squeeze-excitations are 1x1 convolutions there."""
    state = {}
    for name, tensor in encoder.state_dict().items():
        if name.startswith("project."):  # of the embedding
            state[name] = filled(f"fc1.{name.rpartition('.')[2]}", tensor.shape)
            continue
        theirs = prefix + reference_name(name)
        squeezes = ("squeeze.weight", "excite.weight")
        shape = (*tensor.shape, 1, 1) if name.endswith(squeezes) else tensor.shape
        state[name] = filled(theirs, shape).view(tensor.shape)
    return state


def features(x, weights, *, width=1.0, head_norm=True, size=None, training=False):
    """(B, C, H, W) -> (B, H', L', F') and batch statistics by name, in the dtype of the weights.

    Args:
        x: images.
        weights: by reference name.
        width: the paper's multiplier.
        head_norm: batch norm behind the last convolution.
        size: of the square images that the padding is made for; None for the size of x.
        training: batch statistics.
    """
    seen = {}
    side = [size, size] if size else list(x.shape[2:])

    def norm(x, name):
        if training:
            mean = x.mean((0, 2, 3))
            var = ((x - mean[:, None, None]) ** 2).mean((0, 2, 3))
            seen[name] = (mean, var * (n := x[:, 0].numel()) / (n - 1))
        else:
            mean, var = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
        x = (x - mean[:, None, None]) / (var[:, None, None] + 1e-3).sqrt()
        return x * weights[f"{name}.weight"][:, None, None] + weights[f"{name}.bias"][:, None, None]

    def conv(x, name, stride=1, groups=1):
        kernel = weights[f"{name}.weight"]
        k, pads = kernel.shape[2], []
        for axis in (1, 0):
            n = side[axis]
            total = max((math.ceil(n / stride) - 1) * stride + k - n, 0)
            pads += [total // 2, total - total // 2]
        for axis in (0, 1):
            side[axis] = math.ceil(side[axis] / stride)
        return F.conv2d(F.pad(x, pads), kernel, None, stride, 0, 1, groups)

    def silu(x):
        return x / (1 + torch.exp(-x))

    x = silu(norm(conv(x, "_conv_stem", 2), "_bn0"))
    for i, (before, after, _, stride, expansion) in enumerate(blocks(width)):
        name, y, wide = f"_blocks.{i}", x, before * expansion
        if expansion > 1:
            y = silu(norm(conv(y, f"{name}._expand_conv"), f"{name}._bn0"))
        y = silu(norm(conv(y, f"{name}._depthwise_conv", stride, wide), f"{name}._bn1"))
        s = y.mean((2, 3))
        for layer, active in (("_se_reduce", silu), ("_se_expand", torch.sigmoid)):
            kernel = weights[f"{name}.{layer}.weight"].flatten(1)
            s = active(s @ kernel.T + weights[f"{name}.{layer}.bias"])
        y = norm(conv(y * s[:, :, None, None], f"{name}._project_conv"), f"{name}._bn2")
        x = x + y if stride == 1 and before == after else y
    x = conv(x, "_conv_head")
    return silu(norm(x, "_bn1") if head_norm else x), seen
