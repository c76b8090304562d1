"""Weights of the published MT-SLVR models, read into ours.

Their state dicts (github CHeggan/MT-SLVR) hold the same tensors under other names: a bare backbone
the encoder's, the joint model the encoder's behind `backbone.` and those of both objectives' heads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from model.encoder import VARIANTS, Encoder
from model.multitask import MultiTask

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
    (r"^contrastive\.(projector|predictor)\.", r"cont_\1."),
    (r"^predictive\.head\.", "predict_projector."),
    (r"^(predict_projector\.layer4)\.", r"\1.0."),
)
_BACKBONE = "backbone."


def load_released(state_dict: Mapping[str, Tensor], variant: str) -> Encoder:
    """Return an encoder with the weights of a published model.

    Args:
        state_dict: of a published backbone, or of a published joint model, whose heads are left
            aside (`load_released_joint` reads them too).
        variant: the one the model was trained with, of `model.encoder.VARIANTS`.

    Raises:
        ValueError: unknown variant; or the tensors are not those of this variant, and then the
            message names the variant that they are of.
    """
    encoder = Encoder(variant)
    _load(encoder, variant, _backbone(state_dict))
    return encoder


def load_released_joint(state_dict: Mapping[str, Tensor], model: MultiTask) -> None:
    """Give a model the weights of a published joint model: encoder and both objectives' heads.

    Args:
        state_dict: of a published joint model, its backbone behind `backbone.`.
        model: built with the variant and the objectives of the published one.

    Raises:
        ValueError: the tensors are not those of this model, which is left as it was.
    """
    _load(model, model.encoder.variant, state_dict)


def published_names(model: Encoder | MultiTask) -> dict[str, str]:
    """Return our name -> published name for every tensor of the model's state dict."""
    if isinstance(model, Encoder):
        rules = _ENCODER_NAMES[model.variant]
        return {name: _renamed(name, rules) for name in model.state_dict()}
    names = {name: _renamed(name, _HEAD_NAMES) for name in model.state_dict()}
    for ours, theirs in published_names(model.encoder).items():
        names["encoder." + ours] = _BACKBONE + theirs
    return names


def _renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _backbone(state_dict: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the backbone's tensors under their bare names, from a joint model or its own dict."""
    inner = {
        name.removeprefix(_BACKBONE): tensor
        for name, tensor in state_dict.items()
        if name.startswith(_BACKBONE)
    }
    return inner or state_dict


def _load(model: Encoder | MultiTask, variant: str, state_dict: Mapping[str, Tensor]) -> None:
    """Give every tensor of the model its published value."""
    ours = model.state_dict()
    names = published_names(model)
    missing = [theirs for theirs in names.values() if theirs not in state_dict]
    unexpected = sorted(set(state_dict) - set(names.values()))
    misshapen = [
        f"{theirs} {tuple(state_dict[theirs].shape)} for {tuple(ours[name].shape)}"
        for name, theirs in names.items()
        if theirs in state_dict and state_dict[theirs].shape != ours[name].shape
    ]
    wrong = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    if any(wrong.values()):
        details = ", ".join(_counted(what, found) for what, found in wrong.items() if found)
        raise ValueError(
            f"state dict does not fit variant {variant!r}: {details}; "
            + _whose(_backbone(state_dict))
        )
    model.load_state_dict({name: state_dict[theirs] for name, theirs in names.items()})


def _counted(what: str, names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} {what} ({shown})"


def _whose(backbone: Mapping[str, Tensor]) -> str:
    """Say which variant has exactly the tensors of these names."""
    for variant in VARIANTS:
        with torch.device("meta"):  # only the names are wanted: no memory, no random numbers
            names = published_names(Encoder(variant))
        if set(names.values()) == set(backbone):
            return f"its encoder is that of variant {variant!r}"
    return "its encoder is of no variant: give the state dict of a published MT-SLVR model"
