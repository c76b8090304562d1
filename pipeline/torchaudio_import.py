"""`torchaudio.functional`, importable beside a CPU build of torch as well.

The registry's torchaudio wheel for Linux is linked against CUDA. Beside a CPU torch its compiled
extension cannot be loaded and `import torchaudio` raises `OSError`, although everything used
here (mel filter bank, resampling, phase vocoder) is plain Python. This module is the one place
that knows: where torch has no CUDA *and* the plain import fails, an empty extension takes the
compiled one's place. Beside a CUDA torch nothing is replaced. Import this module before any
library that imports torchaudio itself.
"""

import importlib
import sys
from types import ModuleType

import torch

EXTENSION = "torchaudio._extension"


def empty_extension() -> ModuleType:
    """A module with the four names that torchaudio reads from its compiled extension."""
    module = ModuleType(EXTENSION)
    vars(module).update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        _check_cuda_version=lambda: None,
        fail_if_no_align=lambda function: function,
    )
    return module


def import_functional() -> ModuleType:
    """The module `torchaudio.functional`.

    Raises:
        OSError: the compiled extension does not load although torch was built with CUDA: the
            two wheels do not belong together, and an empty extension would hide it.
    """
    try:
        return importlib.import_module("torchaudio.functional")
    except OSError:
        if torch.version.cuda is not None:
            raise
    sys.modules[EXTENSION] = empty_extension()
    return importlib.import_module("torchaudio.functional")


functional = import_functional()
