"""What a checkpoint of a run holds, and going on from one."""

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slvr.model.checkpoint import (
    BEST,
    checkpoint_name,
    checkpoints,
    read_checkpoint,
    write_checkpoint,
)
from slvr.model.multitask import MultiTask
from slvr.shards.read import ShardDirectory
from slvr.train.config import TrainConfig
from slvr.train.validation import EarlyStop

Saved = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors and state of a checkpoint."""
KEPT = 3
"""Checkpoints that a run keeps."""
FREE = (
    *("shards", "out", "resume", "checkpoint_every", "log_every", "workers", "resident"),
    *("devices", "num_nodes"),
)
"""Options that may differ between a run and its continuation."""


def save(
    out: Path,
    step: int,
    config: TrainConfig,
    directory: ShardDirectory,
    model: MultiTask,
    optimiser: torch.optim.Optimizer,
    early: EarlyStop,
    *,
    best: bool = False,
) -> Path:
    """Writes the checkpoint after `step` steps and drops the oldest; returns its path.

    With `best` it is written as the run's best one, beside the others.

    Raises:
        ValueError: a weight, running statistic or moment of the optimiser is not finite.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for i, values in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{i}.{name}": tensor for name, tensor in values.items()}
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise ValueError(
            f"{out}: after step {step} {len(broken)} of {len(tensors)} tensors of weights and "
            f"optimiser are not finite ({broken[0]} first); {last_good(out)}; try a smaller --lr"
        )
    encoder = model.encoder
    state = {
        "step": step,
        "config": dataclasses.asdict(config),
        "dataset": directory.fingerprint,
        "early_stop": dataclasses.asdict(early),
        "encoder": {"variant": encoder.variant, "dim": encoder.dim, "width": config.width},
    }
    path = out / (BEST if best else checkpoint_name(step))
    write_checkpoint(path, tensors, state)
    for old in checkpoints(out)[:-KEPT]:
        old.unlink()
    return path


def last_good(out: Path) -> str:
    """Which checkpoint to fall back on, in words; those on disk are finite."""
    found = checkpoints(out)
    return f"last good checkpoint: {found[-1]}" if found else "there is no checkpoint before it"


def newest(out: Path, config: TrainConfig, directory: ShardDirectory) -> Saved | None:
    """Prepares the output folder; with `config.resume` reads its newest undamaged checkpoint.

    Raises:
        ValueError: the folder holds a run and --resume is not given, something else, or a run of
            another configuration or data set.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: is a file; give a folder to --out")
    found = checkpoints(out) if out.is_dir() else []
    if found and not config.resume:
        raise ValueError(
            f"{out}: holds a run already ({found[-1].name}); add --resume to go on with it, or "
            "give another --out"
        )
    if not found and out.is_dir() and any(out.iterdir()) and not (out / "run.json").exists():
        raise ValueError(f"{out}: exists and holds no run; give another --out, or remove it")
    out.mkdir(parents=True, exist_ok=True)
    for path in reversed(found):
        try:
            tensors, state = read_checkpoint(path)
        except ValueError as error:
            warnings.warn(f"{error}; going back to the one before", stacklevel=2)
            continue
        _require_same(path, state, config, directory)
        return tensors, state
    return None


def restore(
    saved: Saved, model: MultiTask, optimiser: torch.optim.Optimizer, early: EarlyStop
) -> int:
    """Puts everything in the state that was saved; returns the number of steps done."""
    tensors, state = saved
    model.load_state_dict(
        {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    )
    values: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser."):
            _, i, key = name.split(".")
            values.setdefault(int(i), {})[key] = tensor
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": values, "param_groups": groups})
    early.best, early.waited = state["early_stop"]["best"], state["early_stop"]["waited"]
    return int(state["step"])


def _require_same(
    path: Path, state: dict[str, Any], config: TrainConfig, directory: ShardDirectory
) -> None:
    now = json.loads(json.dumps(dataclasses.asdict(config)))  # tuples are lists in a checkpoint
    differing = [
        f"{name} {state['config'].get(name)!r} there, {value!r} now"
        for name, value in now.items()
        if name not in FREE and state["config"].get(name) != value
    ]
    if state["dataset"] != directory.fingerprint:
        differing.append(f"another data set than {directory.location}")
    if differing:
        raise ValueError(
            f"{path}: cannot go on with another configuration: {'; '.join(differing)}; give the "
            "options of that run, or another --out"
        )
