"""The models that are evaluated, opened and named."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from slvr.eval.config import Models
from slvr.eval.embed import Embedder
from slvr.eval.embedders import CallableEmbedder, encoder_embedder
from slvr.eval.loaded import TrainedModel, open_trained
from slvr.eval.outside import OutsideEmbedder
from slvr.eval.protocol import PROTOCOLS, Waveforms


@dataclass(frozen=True)
class EvaluatedModel:
    """A model and where it comes from.

    Attributes:
        embedder: what embeds.
        waveforms: their normalisation, before anything else.
        trained: what its file says of it; None of a stranger's.
        path: of that file or the run's folder.
        fresh_name: in the tables, of the same network with fresh weights.
        baseline: it is there to compare with.
        remark: what has to be said of it below the tables; empty where nothing has.
    """

    embedder: Embedder
    waveforms: Waveforms
    trained: TrainedModel | None = None
    path: str = ""
    fresh_name: str = "untrained"
    baseline: bool = False
    remark: str = ""

    @property
    def name(self) -> str:
        """Name in the tables."""
        return self.embedder.name

    @property
    def training(self) -> Mapping[str, Any]:
        """The configuration it was trained with; a stranger's has none."""
        return {} if self.trained is None else self.trained.config


def open_models(config: Models, device: torch.device) -> list[EvaluatedModel]:
    """The models of `--checkpoint`, `--released`, `--encoder` and `--hear`, in this order.

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
        models.append(_opened(path, variant, name, label, config, device))
    how = protocol.normalisation("none")
    models += [
        EvaluatedModel(CallableEmbedder(spec, config.encoder_input, how, device), how)
        for spec in config.encoder
    ]
    for spec in config.hear:
        outside = OutsideEmbedder(spec, device)
        models.append(EvaluatedModel(outside, "none", remark=outside.remark))
    names = Counter(model.name for model in models)
    if max(names.values()) > 1:
        twice = names.most_common(1)[0][0]
        raise ValueError(f"the model {twice} is given twice; give it once")
    return models


def _opened(
    path: str, variant: str | None, name: str, label: str, config: Models, device: torch.device
) -> EvaluatedModel:
    """The model of a checkpoint; `label` is the name of its network with fresh weights."""
    try:
        trained = open_trained(path, variant, config.allow)
    except ValueError as error:
        raise ValueError(str(error) if path in str(error) else f"{path}: {error}") from error
    how = PROTOCOLS[config.protocol].normalisation(trained.normalisation)
    embedder = encoder_embedder(name, trained.encoder, trained.front_end, how, device)
    short, remark = trained.config.get("short", config.short), ""
    if short != config.short:
        remark = f"{name}: trained with --short {short}, evaluated with {config.short}."
    return EvaluatedModel(embedder, how, trained, path, label, remark=remark)
