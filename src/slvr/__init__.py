"""Slvr: audio as rebuildable shards, views on the device, self-supervised training, evaluation."""

from pathlib import Path

# Where the links to the rooms came as text files (a zip unpacked by Python, Windows), they lie
# two folders up.
if not (Path(__file__).parent / "ingest").is_dir():
    __path__.append(str(Path(__file__).parents[2]))
