"""Separators by name: of a run, a checkpoint, TensorFlow's files, or untrained ones of a seed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from slvr.model.checkpoint import WEIGHTS, checkpoint_file, read_checkpoint
from slvr.model.separators.registry import SEPARATORS
from slvr.model.separators.tdcn import TDCN
from slvr.model.separators.tf_checkpoint import is_tf_prefix, load_tf_checkpoint

SEPARATOR = f"{WEIGHTS}separator."
"""How the names of a separator's tensors begin in a checkpoint."""
SIZES: Mapping[str, Mapping[str, Any]] = {
    "full": {},
    "learned": {"basis": "learned", "window_samples": 40, "hop_samples": 20},
    "demo": {"bottleneck": 32, "hidden": 64, "dilations": 5, "repeats": 1},
}
"""Sizes of untrained separators by name; `full` and `learned` are the published ones."""
_UNTRAINED = re.compile(r"untrained:(\d{1,18})(?::(\w+))?")


def load_separator(name: str | Path, **expected: Any) -> TDCN:
    """A frozen separator: `separator(waves)` takes (B, T) and gives channels (B, M, T).

    Args:
        name: the folder of a run of `train separator` (its best or newest checkpoint), a checkpoint
            of one, the prefix of a TensorFlow checkpoint of TDCN++, or `untrained:SEED` or
            `untrained:SEED:SIZE`, with one of `SIZES`.
        expected: fields of `TDCN.Config`. They make an untrained separator, tell of TensorFlow's
            what its files do not say, and must hold of any other: `sample_rate_hz=16_000`,
            `n_channels=4`.

    Raises:
        ValueError: nothing of that name, damaged files, or a separator of other fields.
    """
    known = TDCN.Config.__dataclass_fields__.keys()
    for field in sorted(expected.keys() - known):
        raise ValueError(f"a separator has no {field!r}; it has {', '.join(known)}")
    text, path = str(name), Path(name)
    if text.startswith("untrained"):
        separator = _untrained(text, expected)
    elif is_tf_prefix(path):
        separator = load_tf_checkpoint(path, **expected)
    else:
        separator = _of_checkpoint(path)
    shape = separator.shape()
    for field, value in expected.items():
        if shape[field] != value:
            raise ValueError(
                f"{name}: a separator with {field} {shape[field]!r}, expected {value!r}; choose "
                "another one"
            )
    return separator.eval().requires_grad_(False)


def untrained(seed: int, **shape: Any) -> TDCN:
    """A separator of random weights; the same seed gives the same one."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return TDCN(**shape)


def _untrained(text: str, expected: Mapping[str, Any]) -> TDCN:
    match = _UNTRAINED.fullmatch(text)
    size = None if match is None else SIZES.get(match[2] or "full")
    if match is None or size is None:
        raise ValueError(
            f"{text}: expected untrained:SEED or untrained:SEED:SIZE with a size of "
            f"{', '.join(SIZES)}"
        )
    return untrained(int(match[1]), **{**size, **expected})


def _of_checkpoint(path: Path) -> TDCN:
    path = checkpoint_file(path)
    tensors, state = read_checkpoint(path)
    about = state.get("separator")
    if not isinstance(about, dict) or about.get("name") not in SEPARATORS:
        what = "holds an encoder" if "encoder" in state else "does not say which separator it holds"
        raise ValueError(
            f"{path}: {what}; expected a checkpoint of `train separator`, with one of "
            f"{', '.join(SEPARATORS)}"
        )
    weights = {k.removeprefix(SEPARATOR): v for k, v in tensors.items() if k.startswith(SEPARATOR)}
    place, _, class_name = SEPARATORS[about["name"]].partition(":")
    separator_class: type[TDCN] = getattr(import_module(place), class_name)
    n_values = sum(tensor.numel() for tensor in weights.values())
    try:
        with torch.device("meta"):  # sizes that the file does not have take no memory
            separator = separator_class(**about["shape"])
        if sum(p.numel() for p in separator.parameters()) > n_values:
            raise ValueError(f"its sizes are not those of its {n_values:,} values")
        separator = separator_class(**about["shape"])
        separator.load_state_dict(weights)
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{path}: its separator is not what it says: {error}; use the version that wrote it"
        ) from error
    return separator
