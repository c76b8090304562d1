"""What a checkpoint of a run holds, and going on from one."""

import dataclasses
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slvr.model.checkpoint import (
    BEST,
    WEIGHTS,
    checkpoint_name,
    checkpoints,
    read_checkpoint,
    write_checkpoint,
)
from slvr.shards.files import refuse_links
from slvr.shards.read import ShardDirectory
from slvr.train.config import RunConfig
from slvr.train.validation import EarlyStop

Saved = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors and state of a checkpoint."""
PREVIEW = "preview.html"
"""What `train --preview` leaves in the folder of the run to come."""
KEPT = 3
"""Checkpoints that a run keeps, the newest, beside those of the steps in --keep."""
FREE = (
    *("shards", "out", "resume", "keep", "checkpoint_every", "log_every", "workers", "resident"),
    *("devices", "num_nodes"),
)
"""Options that may differ between a run and its continuation."""


class Checkpoints:
    """The checkpoints in a run's folder, and what each of them says of the run."""

    def __init__(self, out: Path, config: RunConfig, directory: ShardDirectory) -> None:
        """Reads nothing yet."""
        self._out, self._resume = out, config.output.resume
        # as it comes out of a file: tuples are lists there
        self._settings: dict[str, Any] = json.loads(json.dumps(config.flat()))
        self._dataset, self._location = directory.fingerprint, directory.location
        self._kept = {out / checkpoint_name(step) for step in config.output.kept_steps}

    def save(
        self,
        step: int,
        model: nn.Module,
        about: Mapping[str, Any],
        optimiser: torch.optim.Optimizer,
        early: EarlyStop,
        *,
        best: bool = False,
    ) -> Path:
        """Writes the checkpoint after `step` steps and drops the oldest; returns its path.

        With `best` it is written as the run's best one, beside the others. `about` says what the
        model is made of.

        Raises:
            ValueError: a weight, running statistic or moment of the optimiser is not finite.
        """
        tensors = {f"{WEIGHTS}{name}": tensor for name, tensor in model.state_dict().items()}
        for i, values in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{i}.{name}": tensor for name, tensor in values.items()}
        broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
        if broken:
            raise ValueError(
                f"{self._out}: after step {step} {len(broken)} of {len(tensors)} tensors of "
                f"weights and optimiser are not finite ({broken[0]} first); "
                f"{last_good(self._out)}; try a smaller --lr"
            )
        state = {
            "step": step,
            "config": self._settings,
            "dataset": self._dataset,
            "early_stop": dataclasses.asdict(early),
            **about,
            "normalise": self._settings["normalise"],
        }
        path = self._out / (BEST if best else checkpoint_name(step))
        write_checkpoint(path, tensors, state)
        for old in checkpoints(self._out)[:-KEPT]:
            if old not in self._kept:
                old.unlink()
        return path

    def newest(self) -> Saved | None:
        """Prepares the output folder; with --resume reads its newest undamaged checkpoint.

        Raises:
            ValueError: the folder holds a run and --resume is not given, something else, or a run
                of another configuration or data set.
        """
        out = self._out
        if out.exists() and not out.is_dir():
            raise ValueError(f"{out}: is a file; give a folder to --out")
        refuse_links(out)
        found = checkpoints(out) if out.is_dir() else []
        if found and not self._resume:
            raise ValueError(
                f"{out}: holds a run already ({found[-1].name}); add --resume to go on with it, or "
                "give another --out"
            )
        holds = {path.name for path in out.iterdir()} if out.is_dir() else set()
        if not found and holds - {PREVIEW} and "run.json" not in holds:
            raise ValueError(f"{out}: exists and holds no run; give another --out, or remove it")
        out.mkdir(parents=True, exist_ok=True)
        for path in reversed(found):
            try:
                tensors, state = read_checkpoint(path)
            except ValueError as error:
                warnings.warn(f"{error}; going back to the one before", stacklevel=2)
                continue
            self._require_same(path, state)
            return tensors, state
        return None

    def _require_same(self, path: Path, state: dict[str, Any]) -> None:
        there = state.get("config")
        if not isinstance(there, dict):
            raise ValueError(f"{path}: holds no configuration; remove it, or give another --out")
        differing = [
            f"{name} {there.get(name)!r} there, {self._settings.get(name)!r} now"
            for name in dict.fromkeys([*self._settings, *there])
            if name not in FREE and there.get(name) != self._settings.get(name)
        ]
        if state.get("dataset") != self._dataset:
            differing.append(f"another data set than {self._location}")
        if differing:
            raise ValueError(
                f"{path}: cannot go on with another configuration: {'; '.join(differing)}; give "
                "the options of that run, or another --out"
            )


def last_good(out: Path) -> str:
    """Which checkpoint to fall back on, in words; those on disk are finite."""
    found = checkpoints(out)
    return f"last good checkpoint: {found[-1]}" if found else "there is no checkpoint before it"


def restore(
    saved: Saved, model: nn.Module, optimiser: torch.optim.Optimizer, early: EarlyStop
) -> int:
    """Puts everything in the state that was saved; returns the number of steps done.

    Raises:
        ValueError: what was saved lacks something, or does not fit.
    """
    tensors, state = saved
    try:
        _put(tensors, model, optimiser)
        early.best, early.waited = state["early_stop"]["best"], state["early_stop"]["waited"]
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ValueError(
            f"the checkpoint after step {state['step']} cannot be gone on with, something in it is "
            f"missing or does not fit: {error}; remove it to go on from the one before, or give "
            "another --out"
        ) from error
    return int(state["step"])


def _put(tensors: dict[str, Tensor], model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    model.load_state_dict(
        {k.removeprefix(WEIGHTS): v for k, v in tensors.items() if k.startswith(WEIGHTS)}
    )
    values: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser."):
            _, i, key = name.split(".")
            values.setdefault(int(i), {})[key] = tensor
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": values, "param_groups": groups})
