"""What the commands of `evaluate` begin with: device, output folder, models and sets, all checked.

Everything that can be wrong with the arguments is found before the first clip is embedded.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from slvr.command.record import RECORD, write_record
from slvr.eval.config import Models
from slvr.eval.embed import Embedder, Features, embed
from slvr.eval.embedders import CallableEmbedder, EncoderEmbedder, untrained
from slvr.eval.protocol import PROTOCOLS, piece_s
from slvr.model.checkpoint import load_encoder
from slvr.model.encoders.resnet18 import Encoder
from slvr.shards.read import ShardDirectory


@dataclass(frozen=True)
class EvaluatedModel:
    """A model and where it comes from."""

    embedder: Embedder
    training: Mapping[str, Any] = field(default_factory=dict)
    """The configuration it was trained with; a stranger's has none."""
    untrained: EncoderEmbedder | None = None
    """The same network with fresh weights, where the architecture is ours."""


@dataclass(frozen=True)
class EvaluatedSet:
    """A split of a shard directory."""

    directory: ShardDirectory
    split: str
    piece_s: float | None

    @property
    def name(self) -> str:
        """Name in the tables."""
        return self.directory.name

    def __str__(self) -> str:
        return f"{self.directory.path}, split {self.split!r}"


def open_device(name: str) -> torch.device:
    """The device of `--device`.

    Raises:
        ValueError: it is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"--device {name}: not there; expected auto, cpu, or cuda on a machine with a GPU"
        ) from error


def open_sets(config: Models) -> list[EvaluatedSet]:
    """The shard directories of `--shards`, each with the split that is evaluated.

    Raises:
        ValueError: a directory that cannot be read, two of one name, no such split, or no clips.
    """
    piece = config.piece or PROTOCOLS[config.protocol].piece
    sets: dict[str, EvaluatedSet] = {}
    for path in config.shards:
        directory = ShardDirectory.open(path)
        if directory.name in sets:
            other = sets[directory.name].directory.path
            raise ValueError(
                f"--shards: {other} and {path} both hold the set {directory.name!r}; give one"
            )
        split = config.split or _default_split(directory)
        if directory.clips(split).empty:
            raise ValueError(f"{path}, split {split!r}: no clips; see {path}/clips.parquet")
        length_s = piece_s(piece, directory.manifest.recipe)
        sets[directory.name] = EvaluatedSet(directory, split, length_s)
    return list(sets.values())


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
        try:
            loaded = load_encoder(path, variant)
        except ValueError as error:
            raise ValueError(str(error) if path in str(error) else f"{path}: {error}") from error
        normalisation = protocol.normalisation(loaded.config["normalise"])

        def embedder(
            name: str, encoder: Encoder, normalisation: Any = normalisation
        ) -> EncoderEmbedder:
            return EncoderEmbedder(name, encoder, normalisation, device)

        label = "untrained" if len(trained) == 1 else f"untrained {name}"
        fresh = embedder(label, untrained(loaded.encoder, config.seed))
        models.append(EvaluatedModel(embedder(name, loaded.encoder), loaded.config, fresh))
    models += [
        EvaluatedModel(
            CallableEmbedder(spec, config.encoder_input, protocol.normalisation("none"), device)
        )
        for spec in config.encoder
    ]
    names = Counter(model.embedder.name for model in models)
    if max(names.values()) > 1:
        twice = names.most_common(1)[0][0]
        raise ValueError(f"the model {twice} is given twice; give it once")
    return models


def open_out(config: Models, command: str, sets: Sequence[EvaluatedSet]) -> Path:
    """Make the folder of the results, which holds nothing but earlier ones, and its run.json.

    Raises:
        ValueError: it holds something else, or is a file.
    """
    first = (*config.checkpoint, *config.released, *config.encoder)[0]
    name = Path(first).resolve().stem.replace(":", "-")
    suffix = "" if command == "evaluate" else "-" + command.removeprefix("evaluate ")
    out = Path(config.out or Path("results") / (name + suffix))
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: is a file; give a folder to --out")
    if out.is_dir() and any(out.iterdir()):
        record = out / RECORD
        if not record.is_file() or json.loads(record.read_text()).get("command") != command:
            raise ValueError(
                f"{out}: exists and holds no results of {command}; give another --out, or remove it"
            )
    # run.json first: a folder that cannot be written is found before the long part, too.
    out.mkdir(parents=True, exist_ok=True)
    fingerprints = {str(each.directory.path): each.directory.fingerprint for each in sets}
    write_record(out, command, config, fingerprints)
    return out


def features_of(
    model: Embedder, data: EvaluatedSet, config: Models, device: torch.device
) -> Features:
    """The features of a set; `slvr.eval.embed.embed`'s errors."""
    return embed(
        model, data.directory, data.split, data.piece_s, Path(config.cache), config.batch, device
    )


def clip_labels(data: EvaluatedSet) -> list[str]:
    """The one label of each clip, in the order of the features.

    Raises:
        ValueError: a clip with no label or with several.
    """
    clips = data.directory.clips(data.split)
    n_labels = clips["labels"].map(len)
    if (n_labels == 0).any():
        others = ", ".join(data.directory.splits)
        raise ValueError(
            f"{data}: {(n_labels == 0).sum()} of {len(clips)} clips have no label, and each needs "
            f"one; choose another of the splits {others} with --split, or ingest the set with "
            "labels"
        )
    if (n_labels > 1).any():
        raise ValueError(
            f"{data}: {(n_labels > 1).sum()} of {len(clips)} clips have several labels, and "
            "few-shot tasks need clips of one class; choose a single-label set"
        )
    return [labels[0] for labels in clips["labels"]]


def _default_split(directory: ShardDirectory) -> str:
    for split in ("eval", "test"):
        if split in directory.splits:
            return split
    if len(directory.splits) != 1:
        raise ValueError(
            f"{directory.path}: neither a split 'eval' nor 'test'; choose one of "
            f"{', '.join(directory.splits)} with --split"
        )
    return directory.splits[0]
