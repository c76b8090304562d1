"""The models that are evaluated, opened and named."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from slvr.eval.config import Models
from slvr.eval.embed import Embedder
from slvr.eval.embedders import CallableEmbedder, encoder_embedder
from slvr.eval.loaded import open_trained
from slvr.eval.protocol import PROTOCOLS


@dataclass(frozen=True)
class EvaluatedModel:
    """A model and where it comes from.

    Attributes:
        embedder: what embeds.
        training: the configuration it was trained with; a stranger's has none.
        untrained: makes the same network with fresh weights, where the architecture is known.
        baseline: it is there to compare with.
    """

    embedder: Embedder
    training: Mapping[str, Any] = field(default_factory=dict)
    untrained: Callable[[], Embedder] | None = None
    baseline: bool = False

    @property
    def name(self) -> str:
        """Name in the tables."""
        return self.embedder.name


def open_models(config: Models, device: torch.device) -> list[EvaluatedModel]:
    """The models of `--checkpoint`, `--released` and `--encoder`, in this order.

    Raises:
        ValueError: a checkpoint that cannot be read, or a callable that cannot be used.
    """
    protocol = PROTOCOLS[config.protocol]
    trained: list[tuple[str, str | None]] = [(path, None) for path in config.checkpoint]
    trained += [(path, config.variant) for path in config.released]
    stems = Counter(Path(path).resolve().stem for path, _ in trained)
    models: list[EvaluatedModel] = []
    for path, variant in trained:
        stem = Path(path).resolve().stem
        name = stem if stems[stem] == 1 else path
        label = "untrained" if len(trained) == 1 else f"untrained {name}"
        models.append(_trained(path, variant, name, label, config, device))
    models += [
        EvaluatedModel(
            CallableEmbedder(spec, config.encoder_input, protocol.normalisation("none"), device)
        )
        for spec in config.encoder
    ]
    names = Counter(model.name for model in models)
    if max(names.values()) > 1:
        twice = names.most_common(1)[0][0]
        raise ValueError(f"the model {twice} is given twice; give it once")
    return models


def _trained(
    path: str, variant: str | None, name: str, label: str, config: Models, device: torch.device
) -> EvaluatedModel:
    """The model of a checkpoint; `label` is the name of its network with fresh weights."""
    try:
        trained = open_trained(path, variant, config.allow)
    except ValueError as error:
        raise ValueError(str(error) if path in str(error) else f"{path}: {error}") from error
    normalisation = PROTOCOLS[config.protocol].normalisation(trained.normalisation)
    embedder = partial(
        encoder_embedder, front_end=trained.front_end, normalisation=normalisation, device=device
    )
    return EvaluatedModel(
        embedder(name, trained.encoder),
        trained.config,
        lambda: embedder(label, trained.encoder.untrained(config.seed)),
    )
