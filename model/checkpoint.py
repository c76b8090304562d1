"""Checkpoints: one safetensors file each, written atomically, checked when read.

A file holds tensors under `model.` (weights and running statistics) and whatever else the writer
needs to go on, and a JSON object with the rest: step, configuration, name and shape of encoder and
front end. Names found in a file are looked up, never imported.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from slvr.model import panns
from slvr.model.encoders.contract import Encoder
from slvr.model.encoders.resnet18 import VARIANTS
from slvr.model.released import load_released, misfit, parse_released_name, read_released

PATTERN = "step-*.safetensors"
BEST = "best.safetensors"
"""The checkpoint with the lowest validation loss, where a run has validated."""
WEIGHTS = "model."
"""How the names of a model's tensors begin in a checkpoint."""
ENCODER = f"{WEIGHTS}encoder."


def checkpoint_name(step: int) -> str:
    """File name of the checkpoint after `step` steps; names sort by step."""
    return f"step-{step:08d}.safetensors"


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Writes tensors and state; the file appears complete or not at all."""
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(state)
    header = {"state": text, "crc32": str(_crc32(stored, text))}
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
        ValueError: missing, cut off, changed, or none of ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            header = file.metadata() or {}
    except (SafetensorError, OSError, TypeError, AttributeError) as error:  # the last: odd dtypes
        raise ValueError(f"{path}: not a readable checkpoint ({error})") from error
    text = header.get("state")
    if text is None or "crc32" not in header:
        raise ValueError(
            f"{path}: a safetensors file that `train` did not write, its metadata have no state; "
            "give the output folder of `train`"
        )
    if header["crc32"] != str(_crc32(tensors, text)):
        raise ValueError(f"{path}: damaged, its checksum does not fit; use an earlier checkpoint")
    try:
        state = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: its state cannot be read ({error})") from error
    step = state.get("step", 0) if isinstance(state, dict) else None
    if not isinstance(step, int) or isinstance(step, bool) or step < 0:
        raise ValueError(f"{path}: its state says step {step!r}, expected a whole number from 0 up")
    return tensors, state


def _crc32(tensors: Mapping[str, Tensor], state: str) -> int:
    """Over all that a checkpoint says: state, and name, type, shape and content of each tensor."""
    crc = zlib.crc32(state.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        about = f"{name} {tensor.dtype} {tuple(tensor.shape)}"
        crc = zlib.crc32(about.encode(), crc)
        crc = zlib.crc32(tensor.flatten().view(torch.uint8).numpy().data, crc)
    return crc


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, newest last."""
    return sorted(run.glob(PATTERN))


class Part(NamedTuple):
    """A part of a model as a checkpoint names it: in a registry, or as its user typed it."""

    name: str
    shape: dict[str, Any]
    """What its class makes the same part of."""


@dataclass(frozen=True)
class LoadedModel:
    """A trained model: what turns waveforms into embeddings.

    The front end belongs to another room: it is named here, and made by who uses it.

    Attributes:
        encoder: in eval mode, on the CPU.
        front_end: its name and shape.
        normalisation: of the waveforms.
        fingerprint: SHA-256 of all that the embeddings depend on.
        config: the configuration that it was trained with.
        step: training steps behind it.
        path: the checkpoint file.
    """

    encoder: Encoder
    front_end: Part
    normalisation: str
    fingerprint: str
    config: dict[str, Any]
    step: int
    path: Path


PUBLISHED_FRONT_END = Part("mtslvr", {})
"""Of the published MT-SLVR models, with its defaults."""
FindEncoder = Callable[[str, str], type[Encoder]]
"""The class of an encoder from the name in a file, and the file, for the error message."""


def load_model(path: str | Path, find: FindEncoder, variant: str | None = None) -> LoadedModel:
    """The model of a checkpoint, of a run (its best or newest one), or of a published file.

    Args:
        path: a checkpoint, the output folder of `train`, a published MT-SLVR model (`.pt`), or one
            of the PANNs (`.pth`).
        find: looks up the name of the encoder, which comes from the file: it decides what may run.
        variant: the variant that is expected of a ResNet-18; None takes any, and for a published
            model what its file name says.

    Raises:
        ValueError: no checkpoint there, a damaged one, one of another variant, or one whose encoder
            is not known or is another by now.
    """
    path = Path(path)
    if path.suffix == ".pt":
        return _load_published(path, variant)
    if path.suffix == panns.SUFFIX:
        return _load_panns(path)
    path = checkpoint_file(path)
    tensors, state = read_checkpoint(path)
    (name, shape), front_end = (
        stated_part(path, state, "encoder"),
        stated_part(path, state, "front_end"),
    )
    normalisation, config = state.get("normalise"), state.get("config")
    if not isinstance(normalisation, str) or not isinstance(config, dict):
        raise ValueError(
            f"{path}: its state says normalise {normalisation!r} and config {type(config)}, "
            "expected a name and an object, as the checkpoints of `train` have them"
        )
    if variant is not None and shape.get("variant") != variant:
        raise ValueError(
            f"{path}: a checkpoint of variant {shape.get('variant')!r}, expected {variant!r}; "
            "choose the recipe that it was trained with"
        )
    weights = {
        key.removeprefix(ENCODER): tensor
        for key, tensor in tensors.items()
        if key.startswith(ENCODER)
    }
    encoder = _encoder(find(name, str(path)), Part(name, shape), weights, path)
    return _loaded(encoder, name, front_end, normalisation, config, path, state["step"])


def stated_part(path: Path, state: Mapping[str, Any], what: str) -> Part:
    """The encoder or front end that a state names."""
    stated = state.get(what)
    match stated:
        case {"name": str(name), "shape": dict(shape), **more} if not more:
            return Part(name, shape)
    raise ValueError(
        f"{path}: does not say which {what} it holds, as the checkpoints of `train` do: {what} is "
        f"{stated!r}, expected a name and a shape; train it anew"
    )


def _encoder(found: object, part: Part, weights: Mapping[str, Tensor], path: Path) -> Encoder:
    """The encoder of a checkpoint, of the class that was found for its name."""
    if not (isinstance(found, type) and issubclass(found, Encoder)):
        raise ValueError(f"{path}: {part.name} is {found!r}, not a subclass of Encoder")
    try:
        wrong = _misfit(found, part, weights)
        if wrong:
            raise RuntimeError(wrong)
        encoder: Encoder = found(**part.shape)
        encoder.load_state_dict(weights)
    except (TypeError, ValueError, RuntimeError, OverflowError, AttributeError) as error:
        why = str(error).partition("\nException raised from")[0]  # torch adds its own stack
        raise ValueError(
            f"{path}: {part.name} is not what it was when this was written: {why}; use the "
            "version of it that was trained"
        ) from error
    return encoder


def _misfit(found: type[Encoder], part: Part, weights: Mapping[str, Tensor]) -> str:
    """How weights differ from those of the encoder that they are for; empty where all fit.

    The encoder is made without memory first: a width of ten millions in a file costs nothing.
    """
    try:
        with torch.device("meta"):
            expected = found(**part.shape).state_dict()
    except NotImplementedError:  # a stranger's class that looks at its weights as it is made
        expected = dict(weights)
    wrong = misfit(expected, weights)
    if wrong:
        return wrong
    for name, tensor in weights.items():
        if tensor.dtype.is_complex or tensor.is_floating_point() != (
            expected[name].is_floating_point()
        ):
            return f"{name} holds {tensor.dtype}, expected {expected[name].dtype}"
        if not tensor.float().isfinite().all():
            return f"{name} holds NaN or infinity"
    return ""


def _loaded(
    encoder: Encoder,
    name: str,
    front_end: Part,
    normalisation: str,
    config: dict[str, Any],
    path: Path,
    step: int = 0,
) -> LoadedModel:
    about = [name, encoder.shape(), front_end, normalisation]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for key, tensor in sorted(encoder.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    fingerprint = digest.hexdigest()
    return LoadedModel(encoder.eval(), front_end, normalisation, fingerprint, config, step, path)


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


def _load_panns(path: Path) -> LoadedModel:
    encoder = panns.load_panns(path)
    front_end = Part("logmel", dict(panns.FRONT_END))
    config = {"recipe": f"published {path.name}", "encoder": encoder.shape()}
    return _loaded(encoder, encoder.NAME, front_end, "none", config, path)


def _load_published(path: Path, variant: str | None) -> LoadedModel:
    name = parse_released_name(path)
    if variant is None and name is not None:
        variant = name.variant
    if variant is None:
        raise ValueError(
            f"{path}: its name does not say which variant it is; add --variant, one of "
            f"{', '.join(VARIANTS)}"
        )
    encoder = load_released(read_released(path), variant)
    config = {"recipe": f"published {path.name}", "encoder": {"variant": variant}}
    return _loaded(encoder, encoder.NAME, PUBLISHED_FRONT_END, "published", config, path)
