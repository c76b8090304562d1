"""What can be evaluated: a trained encoder, anybody's callable, and two baselines.

Letters: B pieces, T samples, F mel bins, L frames, D embedding.
"""

import hashlib
import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from slvr.eval.protocol import Waveforms
from slvr.model.encoders.folding import folded
from slvr.model.encoders.resnet18 import TASKS, Encoder
from slvr.pipeline.frontends.mtslvr import FrontEnd
from slvr.pipeline.normalise import normalise
from slvr.shards.clip import SAMPLE_RATE_HZ


class EncoderEmbedder:
    """Waveform normalisation, front end and encoder; features of both heads, contrastive first."""

    def __init__(
        self, name: str, encoder: Encoder, normalisation: Waveforms, device: torch.device
    ) -> None:
        self.name = name
        self.fingerprint = _fingerprint(encoder, normalisation)
        d = encoder.task_dim
        self.heads: Mapping[str, slice] = (
            {"all": slice(0, d)}
            if encoder.variant == "none"
            else {task: slice(i * d, (i + 1) * d) for i, task in enumerate(TASKS)}
        )
        self._encoder = folded(encoder).to(device)
        self._front_end = FrontEnd().to(device).eval()
        self._normalisation = normalisation

    def embed(self, waves: Tensor) -> Tensor:
        """Features (B, D) of waveforms (B, T) float32 in [-1, 1] at 16 kHz."""
        image = self._front_end(_normalised(waves, self._normalisation))
        features: Tensor = self._encoder(image, "all")
        return features


def untrained(encoder: Encoder, seed: int) -> Encoder:
    """A freshly initialised encoder of the same shape; the same seed gives the same one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        width, in_channels = encoder.conv1.weight.shape[:2]
        return Encoder(encoder.variant, encoder.dim, width, in_channels)


class MeanLogMel:
    """The mean over time of the log-mel spectrum: (B, F) features that need no learning."""

    name = "mean log-mel"

    def __init__(self, normalisation: Waveforms, device: torch.device) -> None:
        self.fingerprint = f"mean log-mel, waveforms {normalisation}"
        self._normalisation = normalisation
        self._front_end = FrontEnd().to(device).eval()
        self.heads: Mapping[str, slice] = {"all": slice(0, len(self._front_end.mel_bank.T))}

    def embed(self, waves: Tensor) -> Tensor:
        """Features (B, F) in dB of waveforms (B, T) float32 in [-1, 1] at 16 kHz."""
        # (B, 3, F, L); channel 0 is log-mel power
        image: Tensor = self._front_end(_normalised(waves, self._normalisation))
        return image[:, 0].mean(dim=-1)


class CallableEmbedder:
    """An encoder named as `module:callable`.

    The callable takes waveforms (B, T) float32 at 16 kHz, or the front end's images (B, 3, F, L),
    and returns vectors (B, D). A class is instantiated without arguments; an `nn.Module` is put
    into eval mode and on the device. The fingerprint is that of its output for fixed noise, which
    changes with the weights wherever they come from.

    Raises:
        ValueError: nothing callable of that name, or it does not return (B, D).
    """

    def __init__(
        self,
        spec: str,
        takes: Literal["waveform", "features"],
        normalisation: Waveforms,
        device: torch.device,
    ) -> None:
        self.name = spec
        self._encode: Any = _named(spec)
        if isinstance(self._encode, nn.Module):
            self._encode = self._encode.to(device).eval()
        self._front_end = FrontEnd().to(device).eval() if takes == "features" else nn.Identity()
        self._normalisation = normalisation
        noise = torch.randn(2, 5 * SAMPLE_RATE_HZ, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            probe = self.embed((0.1 * noise).to(device))
        self.heads: Mapping[str, slice] = {"all": slice(0, probe.shape[1])}
        digest = hashlib.sha256(f"{spec} {takes} {normalisation}".encode())
        digest.update(probe.float().cpu().contiguous().numpy().tobytes())
        self.fingerprint = digest.hexdigest()

    def embed(self, waves: Tensor) -> Tensor:
        """Features (B, D) of waveforms (B, T) float32 in [-1, 1] at 16 kHz."""
        out = self._encode(self._front_end(_normalised(waves, self._normalisation)))
        if not (isinstance(out, Tensor) and out.ndim == 2 and len(out) == len(waves)):
            got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ValueError(
                f"--encoder {self.name}: returned {got} for {len(waves)} clips; expected a tensor "
                f"({len(waves)}, D): average over time, for instance"
            )
        return out


def _named(spec: str) -> Callable[[Tensor], Any]:
    """The callable of `module:callable`; modules of the working folder are found too."""
    module, _, name = spec.partition(":")
    if not (module and name):
        raise ValueError(f"--encoder {spec}: expected module:callable, as in my_model:embed")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"--encoder {spec}: {error}; give a module that Python finds from this folder, a colon "
            "and the name of a function, a class or an nn.Module in it"
        ) from error
    encode: Callable[[Tensor], Any] = found() if isinstance(found, type) else found
    if not callable(encode):
        raise ValueError(f"--encoder {spec}: {type(encode).__name__}, which cannot be called")
    return encode


def _normalised(waves: Tensor, how: Waveforms) -> Tensor:
    return waves if how == "none" else normalise(waves, how)


def _fingerprint(encoder: nn.Module, normalisation: str) -> str:
    """The SHA-256 of all that the features depend on: weights, shape, normalisation."""
    digest = hashlib.sha256(f"{encoder} {normalisation}".encode())
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
