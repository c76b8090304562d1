"""From a plan to a finished shard directory: parallel, resumable, same input same bytes."""

import hashlib
import json
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path

from command.progress import track
from command.record import RECORD, package_versions
from ingest.ledger import LEDGER, LOCK, Ledger
from ingest.recipe import Plan, Recipe
from ingest.spool import Spool
from shards.clip import OK, SAMPLE_RATE_HZ, Clip
from shards.files import file_sha256
from shards.manifest import CLIPS, MANIFEST, Manifest, Row, ShardInfo, clip_row
from shards.write import ShardWriter, finish

NOMINAL_CLIP_S = 10.0
"""Length of a clip for which the plan knows none."""
TOOLS = ("slvr", "soundfile", "soxr", "av", "numpy", "scipy", "yt-dlp")


@dataclass(frozen=True)
class Outcome:
    """The rows of all clips, and the finished shards."""

    rows: list[Row]
    shards: list[ShardInfo]

    @property
    def failures(self) -> list[Row]:
        """Rows of the clips that are not there."""
        return [row for row in self.rows if row["status"] != OK]


def deal(clips: Iterable[Clip], shard_mb: float) -> dict[str, list[Clip]]:
    """Shard name -> its clips in the order of their keys; depends on the plan alone.

    The clips of a split are taken in the order of their keys' SHA-256, so that each shard is a
    mixture of classes, and fill one shard after the other by their expected length.
    """
    shards: dict[str, list[Clip]] = {}
    filled: dict[str, tuple[int, int]] = {}
    for clip in sorted(clips, key=lambda clip: hashlib.sha256(clip.key.encode()).digest()):
        expected = clip.n_samples or round(_segment_s(clip) * SAMPLE_RATE_HZ)
        number, n_bytes = filled.get(clip.split, (0, 0))
        if n_bytes and n_bytes + 2 * expected > shard_mb * 1e6:
            number, n_bytes = number + 1, 0
        filled[clip.split] = (number, n_bytes + 2 * expected)
        shards.setdefault(f"{clip.split}-{number:06d}", []).append(clip)
    return {name: sorted(shards[name], key=lambda clip: clip.key) for name in sorted(shards)}


def _segment_s(clip: Clip) -> float:
    if clip.source.end_s is None:
        return NOMINAL_CLIP_S
    return clip.source.end_s - (clip.source.start_s or 0.0)


def plan_sha256(recipe: Recipe, plan: Plan, codec: str, shard_mb: float) -> str:
    """Identity of what is asked for: the same command goes on, another one is refused."""
    rows = [json.dumps(clip_row(clip), sort_keys=True) for clip in plan.clips]
    head = json.dumps([recipe.NAME, recipe.VERSION, plan.options, codec, shard_mb], sort_keys=True)
    return hashlib.sha256("\n".join([head, *sorted(rows)]).encode()).hexdigest()


def prepare(out: Path) -> None:
    """Makes the output directory.

    Raises:
        ValueError: it holds something that is not an ingest's work.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: is a file; give a directory to --out")
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
    recipe: Recipe, plan: Plan, out: Path, codec: str, workers: int, shard_mb: float
) -> Outcome:
    """Makes every shard that is not finished yet, then the table and the manifest.

    A process killed at any point loses at most the clips of the shard in work (a remote recipe:
    none), and the same call completes to the same bytes.

    Raises:
        ValueError: the directory belongs to another plan or process; keys are not unique.
        OSError: the disk is full or not writable, or the source refuses us for now.
    """
    repeated = [key for key, n in Counter(clip.key for clip in plan.clips).items() if n > 1]
    if repeated:
        raise ValueError(f"{len(repeated)} clips have the key of another one: {repeated[0]}, ...")
    dealt = deal(plan.clips, shard_mb)
    with Ledger(out, plan_sha256(recipe, plan, codec, shard_mb)) as ledger:
        for leftover in out.glob(".*.partial"):
            leftover.unlink()
        finished = {
            name: info
            for name, info in ledger.finished().items()
            if info.n == 0 or _is_intact(out / info.name, info.sha256)
        }
        pending = {name: clips for name, clips in dealt.items() if f"{name}.tar" not in finished}
        if pending:
            (out / MANIFEST).unlink(missing_ok=True)
            n_done = len(plan.clips) - sum(map(len, pending.values()))
            with track(f"ingest {out.name}", len(plan.clips), "clips", n_done) as progress:
                _write_shards(recipe, pending, out, codec, workers, ledger, progress.advance)
        outcome = Outcome(ledger.rows(), [s for s in ledger.finished().values() if s.n])
    assert len(outcome.rows) == len(plan.clips)
    if pending or not _is_described(out):
        finish(
            out,
            outcome.rows,
            outcome.shards,
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
        )
    return outcome


def _is_intact(tar: Path, sha256: str) -> bool:
    return tar.with_suffix(".idx").is_file() and tar.is_file() and file_sha256(tar) == sha256


def _is_described(out: Path) -> bool:
    """Whether manifest and table are there and belong together."""
    try:
        manifest = Manifest.from_json((out / MANIFEST).read_text(encoding="utf-8"))
        return manifest.clips_sha256 == file_sha256(out / CLIPS)
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
    spool = Spool(out / "spool") if recipe.REMOTE else None
    maker = Maker(recipe, codec, spool)
    with _pool(recipe, workers) as pool:
        clips = (clip for clips in pending.values() for clip in clips)
        made = _in_order(pool, maker, clips, window=4 * workers + 16)
        try:
            for name, planned in pending.items():
                split = planned[0].split
                with ShardWriter(out, name, split, codec) as writer:
                    for _ in planned:
                        clip = next(made)
                        if clip.status == "blocked":
                            raise OSError(
                                f"the source refuses us for now ({clip.reason}: {clip.detail}); "
                                "nothing fetched so far is lost: run the same command again later"
                            )
                        writer.write(clip)
                        advance()
                assert writer.info is not None
                if writer.info.n == 0:
                    writer.path.unlink()
                    writer.path.with_suffix(".idx").unlink()
                ledger.commit(writer.info, writer.rows)
                if spool is not None:
                    spool.drop([clip.key for clip in planned])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@dataclass(frozen=True)
class Maker:
    """Makes one clip in a worker; keeps what came over a network."""

    recipe: Recipe
    codec: str
    spool: Spool | None

    def __call__(self, clip: Clip) -> Clip:
        """The clip with audio or as a failure."""
        if self.spool is None:
            return self.recipe.make(clip, self.codec)
        kept = self.spool.get(clip.key)
        if kept is None:
            kept = self.recipe.make(clip, self.codec)
            self.spool.put(kept)
        return kept


def _pool(recipe: Recipe, workers: int) -> Executor:
    if recipe.REMOTE:
        return ThreadPoolExecutor(workers)
    # spawn: a forked child would inherit the locks of the parent's threads
    return ProcessPoolExecutor(workers, get_context("spawn"), initializer=_obey_parent)


def _obey_parent() -> None:
    """In a worker: Ctrl-C is the parent's affair, and nobody outlives a killed parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _in_order(
    pool: Executor, make: Callable[[Clip], Clip], clips: Iterable[Clip], window: int
) -> Iterator[Clip]:
    """Results in the order of the clips, at most `window` ahead of the consumer."""
    ahead: deque[Future[Clip]] = deque()
    for clip in clips:
        ahead.append(pool.submit(make, clip))
        if len(ahead) >= window:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()
