"""Separators for views, by what the user typed."""

from collections.abc import Mapping
from typing import Any

import torch

from slvr.model.separators.load import load_separator
from slvr.pipeline.views.contract import Separator
from slvr.shards.clip import SAMPLE_RATE_HZ


def separators_of(config: Any, device: torch.device) -> Mapping[str, Separator]:
    """The frozen separators that a view maker's configuration names, by name, on a device.

    Raises:
        ValueError: no such separator, or one for another sample rate.
    """
    if getattr(config, "pair", None) == "mix-mix":
        return {}
    names = getattr(config, "separators", ())
    return {name: load_separator(name, sample_rate_hz=SAMPLE_RATE_HZ).to(device) for name in names}
