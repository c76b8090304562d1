"""Encoders, objectives, losses and checkpoints; importing the package does not load torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from model.encoder import Encoder


def load_released(state_dict: Mapping[str, Tensor], variant: str) -> Encoder:
    """Return the encoder held by a published MT-SLVR state dict: `model.released.load_released`."""
    from model.released import load_released as load  # noqa: PLC0415  # keeps torch out of --help

    return load(state_dict, variant)
