"""Separators that a recipe needs, trained before it where they are not there yet."""

import os
import re
import sys
from pathlib import Path

from slvr.train.config import TrainConfig

_MADE = re.compile(
    r"(?P<run>runs/(?P<recipe>separator(-\w+)?)-(?P<steps>\d+))/step-(?P<step>\d{8})"
)
"""Checkpoint of a separator as the recipes name it: its run is that of a recipe of `train
separator`, and how many steps it has stands in the folder's name."""

OTHERS = (100, 500)
"""Steps whose separators other recipes take of the same run: they stay too."""


def train_missing(config: TrainConfig) -> None:
    """Trains the separators that a recipe names and that are not there; says so on stderr.

    A separator of the user's own is never made: the view maker says that it is missing. What a
    killed training left is gone on with.

    Raises:
        ValueError: one is missing and there are several processes, of which one alone must make it.
    """
    views = config.parts.views.config
    if getattr(views, "pair", "") == "mix-mix":
        return
    for name in getattr(views, "separators", ()):
        made = _MADE.fullmatch(str(name).removesuffix(".safetensors"))
        if made is not None and not Path(name).exists():
            _train(config, made)


def _train(config: TrainConfig, made: re.Match[str]) -> None:
    data, devices = config.data, config.devices
    step, steps = int(made["step"]), int(made["steps"])
    keep = ",".join(str(each) for each in sorted({*OTHERS, step}))
    line = f"train separator --recipe {made['recipe']} --shards {data.shards}"
    line += f" --steps {steps} --keep {keep} --out {made['run']}"
    if devices.devices != "1" or devices.num_nodes > 1 or "LOCAL_RANK" in os.environ:
        raise ValueError(
            f"{made[0]}.safetensors: the recipe {config.recipe} needs this separator, which one "
            f"process alone can make: first run `{line}`, then this command again"
        )
    # the command itself loads torch only here
    from slvr.train.loop import train  # noqa: PLC0415
    from slvr.train.separator_cli import configure_separator  # noqa: PLC0415

    sys.stderr.write(
        f"train: {config.recipe} needs a separator of {step} steps, which is not there: `{line}` "
        "first\n"
    )
    settings = {
        "shards": data.shards,
        "split": data.split,
        "seed": data.seed,
        "workers": data.workers,
        "accelerator": devices.accelerator,
        "steps": steps,
        "keep": keep,
        "out": made["run"],
        "resume": True,
    }
    train(configure_separator(made["recipe"], settings), Path(made["run"]))
