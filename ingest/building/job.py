"""From a plan to a finished shard directory: parallel, resumable, same input same bytes."""

import dataclasses
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast

from slvr.command.progress import track
from slvr.command.record import RECORD, package_versions
from slvr.command.text import say
from slvr.ingest.building.attempts import AttemptingMaker
from slvr.ingest.building.copies import spool_copies
from slvr.ingest.building.deal import deal, expected_s, plan_sha256
from slvr.ingest.building.guarded import made_apart
from slvr.ingest.building.ledger import LEDGER, LOCK, About, Ledger
from slvr.ingest.building.part import make_part
from slvr.ingest.building.rebuild import rebuild
from slvr.ingest.building.reopen import reopen
from slvr.ingest.building.spool import Spool
from slvr.ingest.building.turns import Turns
from slvr.ingest.building.workers import TASK_S, Overtaking, crew_of, in_order, tasks_of
from slvr.ingest.crew import threads_of
from slvr.ingest.recipe import ClipPlan, CopiedRecipe, OnlineRecipe, Recipe
from slvr.shards.clip import OK, SAMPLE_RATE_HZ, Clip
from slvr.shards.croissant import CROISSANT, croissant
from slvr.shards.files import file_sha256, refuse_links
from slvr.shards.manifest import MANIFEST, Description, Manifest, ShardInfo
from slvr.shards.rows import CLIPS, Row
from slvr.shards.write import finish, index_of

BYTES_PER_S = {"flac": 20_000, "wav": 32_000}
"""Of shards; FLAC's is what AudioSet's mixture of sounds takes."""
SPOOL = "spool"
TOOLS = ("slvr", "soundfile", "soxr", "av", "numpy", "scipy", "yt-dlp")


@dataclass(frozen=True)
class Outcome:
    """The rows of all clips, and the finished shards."""

    rows: list[Row]
    shards: list[ShardInfo]

    @property
    def failures(self) -> list[Row]:
        """Rows of the clips that are not there."""
        return [row for row in self.rows if row.clip.status != OK]


def disk_note(plan: ClipPlan, out: Path, codec: str) -> str | None:
    """A sentence for the user when the disk looks too small for what is still missing."""
    seconds = sum(expected_s(clip) for clip in plan.clips)
    here = out.resolve()
    while not here.exists():
        here = here.parent
    there_bytes = sum(path.stat().st_size for path in out.glob("*.tar"))
    missing_mb = (seconds * BYTES_PER_S[codec] - there_bytes) / 1e6
    free_mb = shutil.disk_usage(here).free / 1e6
    if missing_mb <= free_mb:
        return None
    return (
        f"the disk of {out} has {free_mb:.0f} MB free, about {missing_mb:.0f} MB are missing; "
        "when it is full the run stops and loses nothing"
    )


def prepare(out: Path) -> None:
    """Makes the output directory.

    Raises:
        ValueError: it holds something that is not an ingest's work.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: is a file; give a directory to --out")
    refuse_links(out)
    ours = (LEDGER, LOCK, RECORD)
    if out.is_dir() and not (out / LEDGER).exists():
        strange = sorted(entry.name for entry in out.iterdir() if entry.name not in ours)
        if strange:
            raise ValueError(
                f"{out}: exists and was not made by this command (holds {strange[0]}); give "
                "another --out, or remove it"
            )
    out.mkdir(parents=True, exist_ok=True)


def build(
    recipe: Recipe,
    plan: ClipPlan,
    out: Path,
    codec: Literal["flac", "wav"],
    workers: int,
    shard_mb: float,
    again: Collection[str] = (),
) -> Outcome:
    """Makes every shard that is not finished yet, then the table and the manifest.

    A process killed at any point loses at most the clips of the shard in work (an online recipe:
    none), and the same call completes to the same bytes. Clips of finished shards whose status is
    in `again` are asked for once more; of the other clips nothing is.

    Raises:
        ValueError: the directory belongs to another plan or process; keys are not unique.
        OSError: the disk is full or not writable, or the source refuses us for now.
    """
    repeated = [key for key, n in Counter(clip.key for clip in plan.clips).items() if n > 1]
    if repeated:
        raise ValueError(f"{len(repeated)} clips have the key of another one: {repeated[0]}, ...")
    dealt = deal(plan.clips, shard_mb)
    begun = About(recipe.NAME, _public(recipe), codec, shard_mb, len(plan.clips))
    with Ledger(out, plan_sha256(recipe, plan, codec, shard_mb), begun) as ledger:
        for leftover in out.glob(".*.partial"):
            leftover.unlink()
        if ledger.is_new and any(out.glob("*.tar")):
            n = rebuild(out, dealt, ledger, Spool(out / SPOOL) if recipe.ONLINE else None)
            say(
                f"{out}: its {LEDGER} was {'damaged' if ledger.was_damaged else 'lost'}; "
                f"{n} of {len(dealt)} shards are proven by what is there, the rest is made",
                sys.stderr,
            )
        finished = {
            name: info
            for name, info in ledger.finished().items()
            if info.n == 0 or _is_intact(out / info.name, info.sha256)
        }
        for name in reopen(out, dealt, finished, ledger, Spool(out / SPOOL), again):
            del finished[name]
        pending = {name: clips for name, clips in dealt.items() if f"{name}.tar" not in finished}
        if pending:
            for name in (MANIFEST, CROISSANT):
                (out / name).unlink(missing_ok=True)
            if isinstance(recipe, CopiedRecipe):
                wanted = (clip for clips in pending.values() for clip in clips)
                spool_copies(recipe, wanted, Spool(out / SPOOL), codec, workers)
            n_done = len(plan.clips) - sum(map(len, pending.values()))
            with track(f"ingest {out.name}", len(plan.clips), "clips", n_done) as progress:
                _write_shards(recipe, pending, out, codec, workers, ledger, progress.advance)
        shutil.rmtree(out / SPOOL, ignore_errors=True)
        outcome = Outcome(ledger.rows(), [s for s in ledger.finished().values() if s.n])
    assert len(outcome.rows) == len(plan.clips)
    if pending or not _is_described(out):
        about = Description(
            name=out.resolve().name,
            recipe=recipe.NAME,
            recipe_version=recipe.VERSION,
            options=plan.options,
            tool_versions=package_versions(TOOLS),
            licence=recipe.LICENCE,
            citation=recipe.CITATION,
            homepage=recipe.HOMEPAGE,
            codec=codec,
            sample_rate_hz=SAMPLE_RATE_HZ,
            labels=plan.labels,
            extra=plan.extra,
            derived_from=plan.derived_from,
        )
        finish(out, outcome.rows, outcome.shards, about)
    return outcome


def _public(recipe: Recipe) -> dict[str, object]:
    """The recipe's options; those with `repr=False` may hold secrets and are left out."""
    declared = dataclasses.fields(cast(Any, recipe))  # every recipe is a dataclass
    fields = [field for field in declared if field.init and field.repr]
    return {field.name: getattr(recipe, field.name) for field in fields}


def _is_intact(tar: Path, sha256: str) -> bool:
    """Whether a shard is as it was written, and its index belongs to it."""
    index = tar.with_suffix(".idx")
    if not (index.is_file() and tar.is_file() and file_sha256(tar) == sha256):
        return False
    return index.read_bytes() == index_of(tar).encode()


def _is_described(out: Path) -> bool:
    """Whether manifest, table and Croissant record are there and belong together."""
    try:
        text = (out / MANIFEST).read_text(encoding="utf-8")
        manifest = Manifest.from_json(text, str(out / MANIFEST))
        described = (out / CROISSANT).read_bytes() == croissant(manifest).encode()
        return described and manifest.clips_sha256 == file_sha256(out / CLIPS)
    except (ValueError, FileNotFoundError):
        return False


def _write_shards(
    recipe: Recipe,
    pending: dict[str, list[Clip]],
    out: Path,
    codec: str,
    workers: int,
    ledger: Ledger,
    advance: Callable[[], None],
) -> None:
    spool = Spool(out / SPOOL)
    clips = [clip for clips in pending.values() for clip in clips]
    making = _from_network if recipe.ONLINE else _from_files
    with making(recipe, clips, codec, workers, spool, ledger, advance) as made:
        for name, planned in pending.items():
            part = make_part(recipe, name, planned, out, codec, islice(made, len(planned)))
            ledger.commit(part.info, part.rows)
            spool.drop([clip.key for clip in planned])


@contextmanager
def _from_files(
    recipe: Recipe,
    clips: Sequence[Clip],
    codec: str,
    workers: int,
    spool: Spool,
    ledger: Ledger,
    advance: Callable[[], None],
) -> Iterator[Iterator[Clip]]:
    """The clips made by worker processes, each counted once it is taken."""
    crew = crew_of(recipe, workers)

    def counted(made: Iterator[Clip]) -> Iterator[Clip]:
        for clip in made:
            yield clip
            advance()

    # the next task waits in a thread for the first process that is free
    with threads_of(crew, 2 * workers) as pool:
        make = made_apart(crew, recipe, codec)
        yield counted(in_order(pool, make, tasks_of(clips, TASK_S), window=4 * workers + 16))


@contextmanager
def _from_network(
    recipe: Recipe,
    clips: Sequence[Clip],
    codec: str,
    workers: int,
    spool: Spool,
    ledger: Ledger,
    advance: Callable[[], None],
) -> Iterator[Iterator[Clip]]:
    """The clips fetched by threads, each kept on the disk as it comes and counted then."""
    online = cast(OnlineRecipe, recipe)
    crew = crew_of(recipe, workers)
    turns = Turns(online.politeness, online.exits)
    ledger.begin_exits(online.exits)
    maker = AttemptingMaker(online, codec, spool, ledger, turns, crew)
    with threads_of(crew, workers) as pool:
        try:
            running = 2 * workers + 16
            yield map(maker.with_audio, Overtaking(pool, maker, clips, running, advance))
        finally:
            turns.stop()
