"""The public separators, which TensorFlow wrote, as ours: names, shapes and sizes of their weights.

Google's sound-separation (Apache-2.0) publishes TDCN++ as checkpoints of TensorFlow 1. Sizes follow
from the variables' shapes; window, hop and dilations are in the graph (`.meta`), or are told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slvr.model.separators.tdcn import TDCN
from slvr.model.separators.tf_bundle import Bundle
from slvr.model.separators.tf_graph import Graph, read_graph

_IN_BLOCK = {
    "dense1/dense/kernel": "dense1.weight",
    "dense1/dense_scale/scale_layer": "scale1.weight",
    "normact1/prelu/prelu": "prelu1.weight",
    "normact1/instance_norm/gamma": "norm1.weight",
    "normact1/instance_norm/beta": "norm1.bias",
    "timeconv/separable_conv/depthwise_kernel": "conv.weight",
    "timeconv/separable_conv/bias": "conv.bias",
    "normact2/prelu/prelu": "prelu2.weight",
    "normact2/instance_norm/gamma": "norm2.weight",
    "normact2/instance_norm/beta": "norm2.bias",
    "dense2/dense/kernel": "dense2.weight",
    "dense2/dense_scale/scale_layer": "scale2.weight",
}
_BLOCK = re.compile(rf"conv_block_(\d+)/(?:.*/)?({'|'.join(map(re.escape, _IN_BLOCK))})$")
_OUTSIDE = {
    "initial_dense/dense/kernel": "bottleneck.weight",
    "initial_dense/dense/bias": "bottleneck.bias",
    "initial_dense/dense_scale/scale_layer": "bottleneck_scale.weight",
    "layer_norm_on_mag/gamma": "basis.norm.weight",
    "layer_norm_on_mag/beta": "basis.norm.bias",
}
_PUBLISHED_BLOCKS, _PUBLISHED_DILATIONS = 32, 8
_OPTIMISERS = re.compile(
    r"(?:/(?:Adam(?:_\d+)?|Momentum|RMSProp(?:_\d+)?|ExponentialMovingAverage)$)"
    r"|^(?:global_step|beta[12]_power|.*/beta[12]_power|.*learning_rate)$"
)


def is_tf_prefix(path: Path) -> bool:
    """Whether the files of a TensorFlow checkpoint lie under this prefix."""
    return path.with_name(path.name + ".index").is_file()


def load_tf_checkpoint(prefix: Path, **told: Any) -> TDCN:
    """The separator of a TensorFlow checkpoint, in eval mode.

    Args:
        prefix: `model.ckpt-3223090`, for example: what `.index` is put behind.
        told: fields of `TDCN.Config` that the files do not say: `sample_rate_hz` always,
            `window_samples`, `hop_samples` and `dilations` where there is no `.meta`.

    Raises:
        ValueError: damaged files, other variables than a separator's, or sizes that must be told.
    """
    bundle, graph = Bundle(prefix), read_graph(prefix.with_name(prefix.name + ".meta"))
    names = [name for name in bundle.entries if not _OPTIMISERS.search(name)]
    keys, left = _known(names)
    shapes = {key: bundle.entries[name].shape for name, key in keys.items()}
    required = ["bottleneck.weight", "blocks.0.dense1.weight"]
    missing = [key for key in required if key not in shapes]
    if missing:
        raise ValueError(
            f"{prefix}: {len(names)} variables, among them no {missing[0]} of a TDCN++; its are "
            f"called {next(iter(_OUTSIDE))}, conv_block_0/..."
        )
    keys |= _ends(prefix, left, {n: e.shape for n, e in bundle.entries.items()}, shapes, graph)
    shapes = {key: bundle.entries[name].shape for name, key in keys.items()}
    sizes = _sizes(prefix, shapes, graph or Graph(), told)
    # read and held against a network that takes no memory, before one is made that does
    weights = {key: _turned(key, bundle.tensor(name)) for name, key in keys.items()}
    with torch.device("meta"):
        _check(prefix, TDCN(**sizes), weights)
    separator = TDCN(**sizes)
    separator.load_state_dict(weights)
    return separator.eval()


def _known(names: list[str]) -> tuple[dict[str, str], list[str]]:
    """Variable -> our key for those that say themselves what they are, and the other names."""
    keys: dict[str, str] = {}
    left: list[str] = []
    for name in names:
        block = _BLOCK.search(name)
        outside = [
            key for tail, key in _OUTSIDE.items() if name == tail or name.endswith("/" + tail)
        ]
        if block is not None:
            keys[name] = f"blocks.{int(block[1])}.{_IN_BLOCK[block[2]]}"
        elif outside:
            keys[name] = outside[0]
        else:
            left.append(name)
    return keys, left


def _ends(
    prefix: Path,
    left: list[str],
    sizes: Mapping[str, tuple[int, ...]],
    shapes: Mapping[str, tuple[int, ...]],
    graph: Graph | None,
) -> dict[str, str]:
    """The kernels before and behind the blocks, by shape and, of equal ones, order of creation.

    That order is in the graph; without it, it is that of the numbers in the names.
    """
    created = {name: i for i, name in enumerate(graph.variables if graph else ())}
    left = sorted(left, key=lambda name: (created.get(name, len(created)), _numbered(name)))
    n_bins, bottleneck = shapes["bottleneck.weight"][:2]
    is_stft = "basis.norm.weight" in shapes

    def fits(key: str, name: str, n_channels: int) -> bool:
        window = next((sizes[n][0] for n, k in chosen if k == "basis.encoder.weight"), -1)
        wanted: dict[str, tuple[int, ...]] = {
            "basis.encoder.weight": (sizes[name][0], n_bins),
            "masks.weight": (bottleneck, n_channels * n_bins),
            "basis.decoder.weight": (n_bins, window),
            "mix_weights.weight": (bottleneck, n_channels),
        }
        said = {"mix_weights/": "mix_weights.weight"}
        named = next((ours for part, ours in said.items() if f"/{part}" in f"/{name}"), None)
        return sizes[name] == wanted[key] and named in (None, key)

    order = [] if is_stft else ["basis.encoder.weight"]
    order += ["masks.weight"] + ([] if is_stft else ["basis.decoder.weight"])
    if len(left) > len(order):
        order.append("mix_weights.weight")
    if len(left) == len(order) and all(len(sizes[name]) == 2 for name in left):
        for names in permutations(left):
            chosen = list(zip(names, order, strict=True))
            (masks,) = [sizes[name] for name, key in chosen if key == "masks.weight"]
            if all(fits(key, name, masks[1] // n_bins) for name, key in chosen):
                return dict(chosen)
    found = ", ".join(f"{name} {sizes[name]}" for name in left) or "none"
    raise ValueError(
        f"{prefix}: beside blocks and first dense layer expected the kernels of "
        f"{', '.join(order)}, for {n_bins} bins and {bottleneck} channels; got {found[:500]}"
    )


def _numbered(name: str) -> list[tuple[str, int]]:
    """Sorts `dense_2` before `dense_10`."""
    return [(text, int(number or -1)) for text, number in re.findall(r"(\D+)(\d*)", name)]


def _sizes(
    prefix: Path, shapes: Mapping[str, tuple[int, ...]], graph: Graph, told: Mapping[str, Any]
) -> dict[str, Any]:
    """The fields of `TDCN.Config`."""
    n_bins, bottleneck = shapes["bottleneck.weight"]
    n_blocks = len({key.split(".")[1] for key in shapes if key.startswith("blocks.")})
    is_stft = "basis.norm.weight" in shapes
    window = 2 * (n_bins - 1) if is_stft else shapes["basis.encoder.weight"][0]
    sizes: dict[str, Any] = {
        "basis": "stft" if is_stft else "learned",
        "n_channels": shapes["masks.weight"][1] // n_bins,
        "bottleneck": bottleneck,
        "hidden": shapes["blocks.0.dense1.weight"][1],
        "n_coefficients": TDCN.Config.n_coefficients if is_stft else n_bins,
    }
    if "mix_weights.weight" in shapes:
        sizes["consistency"] = "predicted"
    if not is_stft:
        sizes["window_samples"] = window
    elif graph.window_samples:
        sizes["window_samples"] = graph.window_samples
    if graph.hop_samples:
        sizes["hop_samples"] = graph.hop_samples
    dilations = _dilations(prefix, n_blocks, graph)
    if dilations is not None:
        sizes["dilations"] = dilations
    different = {name: told[name] for name in told if name in sizes and told[name] != sizes[name]}
    for name, value in different.items():
        raise ValueError(f"{prefix}: {name} is {sizes[name]}, and {value!r} was asked for")
    sizes |= told
    sizes.setdefault("consistency", "uniform")
    window = sizes.setdefault("window_samples", window)
    sizes.setdefault("hop_samples", max(1, window // (4 if is_stft else 2)))
    if "dilations" not in sizes:
        if n_blocks != _PUBLISHED_BLOCKS:
            raise ValueError(
                f"{prefix}: {n_blocks} blocks, and no .meta beside it that tells their dilations; "
                "put it there, or give dilations=: blocks of a repeat"
            )
        sizes["dilations"] = _PUBLISHED_DILATIONS
    if sizes["dilations"] < 1 or n_blocks % sizes["dilations"]:
        raise ValueError(
            f"{prefix}: {n_blocks} blocks are no repeats of {sizes['dilations']} dilations"
        )
    return sizes | {"repeats": n_blocks // sizes["dilations"]}


def _dilations(prefix: Path, n_blocks: int, graph: Graph) -> int | None:
    """Blocks of a repeat: dilations 1, 2, 4, ... and 1 again; None where there is no graph."""
    if not graph.variables:
        return None
    known = dict(graph.dilations)
    found = [known.get(i, 1) for i in range(n_blocks)]
    period = next((i for i in range(1, n_blocks) if found[i] == 1), n_blocks)
    if found != [2 ** (i % period) for i in range(n_blocks)]:
        raise ValueError(
            f"{prefix}: its blocks have the dilations {found[:40]}; expected 1, 2, 4, ... repeated"
        )
    return period


def _turned(key: str, tensor: Tensor) -> Tensor:
    """A variable in torch's layout."""
    if key.endswith("conv.weight") and tensor.ndim == 4:  # (3, 1, H, 1) -> (H, 1, 3)
        tensor = tensor[:, 0, :, 0].T[:, None]
    elif tensor.ndim == 2:  # (in, out) -> (out, in)
        tensor = tensor.T
    else:
        tensor = tensor.reshape(-1)
    return tensor.to(torch.float32)


def _check(prefix: Path, separator: TDCN, weights: Mapping[str, Tensor]) -> None:
    """Refuses a variable too few or too many, or one of another shape.

    Raises:
        ValueError: says which one.
    """
    ours = {key: tuple(tensor.shape) for key, tensor in separator.state_dict().items()}
    theirs = {key: tuple(tensor.shape) for key, tensor in weights.items()}
    wrong = sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
    if wrong:
        key = wrong[0]
        raise ValueError(
            f"{prefix}: {len(wrong)} variables do not fit a TDCN++ of its sizes: {key} is "
            f"{theirs.get(key, 'missing')}, expected {ours.get(key, 'none')}"
        )
