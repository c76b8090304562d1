"""What a separator makes of mixtures: one page to look at and listen to.

Letters: N parts, M channels, T samples, F bins, L frames.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slvr.command.page import render
from slvr.command.pictures import sound_url, spectrum_url
from slvr.shards.files import write_text

PAGE = "channels.html"
RANGE_DB = 70
LONGEST_S = 10
"""What is shown of a mixture."""


def write_channels_page(
    out: Path,
    shown: Mapping[str, tuple[Tensor, Tensor]],
    sample_rate_hz: int,
    config: Mapping[str, Any],
) -> Path:
    """Writes `channels.html` into `out` and returns its path.

    Args:
        out: the folder of a run.
        shown: name -> parts (N, T) and channels (M, T) of a mixture.
        sample_rate_hz: of both.
        config: of the training.
    """
    limit = LONGEST_S * sample_rate_hz
    page = render(
        "train",
        "channels.html.j2",
        name=out.name,
        mixtures=[
            {
                "key": key,
                "panels": _panels(parts[:, :limit], channels[:, :limit], sample_rate_hz),
            }
            for key, (parts, channels) in shown.items()
        ],
        range_db=RANGE_DB,
        config=config,
    )
    write_text(out / PAGE, page)
    return out / PAGE


def _panels(parts: Tensor, channels: Tensor, sample_rate_hz: int) -> list[dict[str, str]]:
    """Picture and sound of a mixture, its channels and its parts, at one brightness and level."""
    titled = {"mixture": parts.sum(0)}
    titled |= {f"channel {m + 1}": wave for m, wave in enumerate(channels)}
    titled |= {f"what was mixed, {n + 1}": wave for n, wave in enumerate(parts)}
    waves = {title: wave.cpu().float() for title, wave in titled.items()}
    images = {title: _spectrum_db(wave) for title, wave in waves.items()}
    loudest_db = max(float(image.max()) for image in images.values())
    peak = max(float(wave.abs().max()) for wave in waves.values())
    return [
        {
            "title": title,
            "picture": spectrum_url(images[title], loudest_db, RANGE_DB),
            "audio": sound_url((0.9 * wave / max(peak, 1e-8)).numpy(), sample_rate_hz),
        }
        for title, wave in waves.items()
    ]


def _spectrum_db(wave: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(F, L) in dB."""
    spectrum = torch.stft(wave, 512, 128, window=torch.hann_window(512), return_complex=True)
    image: np.ndarray[Any, np.dtype[np.float32]] = (
        (20 * torch.log10(spectrum.abs() + 1e-7)).float().numpy()
    )
    return image
