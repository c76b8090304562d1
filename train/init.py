"""Weights to start a run from: a published model's, or those of a run of ours."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from slvr.model.checkpoint import checkpoint_file, read_checkpoint
from slvr.model.multitask import MultiTask
from slvr.model.released import (
    PREFIXES,
    joint_names,
    misfit,
    parse_released_name,
    published_names,
    read_released,
    whose_encoder,
)

WEIGHTS = "model."
"""How the names of a model's tensors begin in a checkpoint."""


def initialise(model: MultiTask, path: Path) -> str:
    """Gives a model the weights of a file; returns a sentence on what was taken.

    The encoder must fit, and so must the contrastive head where both have one: another variant or
    another contrastive objective is a mistake. A head that the file lacks, or a predictive one for
    other labels, keeps its random weights, and the sentence says so.

    Args:
        model: untrained; left as it was if the file does not fit.
        path: a published MT-SLVR model (`.pt`), a checkpoint of `train`, or its output folder,
            of which the best or newest one is taken.

    Raises:
        ValueError: no such file, a damaged one, or one that does not fit.
    """
    state = model.state_dict()
    if path.suffix == ".pt":
        content = read_released(path)
        found, names, prefixes = joint_names(content), published_names(model), PREFIXES
        whose = _said_by_name(path) or whose_encoder(content)
    else:
        path = checkpoint_file(path)
        tensors, about = read_checkpoint(path)
        found = {name.removeprefix(WEIGHTS): x for name, x in _below(tensors, WEIGHTS).items()}
        names, prefixes = {name: name for name in state}, {part: f"{part}." for part in PREFIXES}
        whose = f"it was trained with {_flags(about['config'])}"

    weights: dict[str, Tensor] = {}
    taken: list[str] = []
    anew: list[str] = []
    for part, prefix in prefixes.items():
        ours = {names[name]: name for name in state if name.startswith(f"{part}.")}
        theirs = _below(found, prefix)
        wrong = misfit({their: state[our] for their, our in ours.items()}, theirs)
        if not ours:
            continue  # a task that is not trained
        if wrong and (part == "encoder" or (part == "contrastive" and theirs)):
            raise ValueError(f"--init {path}: its {part} weights do not fit: {wrong}; {whose}")
        (anew if wrong else taken).append(part)
        if not wrong:
            weights |= {our: found[their] for their, our in ours.items()}
    model.load_state_dict(state | weights)
    words = [f"weights of {', '.join(taken)} from {path}"]
    return "; ".join(words + [f"{part} head anew" for part in anew])


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _said_by_name(path: Path) -> str | None:
    name = parse_released_name(path)
    if name is None:
        return None
    return f"its name says {_flags({'contrastive': name.contrastive, 'variant': name.variant})}"


def _flags(config: Mapping[str, object]) -> str:
    shown = ("contrastive", "variant", "dim", "width")
    return " ".join(f"--{name} {config[name]}" for name in shown if name in config)
