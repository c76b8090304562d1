"""torchaudio.functional must import here, and only a CPU torch may get the empty extension."""

import importlib
import sys

import pytest
import torch

from slvr.pipeline import torchaudio_import


def test_the_functions_used_by_the_pipeline_work():
    bank = torchaudio_import.functional.melscale_fbanks(513, 0.0, 8000.0, 128, 16000)
    assert bank.shape == (513, 128)
    assert sys.modules["torchaudio"].functional is torchaudio_import.functional


def broken_once(monkeypatch):
    """Let the first import of torchaudio fail the way a CUDA-linked wheel does."""
    genuine, calls = importlib.import_module, []

    def import_module(name):
        calls.append(name)
        if len(calls) == 1:
            raise OSError("libc10_cuda.so: cannot open shared object file")
        return genuine(name)

    monkeypatch.setattr(importlib, "import_module", import_module)
    monkeypatch.setitem(sys.modules, torchaudio_import.EXTENSION, None)


def test_beside_a_cpu_torch_the_extension_is_replaced(monkeypatch):
    broken_once(monkeypatch)
    monkeypatch.setattr(torch.version, "cuda", None)
    torchaudio_import.import_functional()
    extension = sys.modules[torchaudio_import.EXTENSION]
    assert extension._IS_TORCHAUDIO_EXT_AVAILABLE is False


def test_beside_a_cuda_torch_the_failure_is_shown(monkeypatch):
    broken_once(monkeypatch)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(OSError, match="libc10_cuda"):
        torchaudio_import.import_functional()
    assert sys.modules[torchaudio_import.EXTENSION] is None
