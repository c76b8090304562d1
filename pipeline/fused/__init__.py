"""The chains of a batch on a GPU in few kernels, by Triton; the extra `[fused]`.

`views.fused_views` computes what `views.chains.Chains` does by torch, which stays the reference,
and what every other device and chain goes by.
"""

from importlib.util import find_spec

import torch
from torch import Tensor

# Indices of samples are float32 in programs, and one program holds all frames of a row.
MOST_SAMPLES = 2**21


def can_run(waves: Tensor) -> bool:
    """Whether kernels can be launched on the waves (B, T)."""
    return len(waves) > 0 and can_run_on(waves.device, waves.shape[-1])


def can_run_on(device: torch.device, n_samples: int) -> bool:
    """Whether kernels can be launched on clips of so many samples there."""
    # tensors of a device that is not there are counted, by torch's path
    on_gpu = device.type == "cuda" and torch.cuda.is_available()
    return on_gpu and 0 < n_samples <= MOST_SAMPLES and find_spec("triton") is not None
