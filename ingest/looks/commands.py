"""Commands that look at shard directories; clips and shards stay as they are.

Heavy imports stand inside functions, as in `cli.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slvr.command.line import DONE, FAILED
from slvr.command.text import say


@dataclass(frozen=True)
class Verify:
    """Re-hashes a shard directory and names every damage."""

    directory: str
    """Shard directory."""


@dataclass(frozen=True)
class Status:
    """Shows how far an ingest has come, also while it runs."""

    directory: str
    """Shard directory."""


@dataclass(frozen=True)
class Diff:
    """Compares the tables of two shard directories clip by clip; exit code 1 where they differ."""

    a: str
    """Shard directory; its clips.parquet is enough."""
    b: str
    """Another one."""
    json: str | None = None
    """File for the comparison with every clip that differs, as JSON."""


@dataclass(frozen=True)
class Inspect:
    """Writes one HTML page: what is there, what is missing and why, and clips to listen to."""

    directory: str
    """Shard directory."""
    out: str | None = None
    """The page; default: inspect.html in the directory."""
    seed: int = 0
    """Draws the clips that are shown, and those whose level is measured."""


def verify(options: Verify) -> int:
    """Checks a shard directory; returns the exit code."""
    from slvr.command.progress import track
    from slvr.shards.copies import count_copies
    from slvr.shards.manifest import MANIFEST
    from slvr.shards.read import ShardDirectory
    from slvr.shards.verify import verify as find_damages

    try:
        directory = ShardDirectory.open(options.directory)
    except ValueError as error:
        if not (Path(options.directory) / MANIFEST).is_file():
            raise
        say(error)  # a damaged manifest is a finding, not a wrong argument
        return FAILED
    shards = directory.manifest.shards
    with track("verify", len(shards), "shards") as progress:
        damages = find_damages(directory, on_shard=lambda name: progress.advance(note=name))
    for damage in damages:
        say(damage)
    n_clips = sum(shard.n for shard in shards)
    if damages:
        say(f"{directory.path}: damaged, as above; ingest the data set again to mend it")
        return FAILED
    say(f"{directory.path}: intact, {n_clips} clips in {len(shards)} shards")
    say(count_copies(directory.pcm_sha256()))
    return DONE


def status(options: Status) -> int:
    """Shows how far an ingest has come; returns the exit code."""
    from slvr.ingest.looks.status import read_state

    say(read_state(Path(options.directory)))
    return DONE


def diff(options: Diff) -> int:
    """Compares two shard directories; returns the exit code."""
    import json

    from slvr.shards.compare import compare
    from slvr.shards.files import write_text

    found = compare(Path(options.a), Path(options.b))
    if options.json is not None:
        text = json.dumps({"a": options.a, "b": options.b, **found.to_dict()}, indent=1)
        write_text(Path(options.json), text + "\n")
    for line in found.lines():
        say(f"  {line}")
    say(found.verdict)
    return DONE if found.same else FAILED


def inspect(options: Inspect) -> int:
    """Writes the page of a shard directory; returns the exit code."""
    from slvr.ingest.looks.inspect import PAGE, page
    from slvr.shards.copies import count_copies
    from slvr.shards.files import write_text
    from slvr.shards.read import ShardDirectory

    directory = ShardDirectory.open(options.directory)
    out = Path(options.out or directory.path / PAGE)
    write_text(out, page(directory, options.seed))
    say(count_copies(directory.pcm_sha256()))
    say(f"page: {out}")
    return DONE


LOOKS: dict[str, tuple[type, Callable[[Any], int]]] = {
    "verify": (Verify, verify),
    "status": (Status, status),
    "diff": (Diff, diff),
    "inspect": (Inspect, inspect),
}
"""Name of each command -> its options, and what it does."""
