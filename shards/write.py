"""Shards out of clips: deterministic WebDataset tars with their DALI index."""

import json
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from slvr.shards.clip import OK, Clip
from slvr.shards.croissant import CROISSANT, croissant
from slvr.shards.files import AtomicFile, file_sha256, write_text
from slvr.shards.manifest import MANIFEST, Description, Manifest, ShardInfo
from slvr.shards.rows import CLIPS, Place, Row, row_of, sample_fields, write_rows


class ShardWriter:
    """Writes one tar and its index; both appear when the `with` block ends cleanly.

    The bytes depend on the clips alone: members in the order of their keys, mtime 0, one owner and
    mode. Failed clips get a row and no member.

    Attributes:
        rows: a `clips.parquet` row for every clip written, in order.
        info: the finished shard, once the block has ended.
    """

    def __init__(self, directory: Path, name: str, split: str, codec: str) -> None:
        self.path = directory / f"{name}.tar"
        self.split = split
        self.codec = codec
        self.rows: list[Row] = []
        self.info: ShardInfo | None = None
        self._index: list[str] = []
        self._last_key = ""
        self._file = AtomicFile(self.path)

    def __enter__(self) -> "ShardWriter":
        self._tar = self._file.__enter__().open("wb")
        return self

    def write(self, clip: Clip) -> None:
        """Adds a clip; keys must come in ascending order."""
        assert clip.key > self._last_key and clip.split == self.split, (clip.key, self._last_key)
        self._last_key = clip.key
        place = None
        if clip.status == OK:
            assert clip.audio is not None
            fields = json.dumps(sample_fields(clip), ensure_ascii=False).encode()
            members = ((self.codec, clip.audio), ("json", fields))
            offsets = [self._add(f"{clip.key}.{suffix}", content) for suffix, content in members]
            place = Place(self.path.name, offsets[0], len(clip.audio))
            self._index.append(
                index_line(
                    (suffix, offset, len(content), f"{clip.key}.{suffix}")
                    for (suffix, content), offset in zip(members, offsets, strict=True)
                )
            )
        self.rows.append(row_of(clip, place))

    def _add(self, name: str, content: bytes) -> int:
        """Adds a member, in a seventh of the time that `TarFile.addfile` takes; its offset."""
        header = tarfile.TarInfo(name)
        header.size = len(content)
        header.mode = 0o444
        header.uname = header.gname = "slvr"
        self._tar.write(header.tobuf(tarfile.USTAR_FORMAT))
        offset = self._tar.tell()
        self._tar.write(content)
        self._pad(tarfile.BLOCKSIZE)
        return offset

    def _pad(self, unit_bytes: int) -> None:
        self._tar.write(bytes(-self._tar.tell() % unit_bytes))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._tar.write(bytes(2 * tarfile.BLOCKSIZE))  # the end of a tar
            self._pad(tarfile.RECORDSIZE)
        self._tar.close()
        self._file.__exit__(kind, *_)
        if kind is None:
            index = self.path.with_suffix(".idx")
            with AtomicFile(index) as temporary:
                temporary.write_text(index_text(self._index))
            self.info = ShardInfo(
                name=self.path.name,
                split=self.split,
                bytes=self.path.stat().st_size,
                sha256=file_sha256(self.path),
                n=len(self._index),
            )


def finish(
    directory: Path, rows: Sequence[Row], shards: Sequence[ShardInfo], about: Description
) -> Manifest:
    """Writes `clips.parquet`, `croissant.json`, then `dataset.json`: the directory is complete.

    Args:
        directory: holds the shards.
        rows: one for every clip that was asked for.
        shards: the finished tars.
        about: whose directory it is.
    """
    write_rows(directory / CLIPS, rows)
    counts: dict[str, dict[str, int]] = {}
    for clip in sorted((row.clip for row in rows), key=lambda clip: (clip.split, clip.status)):
        statuses = counts.setdefault(clip.split, {})
        statuses[clip.status] = statuses.get(clip.status, 0) + 1
    assert sum(shard.n for shard in shards) == sum(n.get(OK, 0) for n in counts.values())
    manifest = Manifest.of(about, counts, tuple(shards), file_sha256(directory / CLIPS))
    write_text(directory / CROISSANT, croissant(manifest))
    write_text(directory / MANIFEST, manifest.to_json())
    return manifest


def index_line(members: Iterable[tuple[str, int, int, str]]) -> str:
    """One sample of a DALI index: suffix, offset, size and name of each of its members."""
    return " ".join(f"{suffix} {offset} {size} {name}" for suffix, offset, size, name in members)


def index_of(tar: Path) -> str:
    """The DALI index of a finished shard, read off its tar."""
    with tarfile.open(tar, "r:") as opened:
        members = [(Path(m.name).suffix[1:], m.offset_data, m.size, m.name) for m in opened]
    return index_text([index_line(pair) for pair in zip(members[::2], members[1::2], strict=True)])


def index_text(lines: list[str]) -> str:
    """A DALI webdataset index, format 1.2: a header with the number of samples, a line for each."""
    return "".join(f"{line}\n" for line in [f"v1.2 {len(lines)}", *lines])
