"""Checkpoints: one safetensors file each, written atomically, checked when read.

A file holds tensors under `model.` (weights and running statistics) and whatever else the writer
needs to go on, and a JSON object with the rest: step, configuration, the encoder's shape.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from slvr.model.encoders.resnet18 import VARIANTS, Encoder
from slvr.model.released import load_released, parse_released_name, read_released

PATTERN = "step-*.safetensors"
BEST = "best.safetensors"
"""The checkpoint with the lowest validation loss, where a run has validated."""
ENCODER = "model.encoder."


def checkpoint_name(step: int) -> str:
    """File name of the checkpoint after `step` steps; names sort by step."""
    return f"step-{step:08d}.safetensors"


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Writes tensors and state; the file appears complete or not at all."""
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {"state": json.dumps(state), "crc32": str(_crc32(stored))}
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with temporary.open("wb") as file:
            # in one piece: safetensors' own writing hides a full disk in an error of its own
            file.write(save(stored, metadata=header))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and state of a checkpoint.

    Raises:
        ValueError: missing, cut off or changed.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            header = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable checkpoint ({error})") from error
    if header.get("crc32") != str(_crc32(tensors)):
        raise ValueError(f"{path}: damaged, its checksum does not fit; use an earlier checkpoint")
    return tensors, json.loads(header["state"])


def _crc32(tensors: Mapping[str, Tensor]) -> int:
    crc = 0
    for name in sorted(tensors):
        content = tensors[name].flatten().view(torch.uint8).numpy().data
        crc = zlib.crc32(content, zlib.crc32(name.encode(), crc))
    return crc


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, newest last."""
    return sorted(run.glob(PATTERN))


@dataclass(frozen=True)
class LoadedEncoder:
    """A trained encoder.

    Attributes:
        encoder: in eval mode, on the CPU.
        fingerprint: SHA-256 of its weights.
        config: the configuration that it was trained with.
        step: training steps behind it.
        path: the checkpoint file.
    """

    encoder: Encoder
    fingerprint: str
    config: dict[str, Any]
    step: int
    path: Path


def load_encoder(path: str | Path, variant: str | None = None) -> LoadedEncoder:
    """The encoder of a checkpoint, of a run (its best or newest one), or of a published `.pt`.

    Args:
        path: a checkpoint, the output folder of `train`, or a published MT-SLVR model.
        variant: the variant that is expected; None takes any, and for a published model what its
            file name says.

    Raises:
        ValueError: no checkpoint there, a damaged one, or one of another variant.
    """
    path = Path(path)
    if path.suffix == ".pt":
        return _load_published(path, variant)
    path = checkpoint_file(path)
    tensors, state = read_checkpoint(path)
    shape = state["encoder"]
    if variant is not None and shape["variant"] != variant:
        raise ValueError(
            f"{path}: a checkpoint of variant {shape['variant']!r}, expected {variant!r}; choose "
            "the recipe that it was trained with"
        )
    encoder = Encoder(**shape)
    encoder.load_state_dict(
        {
            name.removeprefix(ENCODER): tensor
            for name, tensor in tensors.items()
            if name.startswith(ENCODER)
        }
    )
    return LoadedEncoder(encoder.eval(), _sha256(encoder), state["config"], state["step"], path)


def checkpoint_file(path: Path) -> Path:
    """The checkpoint that a path names: itself, or the best or newest one of a run.

    Raises:
        ValueError: no checkpoint there.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise ValueError(f"{path}: no such checkpoint; give the output folder of `train`")
    if (path / BEST).is_file():
        return path / BEST
    found = checkpoints(path)
    if not found:
        raise ValueError(
            f"{path}: no checkpoint ({PATTERN}) there; give the output folder of `train`"
        )
    return found[-1]


def _load_published(path: Path, variant: str | None) -> LoadedEncoder:
    name = parse_released_name(path)
    if variant is None and name is not None:
        variant = name.variant
    if variant is None:
        raise ValueError(
            f"{path}: its name does not say which variant it is; add --variant, one of "
            f"{', '.join(VARIANTS)}"
        )
    encoder = load_released(read_released(path), variant)
    config = {"recipe": f"published {path.name}", "variant": variant, "normalise": "published"}
    return LoadedEncoder(encoder.eval(), _sha256(encoder), config, 0, path)


def _sha256(encoder: Encoder) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
