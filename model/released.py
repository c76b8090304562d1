"""Weights of the published MT-SLVR models, read into ours.

Their state dicts (github CHeggan/MT-SLVR) hold the same tensors under other names: a bare backbone
the encoder's, the joint model the encoder's behind `backbone.` and those of both objectives' heads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from slvr.model.encoders.resnet18 import VARIANTS, ResNet18
from slvr.model.learner import Learner

# Our encoder's names -> theirs: patterns applied in this order.
_LINEAR = (r"^heads\.", "fc_layers.")
_PLAIN = (
    (r"\.conv([12])\.conv\.", r".conv\1."),
    (r"\.conv([12])\.norms\.0\.", r".bn\1."),
    (r"\.shortcut\.", ".downsample."),
)
_ADAPTED = (_LINEAR, (r"^end_norms\.(\d)\.", r"end_bns.\1.0."))
_PARALLEL = ((r"\.adapters\.(\d)\.", r".parallel_conv.\1.conv."), (r"\.norms\.", ".bns."))
_SERIES = ((r"\.adapters\.(\d)\.", r".bns.\1.0.conv."), (r"\.norms\.(\d)\.", r".bns.\1.1."))
_ENCODER_NAMES = {
    "none": (*_PLAIN, (r"^heads\.0\.", "fc.")),
    "split": (*_PLAIN, _LINEAR),
    "bn": (*_ADAPTED, *_PARALLEL),
    "series": (*_ADAPTED, *_SERIES),
    "parallel": (*_ADAPTED, *_PARALLEL),
}
_HEAD_NAMES = (
    (r"^heads\.(?:simclr|simsiam)\.(projector|predictor)\.", r"cont_\1."),
    (r"^heads\.mlap\.head\.", "predict_projector."),
    (r"^(predict_projector\.layer4)\.", r"\1.0."),
)
_BACKBONE = "backbone."
PREFIXES = {
    "encoder": _BACKBONE,
    "heads.simclr": "cont_",
    "heads.simsiam": "cont_",
    "heads.mlap": "predict_",
}
"""Part of a `Learner` -> how its tensors' names begin in a published joint model."""
_FILE_NAME = re.compile(
    r"(?P<data>.+?)_(?P<contrastive>simclr|simsiam)(v\d)?_trans_(?P<weight>\d+_\d+)"
    r"_(?P<adapter>None|split|bn|series|parallel)_\d_\d_.*_(?P<batch>\d+)_(?P<lr>[\de.-]+)"
    r"_\d{8}-\d{6}\.pt"
)


@dataclass(frozen=True)
class ReleasedName:
    """What the file name of a published model says of its training."""

    data: str
    contrastive: str
    variant: str
    predictive_weight: float
    batch: int
    lr: float


def parse_released_name(path: Path) -> ReleasedName | None:
    """What the name says, or None for a name of another form.

    The form is data, contrastive objective, `trans`, weight of the predictive loss, adapter,
    dimensions, channels, left-out augmentations, batch, learning rate and date, for example
    `AS_BAL_simsiam_trans_1_0_parallel_2_3__100_5e-05_21022023-145537.pt`.
    """
    match = _FILE_NAME.fullmatch(path.name)
    if match is None:
        return None
    return ReleasedName(
        data=match["data"],
        contrastive=match["contrastive"],
        variant="none" if match["adapter"] == "None" else match["adapter"],
        predictive_weight=float(match["weight"].replace("_", ".")),
        batch=int(match["batch"]),
        lr=float(match["lr"]),
    )


def read_released(path: Path) -> dict[str, Tensor]:
    """The state dict of a published `.pt` file; nothing in it is executed.

    Raises:
        ValueError: no such file, no state dict, or one that only runs foreign code.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give a published MT-SLVR model (.pt)")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle may raise anything
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{path}: not a file of plain tensors ({why}); expected the state dict of a published "
            "MT-SLVR model"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f"{path}: expected a state dict, name -> tensor, got {type(content)}")
    for name, tensor in content.items():
        if tensor.dtype.is_complex or not tensor.float().isfinite().all():
            raise ValueError(
                f"{path}: {name} holds {tensor.dtype} values that are no finite real numbers; "
                "take another copy of the file"
            )
    # models trained on several GPUs carry the wrapper's prefix
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


def load_released(state_dict: Mapping[str, Tensor], variant: str) -> ResNet18:
    """An encoder with the weights of a published model.

    Args:
        state_dict: of a published backbone, or of a published joint model, whose heads are left
            aside (`load_released_joint` reads them too).
        variant: the one the model was trained with, of `slvr.model.encoders.resnet18.VARIANTS`.

    Raises:
        ValueError: unknown variant; or the tensors are not those of this variant, and then the
            message names the variant that they are of.
    """
    encoder = ResNet18(variant)
    _load(encoder, variant, _backbone(state_dict))
    return encoder


def load_released_joint(state_dict: Mapping[str, Tensor], model: Learner) -> None:
    """Gives a model the weights of a published joint model: encoder and both objectives' heads.

    Args:
        state_dict: of a published joint model, its backbone behind `backbone.`.
        model: built with the variant and the objectives of the published one.

    Raises:
        ValueError: the tensors are not those of this model, which is left as it was.
    """
    _load(model, _resnet18(model).variant, state_dict)


def joint_names(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published model's tensors under a joint model's names; a bare backbone gets them."""
    bare = not any(name.startswith(_BACKBONE) for name in state_dict)
    return {_BACKBONE * bare + name: tensor for name, tensor in state_dict.items()}


def published_names(model: ResNet18 | Learner) -> dict[str, str]:
    """Our name -> published name for every tensor of the model's state dict."""
    if isinstance(model, ResNet18):
        rules = _ENCODER_NAMES[model.variant]
        return {name: _renamed(name, rules) for name in model.state_dict()}
    names = {name: _renamed(name, _HEAD_NAMES) for name in model.state_dict()}
    for ours, theirs in published_names(_resnet18(model)).items():
        names["encoder." + ours] = _BACKBONE + theirs
    return names


def _resnet18(model: Learner) -> ResNet18:
    if not isinstance(model.encoder, ResNet18):
        raise ValueError(
            f"a published MT-SLVR model holds a ResNet-18, this model's encoder is "
            f"{type(model.encoder).__name__}; use --encoder resnet18"
        )
    return model.encoder


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _backbone(state_dict: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The backbone's tensors under their bare names, from a joint model or its own dict."""
    inner = {
        name.removeprefix(_BACKBONE): tensor
        for name, tensor in state_dict.items()
        if name.startswith(_BACKBONE)
    }
    return inner or state_dict


def _load(model: ResNet18 | Learner, variant: str, state_dict: Mapping[str, Tensor]) -> None:
    """Gives every tensor of the model its published value."""
    ours = model.state_dict()
    names = published_names(model)
    wrong = misfit({theirs: ours[name] for name, theirs in names.items()}, state_dict)
    if wrong:
        raise ValueError(
            f"state dict does not fit variant {variant!r}: {wrong}; {whose_encoder(state_dict)}"
        )
    model.load_state_dict({name: state_dict[theirs] for name, theirs in names.items()})


def misfit(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Which tensors are missing, unexpected or of another shape; empty where all fit."""
    wrong = {
        "missing": [name for name in expected if name not in found],
        "unexpected": sorted(set(found) - set(expected)),
        "misshapen": [
            f"{name} {tuple(found[name].shape)} for {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if name in found and found[name].shape != tensor.shape
        ],
    }
    return ", ".join(
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' * (len(names) > 3)})"
        for what, names in wrong.items()
        if names
    )


def whose_encoder(state_dict: Mapping[str, Tensor]) -> str:
    """Which variant has exactly the tensors of a published model's backbone, by their names."""
    backbone = set(_backbone(state_dict))
    for variant in VARIANTS:
        with torch.device("meta"):  # only the names are wanted: no memory, no random numbers
            names = published_names(ResNet18(variant))
        if set(names.values()) == backbone:
            return f"its encoder is that of variant {variant!r}"
    return "its encoder is of no variant: give the state dict of a published MT-SLVR model"
