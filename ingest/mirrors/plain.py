"""Audio files in folders."""

from collections.abc import Iterator
from pathlib import Path

from slvr.ingest.mirrors.contract import MAX_CLIP_BYTES, Copy, Span, Wanted, damaged, part_of


def read_plain(paths: tuple[Path, ...], wanted: Wanted) -> Iterator[Copy]:
    """See `Reader`: one audio file."""
    (path,) = paths
    clip = wanted.take(part_of(path.name))
    if clip is None:
        return
    n_bytes = path.stat().st_size
    if n_bytes > MAX_CLIP_BYTES:
        yield Copy(clip, "", damaged(f"{n_bytes} bytes, expected {MAX_CLIP_BYTES} or fewer"))
    else:
        yield Copy(clip, "", Span(path, 0, n_bytes))
