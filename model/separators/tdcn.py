"""TDCN++, the network of unsupervised sound separation.

Kavalerov et al., "Universal sound separation", WASPAA 2019, as it was released for Wisdom et al.,
"Unsupervised sound separation using mixture invariant training", NeurIPS 2020, arXiv 2006.12701.
Letters: B clips, M channels, T samples, L frames, C coefficients, H hidden channels.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slvr.model.separators.bases import Basis, LearnedBasis, Scalars, StftBasis
from slvr.model.separators.consistency import (
    energy_weights,
    predicted_weights,
    project,
    uniform_weights,
)

CONSISTENCIES = ("predicted", "uniform", "energy")
EPS = 1e-3
"""Of the norms over time; large, and part of what a trained network is."""


class TDCN(nn.Module):
    """`separator(waves)`: (B, T) float32 -> (B, M, T), channels that sum to the waves.

    A mask for each channel, out of `repeats` x `dilations` blocks over frames of a basis. Row i
    depends on row i alone. Its fields, in `shape()`, make the same network again.
    """

    NAME = "tdcn"

    @dataclass(frozen=True)
    class Config:
        """A mask-based separator."""

        n_channels: int = 2
        """Channels that a clip is taken apart into, 2 or more."""
        basis: Literal["stft", "learned"] = "stft"
        """What is masked: a short-time Fourier transform, or learned coefficients."""
        window_samples: int = 512
        """Length of a frame, 2 or more; 40 for the published learned basis."""
        hop_samples: int = 128
        """From one frame to the next, 1 to the window; 20 for the published learned basis."""
        n_coefficients: int = 256
        """Coefficients of the learned basis, 1 or more; the STFT has those of its window."""
        bottleneck: int = 256
        """Channels between the blocks, 1 or more."""
        hidden: int = 512
        """Channels inside a block, 1 or more."""
        dilations: int = 8
        """Blocks of a repeat, with dilations 1, 2, 4, ..., 1 to 16."""
        repeats: int = 4
        """Repeats of these blocks, 1 or more."""
        consistency: Literal["predicted", "uniform", "energy"] = "predicted"
        """How what the channels lack of their mixture is shared out: by weights that the network
        predicts, evenly, or by energy."""
        long_skips: bool = False
        """Add the input of every earlier repeat to that of a later one, through a dense layer."""
        sample_rate_hz: int = 16_000
        """Rate of the waveforms."""

        def __post_init__(self) -> None:
            for name, fits in {
                "n_channels": 2 <= self.n_channels <= 64,
                "basis": self.basis in ("stft", "learned"),
                "window_samples": 2 <= self.window_samples <= 2**16,
                "hop_samples": 1 <= self.hop_samples <= self.window_samples,
                "n_coefficients": 1 <= self.n_coefficients <= 2**16,
                "bottleneck": 1 <= self.bottleneck <= 2**14,
                "hidden": 1 <= self.hidden <= 2**14,
                "dilations": 1 <= self.dilations <= 16,
                "repeats": 1 <= self.repeats <= 64,
                "consistency": self.consistency in CONSISTENCIES,
                "sample_rate_hz": 1_000 <= self.sample_rate_hz <= 400_000,
            }.items():
                if not fits:
                    raise ValueError(
                        f"separator.{name} {getattr(self, name)!r}: out of range; see "
                        "`train separator --help` for it"
                    )

    def __init__(self, **shape: Any) -> None:
        super().__init__()
        unknown = sorted(shape.keys() - {field.name for field in fields(self.Config)})
        if unknown:
            raise ValueError(f"a separator has no {', '.join(unknown)}")
        self.config = config = self.Config(**shape)
        self.basis: Basis = (
            StftBasis(config.window_samples, config.hop_samples)
            if config.basis == "stft"
            else LearnedBasis(config.n_coefficients, config.window_samples, config.hop_samples)
        )
        self.bottleneck = nn.Linear(self.basis.n_bins, config.bottleneck)
        self.bottleneck_scale = Scalars(1.0)
        n_blocks = config.repeats * config.dilations
        self.blocks = nn.ModuleList(
            Block(config.bottleneck, config.hidden, 2 ** (i % config.dilations), 0.9**i)
            for i in range(n_blocks)
        )
        n_skips = config.repeats * (config.repeats - 1) // 2 if config.long_skips else 0
        self.skips = nn.ModuleList(Skip(config.bottleneck) for _ in range(n_skips))
        self.masks = nn.Linear(config.bottleneck, config.n_channels * self.basis.n_bins, bias=False)
        if config.consistency == "predicted":
            self.mix_weights = nn.Linear(config.bottleneck, config.n_channels, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        """Dense layers Glorot-uniform, biases 0, as TensorFlow does it; blocks do their own."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @property
    def n_channels(self) -> int:
        """M."""
        return self.config.n_channels

    @property
    def sample_rate_hz(self) -> int:
        """Of the waveforms that it takes."""
        return self.config.sample_rate_hz

    def shape(self) -> dict[str, Any]:
        """What `TDCN(**shape)` makes the same network of."""
        return asdict(self.config)

    def fingerprint(self) -> str:
        """SHA-256 of shape and weights: of all that the channels depend on."""
        digest = hashlib.sha256(json.dumps([self.NAME, self.shape()], sort_keys=True).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def forward(self, waves: Tensor) -> Tensor:
        """The channels (B, M, T) of waveforms (B, T); any T of 1 or more.

        Raises:
            ValueError: something else than (B, T).
        """
        if waves.ndim != 2 or waves.shape[-1] < 1:
            raise ValueError(
                f"a separator takes waveforms (B, T) of one sample or more, got "
                f"{tuple(waves.shape)}; mix stereo down first"
            )
        coefficients = self.basis.analyse(waves)
        core = self.core(self.basis.seen(coefficients).to(self.masks.weight.dtype))
        masks = self.masks_of(core)
        channels = self.basis.synthesise(masks * coefficients[:, None], waves.shape[-1])
        # whatever the network's precision: what the channels sum to is seen in the last digits
        channels, waves = _at_least_float32(channels), _at_least_float32(waves)
        return project(waves, channels, self.weights_of(core, channels).to(channels.dtype))

    def core(self, seen: Tensor) -> Tensor:
        """(B, C, L) -> (B, bottleneck, L): the output of the last block."""
        scale, bias = self.bottleneck_scale.weight, self.bottleneck.bias
        y = _dense(scale * self.bottleneck.weight, seen, scale * bias)
        starts: list[Tensor] = []
        skips = iter(self.skips)
        for i, block in enumerate(self.blocks):
            if self.config.long_skips and i % self.config.dilations == 0:
                for start in starts:
                    y = y + next(skips)(start)
                starts.append(y)
            y = block(y)
        return y

    def masks_of(self, core: Tensor) -> Tensor:
        """(B, M, C, L) in (0, 1)."""
        masks = torch.sigmoid(_dense(self.masks.weight, core))
        return masks.view(len(core), self.n_channels, -1, core.shape[-1])

    def weights_of(self, core: Tensor, channels: Tensor) -> Tensor:
        """(B, M): each channel's share of what they lack together."""
        if self.config.consistency == "uniform":
            return uniform_weights(channels)
        if self.config.consistency == "energy":
            return energy_weights(channels)
        return predicted_weights(self.mix_weights(core.mean(-1)))


class Block(nn.Module):
    """y + scale2 (norm(PReLU(depthwise(norm(PReLU(scale1 y A))))) A2).

    The norms come after the activations; each takes mean and variance over time, channel by
    channel, and has one gain and one bias for all channels.

    Args:
        bottleneck: channels of y.
        hidden: H.
        dilation: of the depthwise convolution of three taps.
        scale: scale2 at the beginning: 0.9^i in block i of the whole network.
    """

    def __init__(self, bottleneck: int, hidden: int, dilation: int, scale: float = 1.0) -> None:
        super().__init__()
        self.dilation = dilation
        self.dense1 = nn.Linear(bottleneck, hidden, bias=False)
        self.scale1 = Scalars(1.0)
        self.prelu1 = Scalars(0.1)
        self.norm1 = Scalars(1.0, 0.0)
        self.conv = nn.Conv1d(hidden, hidden, 3, dilation=dilation, groups=hidden)
        self.prelu2 = Scalars(0.1)
        self.norm2 = Scalars(1.0, 0.0)
        self.dense2 = nn.Linear(hidden, bottleneck, bias=False)
        self.scale2 = Scalars(scale)
        nn.init.xavier_uniform_(self.dense1.weight)
        nn.init.xavier_uniform_(self.dense2.weight)
        # Glorot for TensorFlow's kernel (3, 1, H, 1): fan in 3 H, fan out 3; a ninth of torch's
        limit = (6 / (3 * hidden + 3)) ** 0.5
        nn.init.uniform_(self.conv.weight, -limit, limit)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, y: Tensor) -> Tensor:
        """(B, bottleneck, L) -> the same."""
        u = _dense(self.scale1.weight * self.dense1.weight, y)
        u = _over_time(F.prelu(u, self.prelu1.weight), self.norm1)
        u = F.conv1d(
            u,
            self.conv.weight,
            self.conv.bias,
            padding=self.dilation,
            dilation=self.dilation,
            groups=len(self.conv.weight),
        )
        u = F.prelu(u, self.prelu2.weight)
        u = _over_time(u, self.norm2)
        return y + _dense(self.scale2.weight * self.dense2.weight, u)


class Skip(nn.Module):
    """scale (y A + b), from the input of one repeat to that of a later one."""

    def __init__(self, bottleneck: int) -> None:
        super().__init__()
        self.dense = nn.Linear(bottleneck, bottleneck)
        self.scale = Scalars(1.0)

    def forward(self, y: Tensor) -> Tensor:
        """(B, bottleneck, L) -> the same."""
        scale = self.scale.weight
        return _dense(scale * self.dense.weight, y, scale * self.dense.bias)


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _dense(weight: Tensor, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """(B, in, L) -> (B, out, L): a dense layer a frame, where time lies innermost for the norms."""
    return F.conv1d(x, weight[..., None], bias)


def _over_time(x: Tensor, norm: Scalars) -> Tensor:
    """A layer norm over time: one pass forward and one back, gain and bias in it."""
    n_frames = x.shape[-1]
    gain, bias = norm.weight.expand(n_frames), norm.bias.expand(n_frames)
    return F.layer_norm(x, (n_frames,), gain, bias, EPS)
