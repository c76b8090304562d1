"""One shard as the unit of work: whoever makes it, in whatever order, its bytes are the same."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from slvr.ingest.building.guarded import made_by
from slvr.ingest.recipe import Recipe
from slvr.shards.clip import Clip
from slvr.shards.manifest import ShardInfo
from slvr.shards.rows import Row
from slvr.shards.write import ShardWriter


@dataclass(frozen=True)
class Part:
    """A finished shard.

    Attributes:
        info: of the tar, which is there with its index where a clip is ok.
        rows: one for every clip that was asked for in it.
    """

    info: ShardInfo
    rows: Sequence[Row]


def make_part(
    recipe: Recipe,
    name: str,
    clips: Sequence[Clip],
    folder: Path,
    codec: str,
    made: Iterable[Clip] | None = None,
) -> Part:
    """Makes one shard: the body of every engine.

    Args:
        recipe: makes the clips.
        name: of the shard, as `slvr.ingest.building.deal.deal` gives it.
        clips: those that were dealt to it, in the order of their keys.
        folder: where tar and index appear, whole or not at all; nothing is written elsewhere.
        codec: of the audio.
        made: the same clips made, in the same order, where somebody else makes them; by default
            they are made here, one after the other.

    Raises:
        OSError: the disk is full or not writable, or the source refuses us for now.
    """
    if made is None:
        made = map(made_by(recipe, codec), clips)
    with ShardWriter(folder, name, clips[0].split, codec) as writer:
        for planned, clip in zip(clips, made, strict=True):
            assert clip.key == planned.key, (clip.key, planned.key)
            writer.write(clip)
    assert writer.info is not None
    if writer.info.n == 0:
        writer.path.unlink()
        writer.path.with_suffix(".idx").unlink()
    return Part(writer.info, tuple(writer.rows))
