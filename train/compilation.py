"""The network's step as compiled code."""

import os
import shutil
from typing import cast

import torch

from slvr.model.multitask import MultiTask
from slvr.train.config import TrainConfig


def compiled(model: MultiTask, config: TrainConfig, device: torch.device) -> MultiTask:
    """The model to train: with --compile its forward and backward pass by torch.compile.

    On CUDA they are replayed as CUDA graphs. The model itself keeps its weights under its own
    names and can still be called as it is.

    Raises:
        ValueError: no C++ compiler.
    """
    if not config.compile:
        return model
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise ValueError(
            f"--compile: there is no {compiler}; install a C++ compiler, or leave --compile out"
        )
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    return cast(MultiTask, torch.compile(model, mode=mode, dynamic=False))
