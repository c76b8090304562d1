"""The command `ingest`: audio -> shard directories."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jsonargparse import Namespace

from command.line import DONE, FAILED, add_options, arguments, build, exit_code, new_parser
from ingest.job import Outcome
from ingest.recipe import Recipe
from ingest.recipes import RECIPES

CACHE = Path("~/.cache/slvr")


@dataclass(frozen=True)
class Output:
    """What every recipe's command offers."""

    out: str | None = None
    """Shard directory to write; default: one named after the source, below shards/."""
    codec: Literal["flac", "wav"] = "flac"
    """Coding of the shards' 16-bit audio."""
    shard_mb: float = 128.0
    """Size of a shard before FLAC, which makes about 100 MB of 128, in units of 10^6 bytes."""
    workers: int | None = None
    """Parallel workers, 1 or more; default: one for each core."""
    max_fail: float | None = None
    """Share of failed clips, 0 to 1, above which the exit code is 1; default: the recipe's."""


@dataclass(frozen=True)
class Verify:
    """Re-hashes a shard directory and names every damage."""

    directory: str
    """Shard directory."""


def main(args: Sequence[str] | None = None) -> int:
    """Runs `ingest`; returns the exit code."""
    parser = new_parser("ingest", "Audio -> WebDataset shards that can be rebuilt and checked.")
    commands = parser.add_subcommands(required=True, dest="command")
    for name, recipe in RECIPES.items():
        sub = new_parser(f"ingest {name}", recipe.__doc__ or "")
        add_options(sub, recipe, positional=True)
        add_options(sub, Output)
        commands.add_subcommand(name, sub, help=_summary(recipe))
    sub = new_parser("ingest verify", Verify.__doc__ or "")
    add_options(sub, Verify, positional=True)
    commands.add_subcommand("verify", sub, help=_summary(Verify))

    chosen = parser.parse_args(arguments(args))
    values: Namespace = chosen[chosen.command]
    if chosen.command == "verify":
        return exit_code("ingest", lambda: verify(build(Verify, values)))
    recipe_type = RECIPES[chosen.command]
    return exit_code("ingest", lambda: run(build(recipe_type, values), build(Output, values)))


def _summary(documented: type) -> str:
    return (documented.__doc__ or "").partition("\n")[0]


def run(recipe: Recipe, output: Output) -> int:
    """Ingests one data set; returns the exit code."""
    from command.record import write_record
    from ingest import job

    workers = output.workers or os.cpu_count() or 1
    max_fail = recipe.MAX_FAIL if output.max_fail is None else output.max_fail
    if workers < 1 or not 0 <= max_fail <= 1 or output.shard_mb <= 0:
        raise ValueError(
            "expected --workers of 1 or more, --max-fail from 0 to 1 and --shard-mb above 0, got "
            f"{workers}, {max_fail} and {output.shard_mb}"
        )
    plan = recipe.plan(CACHE.expanduser())
    for note in plan.notes:
        print(note)
    out = Path(output.out or f"shards/{recipe.directory}")
    job.prepare(out)
    write_record(out, "ingest", recipe)
    outcome = job.build(recipe, plan, out, output.codec, workers, output.shard_mb)
    _print_outcome(out, outcome)
    n_ok = len(outcome.rows) - len(outcome.failures)
    if n_ok == 0 or len(outcome.failures) > max_fail * len(outcome.rows):
        print(
            f"more failures than --max-fail {max_fail:g} allows: {out / 'clips.parquet'} lists them"
        )
        return FAILED
    return DONE


def _print_outcome(out: Path, outcome: Outcome) -> None:
    n_ok = len(outcome.rows) - len(outcome.failures)
    hours = sum(row["n_samples"] / row["sample_rate_hz"] for row in outcome.rows) / 3600
    megabytes = sum(shard.bytes for shard in outcome.shards) / 1e6
    print(
        f"{out}: {n_ok} of {len(outcome.rows)} clips, {hours:.2f} h, {len(outcome.shards)} shards, "
        f"{megabytes:.1f} MB"
    )
    reasons = Counter((row["status"], row["reason"]) for row in outcome.failures)
    for (status, reason), n in reasons.most_common():
        example = next(row for row in outcome.failures if row["reason"] == reason)
        print(f"  {n} {status}: {reason}, e.g. {example['source_uri']} ({example['detail']})")


def verify(options: Verify) -> int:
    """Checks a shard directory; returns the exit code."""
    from command.progress import track
    from shards.read import ShardDirectory
    from shards.verify import verify as find_damages

    directory = ShardDirectory.open(options.directory)
    shards = directory.manifest.shards
    with track("verify", len(shards), "shards") as progress:
        damages = find_damages(directory, on_shard=lambda name: progress.advance(note=name))
    for damage in damages:
        print(damage)
    n_clips = sum(shard.n for shard in shards)
    if damages:
        print(f"{directory.path}: {len(damages)} damages; ingest the data set again to mend it")
        return FAILED
    print(f"{directory.path}: intact, {n_clips} clips in {len(shards)} shards")
    return DONE
