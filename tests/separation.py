"""What several tests of separators share: weights by name, a slow TDCN++, TensorFlow's files."""

import hashlib
import math
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from slvr.model.separators.crc32c import masked_crc32c
from slvr.model.separators.tdcn import TDCN

FIXTURES = Path(__file__).parents[2] / "shared" / "fixtures" / "separation"


def original(name: str) -> np.lib.npyio.NpzFile:
    """Numbers of the original implementation; skips where they are not beside the repository."""
    if not (FIXTURES / name).exists():
        pytest.skip(f"the original's numbers (shared/fixtures/separation/{name}) are not beside us")
    return np.load(FIXTURES / name)


def named_values(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The values that the original's numbers were made with: a function of name and shape."""
    seed = int(hashlib.sha256(key.encode()).hexdigest()[:8], 16)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    if not key.endswith("weight"):
        return 0.1 * values
    if len(shape) == 1:
        return 1 + 0.1 * values
    return values * (2.0 / math.prod(shape[1:])) ** 0.5


def filled(module: torch.nn.Module) -> torch.nn.Module:
    """A separator or block with weights by name."""
    names = {"basis.encoder": "encoder", "basis.decoder": "decoder", "basis.norm": "input_norm"}
    values = {}
    for key, tensor in module.state_dict().items():
        name = key
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        values[key] = named_values(name, tuple(tensor.shape))
    module.load_state_dict(values)
    return module.eval()


def draw(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slow_separator(separator: TDCN, wave: np.ndarray) -> np.ndarray:
    """Channels (M, T) of one wave (T,), in float64, frame by frame: the same network afresh."""
    config = separator.config
    w = {k: v.double().numpy() for k, v in separator.state_dict().items()}
    window, hop, n = config.window_samples, config.hop_samples, len(wave)
    if config.basis == "stft":
        n_fft = 1
        while n_fft < window:
            n_fft *= 2
        period = window - window % 2
        root = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / period))
        n_frames = -(-n // hop)
    else:
        n_frames = max(1, 1 + -(-(n - window) // hop))
    padded = np.concatenate([wave, np.zeros(n_frames * hop + window)])
    frames = [padded[i * hop : i * hop + window] for i in range(n_frames)]
    if config.basis == "stft":
        c = np.stack([np.fft.rfft(frame * root, n_fft) for frame in frames])
        size = np.abs(c)
        y = (size - size.mean()) / np.sqrt(size.var() + 1e-3)
        y = y * w["basis.norm.weight"] + w["basis.norm.bias"]
    else:
        c = np.maximum(np.stack(frames) @ w["basis.encoder.weight"].T, 0)
        y = c
    y = y @ w["bottleneck.weight"].T + w["bottleneck.bias"]
    y = y * w["bottleneck_scale.weight"]
    starts, used = [], 0
    for i in range(config.repeats * config.dilations):
        if config.long_skips and i % config.dilations == 0:
            for start in starts:
                skip = {k: w[f"skips.{used}.{k}"] for k in ("dense.weight", "dense.bias")}
                dense = start @ skip["dense.weight"].T + skip["dense.bias"]
                y = y + dense * w[f"skips.{used}.scale.weight"]
                used += 1
            starts.append(y)
        block = {k.split(".", 2)[2]: v for k, v in w.items() if k.startswith(f"blocks.{i}.")}
        y = y + slow_block(block, y, 2 ** (i % config.dilations))
    masks = 1 / (1 + np.exp(-(y @ w["masks.weight"].T)))
    masks = masks.reshape(n_frames, config.n_channels, -1)
    channels = np.zeros((config.n_channels, n_frames * hop + window))
    for m in range(config.n_channels):
        for i in range(n_frames):
            masked = masks[i, m] * c[i]
            if config.basis == "stft":
                frame = np.fft.irfft(masked, n_fft)[:window] * root
                for t in range(window):
                    den = sum(root[k] ** 2 for k in range(t % hop, window, hop))
                    frame[t] = frame[t] / den if den > 0 else 0
            else:
                frame = masked @ w["basis.decoder.weight"].T
            channels[m, i * hop : i * hop + window] += frame
    channels = channels[:, :n]
    if config.consistency == "predicted":
        logits = y.mean(0) @ w["mix_weights.weight"].T
        shares = np.exp(logits - logits.max())
    elif config.consistency == "energy":
        shares = 1e-8 + (channels**2).mean(1)
    else:
        shares = np.ones(config.n_channels)
    return channels + (shares / shares.sum())[:, None] * (wave - channels.sum(0))


def slow_block(w: Mapping[str, np.ndarray], y: np.ndarray, dilation: int) -> np.ndarray:
    """What a block adds to its input (L, channels)."""

    def act(x: np.ndarray, i: int) -> np.ndarray:
        x = np.where(x > 0, x, w[f"prelu{i}.weight"] * x)
        x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-3)
        return x * w[f"norm{i}.weight"] + w[f"norm{i}.bias"]

    u = act(w["scale1.weight"] * (y @ w["dense1.weight"].T), 1)
    v = np.zeros_like(u)
    for i in range(len(u)):
        for k in range(3):
            j = i + (k - 1) * dilation
            if 0 <= j < len(u):
                v[i] += u[j] * w["conv.weight"][:, 0, k]
    return w["scale2.weight"] * (act(v + w["conv.bias"], 2) @ w["dense2.weight"].T)


def write_tf(prefix: Path, variables: Mapping[str, np.ndarray]) -> None:
    """A checkpoint in TensorFlow's format of float32 variables."""
    data, entries = b"", {b"": _field(1, 1) + _field(3, _field(1, 1))}
    for name in sorted(variables):
        content = np.ascontiguousarray(variables[name], "<f4").tobytes()
        shape = b"".join(_field(2, _field(1, n)) for n in variables[name].shape)
        entry = _field(1, 1) + _field(2, shape) + _field(4, len(data)) + _field(5, len(content))
        crc = struct.pack("<I", masked_crc32c(bytearray(content)))
        entries[name.encode()] = entry + b"\x35" + crc
        data += content
    block = b"".join(
        _varint(0) + _varint(len(k)) + _varint(len(v)) + k + v for k, v in sorted(entries.items())
    )
    index, handle = _block(block, 0)
    meta_block, meta = _block(b"", len(index))
    index += meta_block
    last, top = _block(
        _varint(0) + _varint(1) + _varint(len(handle)) + b"\x7f" + handle, len(index)
    )
    index += last
    footer = (meta + top).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    prefix.with_name(prefix.name + ".index").write_bytes(index + footer)
    prefix.with_name(prefix.name + ".data-00000-of-00001").write_bytes(data)


def _block(entries: bytes, offset: int) -> tuple[bytes, bytes]:
    content = entries + struct.pack("<II", 0, 1)
    crc = struct.pack("<I", masked_crc32c(bytearray(content + b"\0")))
    return content + b"\0" + crc, _varint(offset) + _varint(len(content))


def _varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def tf_variables(separator: TDCN) -> dict[str, np.ndarray]:
    """The weights of a separator under the original's names, in its layouts."""
    names = {
        "bottleneck.weight": "initial_dense/dense/kernel",
        "bottleneck.bias": "initial_dense/dense/bias",
        "bottleneck_scale.weight": "initial_dense/dense_scale/scale_layer",
        "basis.norm.weight": "layer_norm_on_mag/gamma",
        "basis.norm.bias": "layer_norm_on_mag/beta",
        "basis.encoder.weight": "dense/kernel",
        "masks.weight": "dense_1/kernel",
        "basis.decoder.weight": "dense_2/kernel",
        "mix_weights.weight": "dense_3/kernel",
        "dense1.weight": "dense1/dense/kernel",
        "dense2.weight": "dense2/dense/kernel",
        "scale1.weight": "dense1/dense_scale/scale_layer",
        "scale2.weight": "dense2/dense_scale/scale_layer",
        "conv.weight": "timeconv/separable_conv/depthwise_kernel",
        "conv.bias": "timeconv/separable_conv/bias",
        **{f"prelu{i}.weight": f"normact{i}/prelu/prelu" for i in (1, 2)},
        **{f"norm{i}.weight": f"normact{i}/instance_norm/gamma" for i in (1, 2)},
        **{f"norm{i}.bias": f"normact{i}/instance_norm/beta" for i in (1, 2)},
    }
    found = {}
    for key, tensor in separator.state_dict().items():
        values = tensor.numpy()
        if key.endswith("conv.weight"):
            values = values.transpose(2, 1, 0)[..., None]
        elif values.ndim == 2:
            values = values.T
        elif values.shape == (1,) and ("scale" in key or "prelu" in key):
            values = values.reshape(())
        if key.startswith("blocks."):
            _, i, rest = key.split(".", 2)
            found[f"improved_tdcn/conv_block_{i}/tdcn_block/{names[rest]}"] = values
        else:
            found[names[key]] = values
    return found
