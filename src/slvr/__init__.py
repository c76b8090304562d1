"""Slvr: audio as rebuildable shards, views on the device, self-supervised training, evaluation.

What a program of one's own needs, by name; everything is loaded on use:

    slvr.open_shards(path)                   a shard directory: tables, clips, streams
    slvr.Views(...)                          chains of augmentations that make two views
    slvr.batches(shards, views, device)      (keys, views, known), endless and resumable
    slvr.load_model(run).embed(waves, rate)  embeddings of a trained model
    slvr.load_separator(run)(waves)          channels (B, M, T) of waveforms (B, T)
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slvr.eval.loaded import load_model
    from slvr.model.separators.load import load_separator
    from slvr.pipeline.batches import Batches as batches  # noqa: N813
    from slvr.pipeline.views.chains import Chains
    from slvr.shards.read import ShardDirectory

    open_shards = ShardDirectory.open
    Views = Chains.configured

# Where the links to the rooms came as text files (a zip unpacked by Python, Windows), they lie
# two folders up.
if not (Path(__file__).parent / "ingest").is_dir():
    __path__.append(str(Path(__file__).parents[2]))

__all__ = ["Views", "batches", "load_model", "load_separator", "open_shards"]

_DOOR = {
    "open_shards": "slvr.shards.read:ShardDirectory.open",
    "Views": "slvr.pipeline.views.chains:Chains.configured",
    "batches": "slvr.pipeline.batches:Batches",
    "load_model": "slvr.eval.loaded:load_model",
    "load_separator": "slvr.model.separators.load:load_separator",
}
"""Name -> where it is; importing the package alone loads none of it."""


def __getattr__(name: str) -> Any:
    if name not in _DOOR:
        raise AttributeError(f"module 'slvr' has no attribute {name!r}; it has {', '.join(_DOOR)}")
    module, _, path = _DOOR[name].partition(":")
    found: Any = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *_DOOR])
