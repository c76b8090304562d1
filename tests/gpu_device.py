"""The device of the tests that need a GPU, and what marks them.

SLVR_GPU_TESTS_ON=cpu rehearses them where there is none: on the CPU, which then takes the branches
of a device wherever our code has two.
"""

import os

import pytest
import torch

DEVICE = torch.device(os.environ.get("SLVR_GPU_TESTS_ON", "cuda"))
NEEDS_GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        DEVICE.type == "cuda" and not torch.cuda.is_available(), reason="no CUDA device"
    ),
]


def needs_gpu(test):
    """The test, marked with all of them."""
    for mark in NEEDS_GPU:
        test = mark(test)
    return test
