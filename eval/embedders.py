"""What can be evaluated: a trained encoder, anybody's callable, and baselines without learning.

Letters: B pieces, T samples, C channels, F mel bins, L frames, L' frames of embeddings, D
embedding.
"""

import hashlib
import inspect
import json
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slvr.command.named import loaded
from slvr.eval.protocol import Waveforms
from slvr.model.encoders.contract import ALL, Encoder
from slvr.pipeline.frontends.contract import FrontEnd
from slvr.pipeline.frontends.mtslvr import MTSLVR
from slvr.pipeline.normalise import normalise
from slvr.shards.clip import SAMPLE_RATE_HZ


class EncoderEmbedder(nn.Module):
    """Waveform normalisation, front end and encoder; features of all tasks side by side.

    Attributes:
        name: in the tables.
        fingerprint: SHA-256 of all that the features depend on: shape and weights of encoder and
            front end, normalisation.
        heads: the part of each task.
        dim: values of a feature vector, D.
    """

    def __init__(
        self,
        name: str,
        encoder: Encoder,
        front_end: FrontEnd,
        normalisation: Waveforms,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.name = name
        self.fingerprint = _fingerprint(encoder, front_end, normalisation)
        ends = list(accumulate((encoder.dims[task] for task in encoder.tasks), initial=0))
        self.heads: Mapping[str, slice] = {
            task: slice(*ends[i : i + 2]) for i, task in enumerate(encoder.tasks)
        }
        self.dim = encoder.dims[ALL]
        assert self.dim == ends[-1], f"{name}: all is not the tasks side by side"
        self._encoder = encoder.folded().to(device)
        self._front_end = front_end.to(device).eval()
        self._normalisation = normalisation

    def embed(self, waves: Tensor) -> Tensor:
        """Features (B, D) of waveforms (B, T) float32 in [-1, 1] at 16 kHz."""
        features: Tensor = self._encoder(self._images(waves), ALL)
        return features

    def _images(self, waves: Tensor) -> Tensor:
        """(B, C, F, L) of normalised waveforms."""
        images: Tensor = self._front_end(_normalised(waves, self._normalisation))
        return images


class FramesEmbedder(EncoderEmbedder):
    """The same of an encoder that has frames."""

    @property
    def frame_s(self) -> float:
        """Seconds from one frame embedding to the next."""
        assert self._encoder.frame_stride is not None
        return self._encoder.frame_stride * self._front_end.hop_s

    def embed_frames(self, waves: Tensor) -> Tensor:
        """Features (B, L', D) of the frames of waveforms (B, T) float32 in [-1, 1] at 16 kHz."""
        frames: Tensor = self._encoder.frames(self._images(waves), ALL)[1]
        return frames


def encoder_embedder(
    name: str,
    encoder: Encoder,
    front_end: FrontEnd,
    normalisation: Waveforms,
    device: torch.device,
) -> EncoderEmbedder:
    """What embeds with an encoder: its frames too, where it has some."""
    kind = EncoderEmbedder if encoder.frame_stride is None else FramesEmbedder
    return kind(name, encoder, front_end, normalisation, device)


MEAN_LOG_MEL = "mean log-mel"
MEL_STATISTICS = (MEAN_LOG_MEL, "mean + deviation of log-mel", "mean + deviation of MFCC")
"""Names of features that need no learning."""
_N_MFCC = 20
"""Cepstral coefficients, the level among them: what speech recognition took for decades, and some
more, since these are not speech alone."""


class MelStatistics:
    """Statistics over time of the log-mel spectrum or of its cepstrum: nothing is learnt.

    Frames with nothing but zeros in the middle do not count: the logarithm's floor, a hundred
    decibels below any recording, would tell padding and nothing else.

    Cepstral coefficients are the first of its orthonormal DCT-II over the bands: c_k = sum_f a_k
    cos(pi k (2 f + 1) / (2 F)) x_f with a_0 = sqrt(1 / F), otherwise a_k = sqrt(2 / F).
    """

    def __init__(self, name: str, normalisation: Waveforms, device: torch.device) -> None:
        """Makes one of `MEL_STATISTICS`."""
        assert name in MEL_STATISTICS
        self.name = name
        self.fingerprint = f"{name}, waveforms {normalisation}"
        self._normalisation = normalisation
        self._front_end = MTSLVR().to(device).eval()
        n_mels = self._front_end.n_mels
        self._basis: Tensor | None = None
        if "MFCC" in name:
            self._basis = _cosines(_N_MFCC, n_mels).to(device)
        self._deviation = "deviation" in name
        n = (n_mels if self._basis is None else _N_MFCC) * (2 if self._deviation else 1)
        self.heads: Mapping[str, slice] = {ALL: slice(0, n)}

    def embed(self, waves: Tensor) -> Tensor:
        """Features (B, D) in dB of waveforms (B, T) float32 in [-1, 1] at 16 kHz."""
        image: Tensor = self._front_end(_normalised(waves, self._normalisation))
        bands = image[:, self._front_end.log_mel]
        bands = bands if self._basis is None else self._basis @ bands
        weights = self._heard(waves)[:, None]
        mean = (weights * bands).sum(-1)
        if not self._deviation:
            return mean
        variance = (weights * (bands - mean[..., None]).square()).sum(-1)
        return torch.cat([mean, variance.sqrt()], dim=1)

    def _heard(self, waves: Tensor) -> Tensor:
        """(B, L): 1 / n for the n frames with sound, 0 for others; alike where there is none."""
        middle, hop = self._front_end.frame_samples // 4, self._front_end.hop_samples
        heard = F.max_pool1d(waves.abs()[:, None], middle, hop, middle // 2)[:, 0] > 0
        heard |= ~heard.any(-1, keepdim=True)
        return heard / heard.sum(-1, keepdim=True)


class CallableEmbedder:
    """An encoder named as `module:callable` or `./file.py:callable`.

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
        encode = loaded(spec, "--encoder")
        encode = encode() if isinstance(encode, type) else encode
        if not callable(encode):
            raise ValueError(f"--encoder {spec}: {type(encode).__name__}, which cannot be called")
        self._encode = encode.to(device).eval() if isinstance(encode, nn.Module) else encode
        self._front_end = MTSLVR().to(device).eval() if takes == "features" else nn.Identity()
        self._normalisation = normalisation
        noise = torch.randn(2, 5 * SAMPLE_RATE_HZ, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            probe = self.embed((0.1 * noise).to(device))
        self.heads: Mapping[str, slice] = {ALL: slice(0, probe.shape[1])}
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


def _cosines(n: int, n_bands: int) -> Tensor:
    """(n, F): the first rows of the orthonormal DCT-II."""
    band = torch.arange(n_bands, dtype=torch.float64)
    k = torch.arange(n, dtype=torch.float64)[:, None]
    rows: Tensor = (torch.pi * k * (2 * band + 1) / (2 * n_bands)).cos() * (2 / n_bands) ** 0.5
    rows[0] /= 2**0.5
    return rows.float()


def _normalised(waves: Tensor, how: Waveforms) -> Tensor:
    return waves if how == "none" else normalise(waves, how)


def _fingerprint(encoder: Encoder, front_end: FrontEnd, normalisation: Waveforms) -> str:
    """The SHA-256 of all that the features depend on."""
    parts: tuple[Any, ...] = (encoder, front_end)
    about = [*([part.NAME, part.shape()] for part in parts), normalisation]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for part in parts:
        source = inspect.getsourcefile(type(part))
        if source is not None and not type(part).__module__.startswith("slvr."):
            digest.update(Path(source).read_bytes())  # the code of a user's class is its own too
        for name, tensor in part.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
