"""Pictures and sounds inside a page: spectra as PNG, waveforms as FLAC, both as URLs."""

import io

import numpy as np
import numpy.typing as npt
import soundfile
from matplotlib.image import imsave

from slvr.command.page import data_url

Floats = npt.NDArray[np.floating]


def spectrum_url(image_db: Floats, loudest_db: float, range_db: float) -> str:
    """An image (F, L) in dB, low bands below, from black at `range_db` under the loudest."""
    buffer = io.BytesIO()
    imsave(
        buffer,
        image_db,
        vmin=loudest_db - range_db,
        vmax=loudest_db,
        cmap="magma",
        origin="lower",
        format="png",
    )
    return data_url("image/png", buffer.getvalue())


def sound_url(wave: npt.NDArray[np.generic], sample_rate_hz: int) -> str:
    """A waveform (T,), int16 or float in [-1, 1], to be played."""
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, sample_rate_hz, format="FLAC", subtype="PCM_16")
    return data_url("audio/flac", buffer.getvalue())
