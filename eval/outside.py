"""Encoders of others by the HEAR 2021 interface, ranked like ours.

A module with `load_model`, `get_scene_embeddings` and, for sound events, `get_timestamp_embeddings`
(https://hearbenchmark.com/hear-api.html). Nothing of HEAR's kit is needed.

Letters: B clips, T samples, L frames, D embedding.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from slvr.command.named import loaded
from slvr.model.encoders.contract import ALL
from slvr.shards.clip import SAMPLE_RATE_HZ

_PROBE_S = 2


class OutsideEmbedder:
    """What `module` or `./file.py` embeds, with weights where `@FILE` names them.

    Attributes:
        name: as it was typed.
        fingerprint: of its output for fixed noise, which changes with the weights.
        heads: one.
        sample_rate_hz: that it takes; clips are resampled where it is another than theirs.

    Raises:
        ValueError: no such module, or it does not keep to the interface.
    """

    def __init__(self, spec: str, device: torch.device) -> None:
        self.name = spec
        place, _, weights = spec.partition("@")
        names = ("load_model", "get_scene_embeddings", "get_timestamp_embeddings")
        load, self._scenes, self._stamps = (loaded(f"{place}:{name}", "--hear") for name in names)
        self._model = load(weights) if weights else load()
        if isinstance(self._model, nn.Module):
            self._model = self._model.to(device).eval()
        self._device = device
        rate = getattr(self._model, "sample_rate", None)
        if not isinstance(rate, int) or rate <= 0:
            raise ValueError(
                f"--hear {spec}: the model's sample_rate is {rate!r}; expected a number of Hz, as "
                "the HEAR interface asks for"
            )
        self.sample_rate_hz = rate
        generator = torch.Generator().manual_seed(0)
        noise = 0.1 * torch.randn(2, _PROBE_S * SAMPLE_RATE_HZ, generator=generator)
        probe = self.embed(noise.to(device)).float().cpu()
        self.heads: Mapping[str, slice] = {ALL: slice(0, probe.shape[1])}
        digest = hashlib.sha256(f"hear {spec} {rate}".encode())
        digest.update(np.ascontiguousarray(probe.numpy()).tobytes())
        self.fingerprint = digest.hexdigest()

    @property
    def remark(self) -> str:
        """What has to be said of it below the tables."""
        if self.sample_rate_hz == SAMPLE_RATE_HZ:
            return ""
        return (
            f"{self.name}: takes {self.sample_rate_hz} Hz; the clips, which are of "
            f"{SAMPLE_RATE_HZ} Hz, were resampled, and nothing is above {SAMPLE_RATE_HZ // 2} Hz."
        )

    def embed(self, waves: Tensor) -> Tensor:
        """Features (B, D) of waveforms (B, T) float32 in [-1, 1] at 16 kHz."""
        out = self._called(self._scenes, waves)
        if not (isinstance(out, Tensor) and out.ndim == 2 and len(out) == len(waves)):
            raise ValueError(
                f"--hear {self.name}: get_scene_embeddings returned {_what(out)} for {len(waves)} "
                f"clips; expected a tensor ({len(waves)}, D)"
            )
        return out

    def embed_stamped(self, wave: Tensor) -> tuple[Tensor, NDArray[np.float64]]:
        """Features (L, D) of the frames of a waveform (T,) at 16 kHz, and their stamps in ms."""
        out = self._called(self._stamps, wave[None])
        if not (isinstance(out, tuple) and len(out) == 2 and out[0].ndim == 3):
            raise ValueError(
                f"--hear {self.name}: get_timestamp_embeddings returned {_what(out)}; expected "
                "embeddings (1, L, D) and timestamps (1, L)"
            )
        values, stamps = out
        times_ms = stamps[0].double().cpu().numpy()
        if len(times_ms) != values.shape[1]:
            raise ValueError(
                f"--hear {self.name}: {values.shape[1]} embeddings have {len(times_ms)} "
                "timestamps; expected one each"
            )
        return values[0], times_ms

    def _called(self, function: Callable[..., Any], waves: Tensor) -> Any:
        """What a function of the interface makes of waveforms at 16 kHz."""
        audio = waves.float()
        if self.sample_rate_hz != SAMPLE_RATE_HZ:
            there = audio.cpu().numpy().T
            made = soxr.resample(there, SAMPLE_RATE_HZ, self.sample_rate_hz, quality="HQ")
            audio = torch.from_numpy(np.ascontiguousarray(made.T)).to(self._device)
        with torch.no_grad():
            return function(audio, self._model)


def _what(out: Any) -> str:
    return str(tuple(out.shape)) if isinstance(out, Tensor) else type(out).__name__
