"""The network's step, and on CUDA the front end, as compiled code."""

import os
import shutil
from typing import cast

import torch
from torch import nn

from slvr.pipeline.frontends.contract import FrontEnd
from slvr.pipeline.frontends.mel import MelFrontEnd


def compiled(model: nn.Module, device: torch.device) -> nn.Module:
    """The model to train with its forward and backward pass by torch.compile.

    On CUDA they are replayed as CUDA graphs. The model itself keeps its weights under its own
    names and can still be called as it is.

    Raises:
        ValueError: no C++ compiler.
    """
    _require_compiler()
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    return cast(nn.Module, torch.compile(model, mode=mode, dynamic=False))


def compiled_front_end(front_end: FrontEnd, device: torch.device) -> FrontEnd:
    """The front end by torch.compile on CUDA; elsewhere as it is.

    A CPU takes it block by block, near its caches, which a compiled whole batch is slower than.
    No CUDA graph: its input lies elsewhere at each step, and would be copied for it. One that goes
    by kernels of its own has nothing to compile.
    """
    by_kernels = isinstance(front_end, MelFrontEnd) and front_end.can_launch(device, 1)
    if device.type != "cuda" or by_kernels:
        return front_end
    return cast(FrontEnd, torch.compile(front_end, dynamic=False))


def _require_compiler() -> None:
    """Refuses a machine without a C++ compiler.

    Raises:
        ValueError: there is none.
    """
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise ValueError(
            f"--compile: there is no {compiler}; install a C++ compiler, or leave --compile out"
        )
