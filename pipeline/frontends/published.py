"""What published systems set of the front end `logmel`: values alone, which loads nothing."""

from collections.abc import Mapping
from typing import Any

YAMNET: Mapping[str, Any] = {
    "n_mels": 64,
    "low_hz": 125.0,
    "high_hz": 7500.0,
    "frame_samples": 400,
    "hop_samples": 160,
    "fft_samples": 512,
    "centred": False,
    "spectrum": "magnitude",
    "triangles": "mel",
    "log": "natural",
    "floor": 1e-3,
}
"""Of VGGish's and YAMNet's house: 96 frames of 10 ms are 0.96 s; silence is -6.9078."""

K22: Mapping[str, Any] = {
    "n_mels": 64,
    "low_hz": 60.0,
    "high_hz": 7800.0,
    "frame_samples": 400,
    "hop_samples": 160,
    "window_norm": "energy",
    "log": "none",
}
"""Of "multiple sampling strategies" (Kuroyanagi & Komatsu, ICASSP 2022) as its code runs: power, no
logarithm, whatever the paper says."""
