"""All evaluation sets at once: what they are, and every one whose source is there."""

from collections.abc import Callable, Sequence
from pathlib import Path

from slvr.command.line import DONE, FAILED, sentence
from slvr.command.text import say
from slvr.ingest.archives.evaluation_set import EvaluationSet
from slvr.ingest.archives.find import SUFFIXES
from slvr.ingest.recipes import EVALUATION_SETS
from slvr.ingest.recipes.fsd50k import FSD50K
from slvr.ingest.recipes.hear import Hear
from slvr.ingest.recipes.hear_originals import ALIASES, ORIGINALS
from slvr.shards.clip import OK

RIGHT = frozenset({"clips", "classes", "hours", "GB", "MB"})
"""Columns of numbers."""


def list_sets() -> str:
    """A table of the sets: licence, size, counts, and whether they are fetched by themselves."""
    sets: list[tuple[str, int, int, int, bool, str]] = [
        (s.NAME, s.N_CLIPS, s.N_CLASSES, s.SIZE_BYTES, bool(s.ARCHIVES), s.LICENCE)
        for s in EVALUATION_SETS.values()
    ]
    each = FSD50K
    sets.append((each.NAME, each.N_CLIPS, each.N_CLASSES, each.SIZE_BYTES, True, each.LICENCE))
    for alias, name in ALIASES.items():
        task = ORIGINALS[name]
        about = (task.n_clips, task.n_classes, task.size_bytes, True, task.licence)
        sets.append((f"{Hear.NAME} {alias}", *about))
    rows = [
        (
            *(name, f"{n_clips:,}", f"{n_classes:,}"),
            f"{size_bytes / 1e9:.1f}" if size_bytes else "?",
            *("automatic" if is_fetched else "by hand", licence),
        )
        for name, n_clips, n_classes, size_bytes, is_fetched, licence in sets
    ]
    return _table(("set", "clips", "classes", "GB", "download", "licence"), rows)


def find_sources(root: Path) -> dict[str, Path]:
    """Set -> its folder `<root>/<set>` or archive `<root>/<set>.zip`, where one is there.

    Raises:
        ValueError: none is.
    """
    found = {
        name: path
        for name in EVALUATION_SETS
        for path in [root / name, *(root / f"{name}{suffix}" for suffix in SUFFIXES)][::-1]
        if path.exists()
    }
    if not found:
        raise ValueError(
            f"{root}: no source of any set, expected folders or archives named "
            f"{', '.join(EVALUATION_SETS)}"
        )
    return found


def ingest_all(root: Path, out: Path, ingest: Callable[[EvaluationSet, Path], int]) -> int:
    """Ingests every set below root, prints one table; a set that fails does not stop the others.

    Args:
        root: holds the sources, see `find_sources`.
        out: holds the shard directories.
        ingest: ingests a set into a directory and returns the exit code.
    """
    worst, rows = DONE, []
    for name, source in find_sources(root).items():
        data_set = EVALUATION_SETS[name]
        try:
            code = ingest(data_set(source=str(source)), out / name)
            rows.append(_result(data_set, out / name))
        except (ValueError, OSError) as error:
            code = FAILED
            rows.append((name, "", "", "", "", sentence(error)))
        worst = max(worst, code)
    absent = [name for name in EVALUATION_SETS if name not in {row[0] for row in rows}]
    say(_table(("set", "clips", "classes", "hours", "MB", "warnings"), rows))
    if absent:
        say(f"no source for {', '.join(absent)}")
    return worst


def _result(data_set: type[EvaluationSet], path: Path) -> tuple[str, ...]:
    from slvr.shards.read import ShardDirectory  # noqa: PLC0415 - loads pandas

    directory = ShardDirectory.open(path)
    rows = directory.rows()
    ok = rows[rows["status"] == OK]
    n_classes = ok["labels"].explode().nunique()
    warnings = []
    if (len(ok), n_classes) != (data_set.N_CLIPS, data_set.N_CLASSES):
        warnings.append(f"expected {data_set.N_CLIPS:,} clips of {data_set.N_CLASSES:,} classes")
    if len(ok) < len(rows):
        warnings.append(f"{len(rows) - len(ok)} clips failed")
    hours = (ok["n_samples"] / ok["sample_rate_hz"]).sum() / 3600
    megabytes = sum(shard.bytes for shard in directory.manifest.shards) / 1e6
    numbers = (f"{len(ok):,}", f"{n_classes:,}", f"{hours:.2f}", f"{megabytes:.1f}")
    return (data_set.NAME, *numbers, "; ".join(warnings))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]

    def cell(i: int, text: str) -> str:
        return text.rjust(widths[i]) if head[i] in RIGHT else text.ljust(widths[i])

    return "\n".join("  ".join(cell(i, t) for i, t in enumerate(line)).rstrip() for line in lines)
