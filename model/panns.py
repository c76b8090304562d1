"""Weights of the published PANNs, read into `CNN14`: a supervised upper anchor.

Kong et al., "PANNs", TASLP 2020, arXiv 1912.10211; trained on the labels of AudioSet's two million
clips, files `Cnn14_16k_mAP=0.438.pth` and the like.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slvr.model.encoders.cnn14 import CNN14
from slvr.model.released import misfit

SUFFIX = ".pth"
FRONT_END: Mapping[str, Any] = {
    "n_mels": 64,
    "low_hz": 50.0,
    "high_hz": 8000.0,
    "frame_samples": 512,
    "hop_samples": 160,
    "scale": "slaney",
    "area": True,
    "log": "decibel",
    "floor": 1e-10,
    "floor_is": "least",
}
"""Of the models at 16 kHz: what the front end `logmel` is made with."""
_LEFT_OUT = ("spectrogram_extractor.", "logmel_extractor.", "fc_audioset.")
_WINDOW = "spectrogram_extractor.stft.conv_real.weight"
_BANK = "logmel_extractor.melW"
_EXPECTED = "expected a Cnn14 at 16 kHz of the PANNs, for example Cnn14_16k_mAP=0.438.pth"


def load_panns(path: Path) -> CNN14:
    """The encoder of a published Cnn14 at 16 kHz, without its classifier, in eval mode.

    Its embedding is theirs: the layer before the classifier, behind its ReLU.

    Raises:
        ValueError: no such file, one that holds more than tensors, or another network.
    """
    tensors = _read(path)
    for name, values, what in (
        (_WINDOW, FRONT_END["frame_samples"], "samples a frame"),
        (_BANK, FRONT_END["n_mels"], "bands"),
    ):
        found = tensors[name].shape[-1] if name in tensors and tensors[name].ndim else values
        if found != values:
            raise ValueError(
                f"{path}: its front end has {found} {what}, that of 16 kHz {values}; {_EXPECTED}"
            )
    weights = {k: v for k, v in tensors.items() if not k.startswith(_LEFT_OUT)}
    sizes = [weights.get(name) for name in ("conv_block1.conv1.weight", "fc1.weight")]
    if any(x is None or not x.ndim or not len(x) for x in sizes):
        raise ValueError(
            f"{path}: no Cnn14, it has no conv_block1.conv1 and fc1 (but "
            f"{', '.join(list(weights)[:3]) or 'nothing'}); {_EXPECTED}"
        )
    width, dim = (len(x) for x in sizes if x is not None)
    if max(width, dim) > 2**14:  # nothing of a file's own choice is made before it is looked at
        raise ValueError(f"{path}: {width} channels and {dim} values an embedding; {_EXPECTED}")
    with torch.device("meta"):
        expected = CNN14(width, dim).state_dict()
    wrong = misfit(expected, weights)
    if wrong:
        raise ValueError(f"{path}: not the tensors of a Cnn14: {wrong}; {_EXPECTED}")
    encoder = CNN14(width, dim, rectified=True)
    encoder.load_state_dict(weights)
    return encoder.eval()


def _read(path: Path) -> dict[str, Tensor]:
    """The state dict of a file; nothing in it is executed.

    Raises:
        ValueError: no such file, or one that holds more than tensors and plain values.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; {_EXPECTED}")
    try:
        with torch.serialization.safe_globals(_arrays()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file can raise anything
        why = str(error).partition("\n")[0] or "it is empty"
        raise ValueError(f"{path}: not a file of plain tensors ({why}); {_EXPECTED}") from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f"{path}: holds no state dict, name -> tensor; {_EXPECTED}")
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


def _arrays() -> list[Any]:
    """What the pickle of a numpy array names: training wrote its sampler's place beside."""
    reconstruct = np.zeros(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(name)) for name in ("int32", "int64", "float32", "float64", "bool")]
    named = [
        (what, f"numpy.{place}.multiarray.{name}")
        for place in ("core", "_core")
        for name, what in (("_reconstruct", reconstruct), ("scalar", scalar))
    ]
    return [np.ndarray, np.dtype, *kinds, *named]
