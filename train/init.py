"""Weights to start a run from: a published model's, or those of a run of ours."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from slvr.model.checkpoint import WEIGHTS, checkpoint_file, read_checkpoint, stated_part
from slvr.model.learner import Learner
from slvr.model.released import (
    PREFIXES,
    joint_names,
    misfit,
    parse_released_name,
    published_names,
    read_released,
    whose_encoder,
)


def initialise(model: Learner, path: Path) -> str:
    """Gives a model the weights of a file; returns a sentence on what was taken.

    The encoder must fit: another variant is a mistake. So must a head that the file has, but for
    one that predicts what is known of the views, whose outputs differ with what that is. A head
    that the file lacks, or such a one, keeps its random weights, and the sentence says so.

    Args:
        model: untrained; left as it was if the file does not fit.
        path: a published MT-SLVR model (`.pt`), a checkpoint of `train`, or its output folder,
            of which the best or newest one is taken.

    Raises:
        ValueError: no such file, a damaged one, or one that does not fit.
    """
    state = model.state_dict()
    parts = ["encoder", *(f"heads.{name}" for name in model.heads)]
    if path.suffix == ".pt":
        content = read_released(path)
        found, names = joint_names(content), published_names(model)
        prefixes = {part: PREFIXES.get(part, f"{part}.") for part in parts}
        whose = _said_by_name(path) or whose_encoder(content)
    else:
        path = checkpoint_file(path)
        tensors, about = read_checkpoint(path)
        found = {name.removeprefix(WEIGHTS): x for name, x in _below(tensors, WEIGHTS).items()}
        names, prefixes = {name: name for name in state}, {part: f"{part}." for part in parts}
        described = stated_part(path, about, "encoder")
        settings = " ".join(f"{name}={value}" for name, value in described.shape.items())
        whose = f"its encoder is {described.name} with {settings}"

    weights: dict[str, Tensor] = {}
    taken: list[str] = []
    anew: list[str] = []
    for part, prefix in prefixes.items():
        ours = {names[name]: name for name in state if name.startswith(f"{part}.")}
        theirs = _below(found, prefix)
        wrong = misfit({their: state[our] for their, our in ours.items()}, theirs)
        name = part.removeprefix("heads.")
        if wrong and (part == "encoder" or (theirs and not model.needs(name))):
            raise ValueError(f"--init {path}: its {name} weights do not fit: {wrong}; {whose}")
        (anew if wrong else taken).append(name)
        if not wrong:
            weights |= {our: found[their] for their, our in ours.items()}
    model.load_state_dict(state | weights)
    words = [f"weights of {', '.join(taken)} from {path}"]
    return "; ".join(words + [f"{name} head anew" for name in anew])


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _said_by_name(path: Path) -> str | None:
    name = parse_released_name(path)
    if name is None:
        return None
    return f"its name says {name.contrastive} and --encoder.variant {name.variant}"
