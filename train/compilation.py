"""The network's step as compiled code."""

import os
import shutil
from typing import cast

import torch

from slvr.model.learner import Learner


def compiled(model: Learner, device: torch.device) -> Learner:
    """The model to train with its forward and backward pass by torch.compile.

    On CUDA they are replayed as CUDA graphs. The model itself keeps its weights under its own
    names and can still be called as it is.

    Raises:
        ValueError: no C++ compiler.
    """
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise ValueError(
            f"--compile: there is no {compiler}; install a C++ compiler, or leave --compile out"
        )
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    return cast(Learner, torch.compile(model, mode=mode, dynamic=False))
