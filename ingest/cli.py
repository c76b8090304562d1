"""The command `ingest`: audio -> shard directories."""

import itertools
import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from slvr.command.line import (
    DONE,
    FAILED,
    add_options,
    arguments,
    build,
    exit_code,
    flag_of,
    new_parser,
)
from slvr.command.text import say
from slvr.ingest.building.job import Outcome
from slvr.ingest.expected import compare
from slvr.ingest.looks.commands import LOOKS
from slvr.ingest.recipe import OnlineRecipe, Recipe
from slvr.ingest.recipes import RECIPES
from slvr.shards.clip import OK, UNSETTLED
from slvr.shards.copies import count_copies

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

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
    """Parallel workers, 1 or more; default: one for each core, or for each --proxy if more."""
    max_fail: float | None = None
    """Share of failed clips, 0 to 1, above which the exit code is 1; default: the recipe's."""


@dataclass(frozen=True)
class All(Output):
    """Ingests every evaluation set whose source is there, and ends with one table."""

    root: str = field(kw_only=True)
    """Folder with one folder or archive for each set, named like its command."""
    out: str = "shards"
    """Folder for the shard directories."""


@dataclass(frozen=True)
class List:
    """Lists the evaluation sets: licence, size, counts, and how to get them."""


@dataclass(frozen=True)
class Retry:
    """Asks again for failed clips of a shard directory; rewrites only the shards they are in.

    Further options are those of the recipes that may be given anew.
    """

    directory: str
    """Shard directory."""
    status: str = "transient,blocked"
    """Statuses of the clips to ask for again, with commas."""
    workers: int | None = None
    """Parallel workers, 1 or more; default: one for each core, or for each --proxy if more."""
    max_fail: float | None = None
    """Share of failed clips, 0 to 1, above which the exit code is 1; default: the recipe's."""


KEPT, NOT_KEPT = "Default: as in the first run.", "Not kept: give it as in the first run."
"""Of the recipes' options: fields with `repr=False` may hold secrets and are written nowhere."""


def main(args: Sequence[str] | None = None) -> int:
    """Runs `ingest`; returns the exit code."""
    given = arguments(args)
    chosen = _parser(given).parse_args(given)
    values: Namespace = chosen[chosen.command]
    if chosen.command in ON_DIRECTORIES | ON_SETS:
        options, work = (ON_DIRECTORIES | ON_SETS)[chosen.command]
        return exit_code("ingest", lambda: work(build(options, values)))
    if chosen.command == "retry":
        return exit_code("ingest", lambda: retry(build(Retry, values), _given_anew(values)))
    recipe_type = RECIPES[chosen.command]
    return exit_code("ingest", lambda: run(build(recipe_type, values), build(Output, values)))


def _parser(given: Sequence[str]) -> "ArgumentParser":
    """The parser of every command; reading the docstrings of every recipe would take 0.2 s."""
    parser = new_parser("ingest", "Audio -> WebDataset shards that can be rebuilt and checked.")
    commands = parser.add_subcommands(required=True, dest="command")
    for name, recipe in RECIPES.items():
        sub = new_parser(f"ingest {name}", recipe.__doc__ or "")
        if name in given:
            add_options(sub, recipe, positional=True)
            add_options(sub, Output)
        commands.add_subcommand(name, sub, help=_summary(recipe))
    for name, (options, _) in ON_SETS.items():
        sub = new_parser(f"ingest {name}", options.__doc__ or "")
        add_options(sub, options)
        commands.add_subcommand(name, sub, help=_summary(options))
    for name, (options, _) in ON_DIRECTORIES.items():
        sub = new_parser(f"ingest {name}", options.__doc__ or "")
        add_options(sub, options, positional=True)
        commands.add_subcommand(name, sub, help=_summary(options))
    sub = new_parser("ingest retry", Retry.__doc__ or "")
    add_options(sub, Retry, positional=True)
    if "retry" in given:
        for recipe, sentences in _retry_options():
            add_options(sub, recipe, only=sentences)
    commands.add_subcommand("retry", sub, help=_summary(Retry))
    return parser


def _retry_options() -> list[tuple[type[Recipe], dict[str, str]]]:
    """Recipe -> its options for `retry`, each name once, with the sentence on their default."""
    taken: list[tuple[type[Recipe], dict[str, str]]] = []
    for recipe in RECIPES.values():
        known = {name for _, sentences in taken for name in sentences}
        declared = fields(cast(Any, recipe))  # every recipe is a dataclass
        wanted = [f for f in declared if f.name in set(recipe.RETRY_OPTIONS) - known]
        taken.append((recipe, {f.name: KEPT if f.repr else NOT_KEPT for f in wanted}))
    return taken


def _given_anew(values: "Namespace") -> dict[str, Any]:
    """The recipes' options that stand on the command line of `retry`."""
    found = {name: values[name] for _, sentences in _retry_options() for name in sentences}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in found.items()
        if value not in (None, [])
    }


def _summary(documented: type) -> str:
    return (documented.__doc__ or "").partition("\n")[0]


def run(recipe: Recipe, output: Output, again: Collection[str] = ()) -> int:
    """Ingests one data set; returns the exit code.

    Args:
        recipe: the data set.
        output: where it goes, and how.
        again: statuses of clips in finished shards to ask for once more.
    """
    from slvr.command.record import write_record
    from slvr.ingest.building import job

    exits = cast(OnlineRecipe, recipe).exits if recipe.ONLINE else ()
    workers = output.workers or max(os.cpu_count() or 1, len(exits))
    max_fail = recipe.MAX_FAIL if output.max_fail is None else output.max_fail
    if workers < 1 or not 0 <= max_fail <= 1 or output.shard_mb <= 0:
        raise ValueError(
            "expected --workers of 1 or more, --max-fail from 0 to 1 and --shard-mb above 0, got "
            f"{workers}, {max_fail} and {output.shard_mb}"
        )
    plan = recipe.plan(CACHE.expanduser())
    for line in plan.notes:
        say(line)
    out = Path(output.out or f"shards/{recipe.directory}")
    job.prepare(out)
    if (too_small := job.disk_note(plan, out, output.codec)) is not None:
        say(too_small)
    outcome = job.build(recipe, plan, out, output.codec, workers, output.shard_mb, again)
    write_record(out, "ingest", recipe)  # only now: a directory of another plan is refused above
    _print_outcome(out, outcome)
    if plan.expected is not None:
        say("\n".join(compare(plan.expected, recipe.NAME, outcome.rows)))
    if (too_many := _too_many_failures(out, outcome, max_fail)) is not None:
        say(too_many)
        return FAILED
    return DONE


def _too_many_failures(out: Path, outcome: Outcome, max_fail: float) -> str | None:
    """What to say where more clips failed than are allowed, and what to type to accept them."""
    n, n_failed = len(outcome.rows), len(outcome.failures)
    listed = f"{out / 'clips.parquet'} lists them"
    if n_failed == n:
        return f"no clip is ok: {listed}"
    if n_failed <= allowed(max_fail, n):
        return None
    return (
        f"more failures than --max-fail {max_fail:g} allows, {n_failed} of {n}: {listed}. To go on "
        f"without these clips run the same command again with --max-fail "
        f"{least_allowing(n_failed, n)}; finished work is kept"
    )


def allowed(max_fail: float, n: int) -> int:
    """How many of n clips may fail; 0.29 of 100 are 29, whatever floating point makes of it."""
    return math.floor(max_fail * n + 1e-6)


def least_allowing(n_failed: int, n: int) -> str:
    """The --max-fail of fewest digits that so many failures pass, and not one more."""
    for digits in itertools.count(1):
        share = -(-n_failed * 10**digits // n) / 10**digits
        if allowed(share, n) == n_failed:
            return f"{share:.{digits}f}"
    raise AssertionError


def _print_outcome(out: Path, outcome: Outcome) -> None:
    n_ok = len(outcome.rows) - len(outcome.failures)
    clips = [row.clip for row in outcome.rows]
    hours = sum(clip.n_samples / clip.sample_rate_hz for clip in clips) / 3600
    megabytes = sum(shard.bytes for shard in outcome.shards) / 1e6
    say(
        f"{out}: {n_ok} of {len(outcome.rows)} clips, {hours:.2f} h, {len(outcome.shards)} shards, "
        f"{megabytes:.1f} MB"
    )
    failures = [row.clip for row in outcome.failures]
    reasons = Counter((clip.status, clip.reason) for clip in failures)
    for (status, reason), n in reasons.most_common():
        example = next(clip for clip in failures if clip.reason == reason)
        say(f"  {n} {status}: {reason}, e.g. {example.source.uri} ({example.detail})")
    copies = count_copies(clip.pcm_sha256 for clip in clips if clip.status == OK)
    if copies.n_equal:
        say(f"  {copies}")
    unsettled = sum(clip.status in UNSETTLED for clip in failures)
    if unsettled:
        say(f"{unsettled} of them failed for now: `ingest retry {out}` asks for them again")


def all_sets(options: All) -> int:
    """Ingests every set whose source is there; returns the exit code."""
    from slvr.ingest.all_sets import ingest_all

    shared = {f.name: getattr(options, f.name) for f in fields(Output)}

    def ingest(data_set: Recipe, out: Path) -> int:
        return run(data_set, Output(**shared | {"out": str(out)}))

    return ingest_all(Path(options.root), Path(options.out), ingest)


def list_sets(_: List) -> int:
    """Prints the table of the sets; returns the exit code."""
    from slvr.ingest.all_sets import list_sets as table

    say(table())
    return DONE


def retry(options: Retry, anew: dict[str, Any]) -> int:
    """Asks again for failed clips; returns the exit code.

    Args:
        options: which clips.
        anew: options of the recipe in place of those of the first run.
    """
    from slvr.ingest.building.ledger import read_about
    from slvr.shards.clip import STATUSES

    again = options.status.split(",")
    if not set(again) <= set(STATUSES) - {OK}:
        raise ValueError(
            f"--status {options.status}: expected some of {', '.join(STATUSES[1:])}, with commas"
        )
    about = read_about(Path(options.directory))
    recipe_type = RECIPES[about.recipe]
    if not recipe_type.ONLINE:
        raise ValueError(
            f"{options.directory}: made from local files, which do not change by themselves; mend "
            f"them and run `ingest {about.recipe}` with another --out"
        )
    if strange := [flag_of(name) for name in anew if name not in recipe_type.RETRY_OPTIONS]:
        raise ValueError(
            f"{', '.join(strange)}: {options.directory} was made by `ingest {about.recipe}`; for "
            f"it `ingest retry` takes {', '.join(map(flag_of, recipe_type.RETRY_OPTIONS))}"
        )
    known: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in about.options.items()
    }
    output = Output(
        out=options.directory,
        codec=about.codec,
        shard_mb=about.shard_mb,
        workers=options.workers,
        max_fail=options.max_fail,
    )
    return run(recipe_type(**known | dict(anew)), output, again)


ON_SETS: dict[str, tuple[type, Callable[[Any], int]]] = {
    "all": (All, all_sets),
    "list": (List, list_sets),
}
"""Commands on all evaluation sets: their options, and what they do."""
ON_DIRECTORIES: dict[str, tuple[type, Callable[[Any], int]]] = LOOKS
"""Commands that take a shard directory: their options, and what they do; beside `retry`."""
