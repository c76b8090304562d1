"""Parquet files with audio bytes, as Hugging Face's `datasets` writes them."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from slvr.ingest.mirrors.contract import Content, Copy, Part, Wanted, damaged, part_of

IDS = ("video_id", "youtube_id", "ytid", "YTID", "id", "segment_id", "file_name")
AUDIO = ("audio", "flac", "wav")
ROWS = 8
"""Decompressed at a time: of 48 kHz and 24 bit about 8 MB."""


def has_audio(path: Path) -> bool:
    """Whether a parquet file has a column of audio files."""
    try:
        return _audio_column(pq.read_schema(path)) is not None
    except (pa.ArrowException, OSError):
        return False


def read_parquet(paths: tuple[Path, ...], wanted: Wanted) -> Iterator[Copy]:
    """See `Reader`; a row group in which nothing is wanted is passed over."""
    (path,) = paths
    try:
        # not the whole row group at once: a hundred clips of 48 kHz are 130 MB
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"no whole parquet file ({error})") from error
    with file:
        schema = file.schema_arrow
        audio = _audio_column(schema)
        if audio is None:
            return  # a list beside the audio
        names = next((name for name in IDS if name in schema.names), None)
        for group in range(file.num_row_groups):
            parts = _parts(file, group, names, audio)
            if any(map(wanted.has, parts)):
                yield from _read_group(file, group, audio, parts, wanted)


def _audio_column(schema: pa.Schema) -> str | None:
    """The name of the column with audio files: bytes, or a record with `bytes`."""
    for name in AUDIO:
        if name in schema.names:
            kind = schema.field(name).type
            if _is_binary(kind):
                return name
            if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
                return name
    return None


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _parts(file: pq.ParquetFile, group: int, names: str | None, audio: str) -> list[Part | None]:
    """What each row is a part of, by its id or else by the path of its audio."""
    try:
        if names is not None:
            cells = file.read_row_group(group, columns=[names])[names].to_pylist()
        elif f"{audio}.path" in _leaves(file):
            column = file.read_row_group(group, columns=[f"{audio}.path"])[audio]
            cells = [cell and cell["path"] for cell in column.to_pylist()]
        else:
            cells = []
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"row group {group} cannot be read ({error})") from error
    return [part_of(str(cell)) if cell else None for cell in cells]


def _leaves(file: pq.ParquetFile) -> set[str]:
    return {file.schema.column(i).path for i in range(len(file.schema))}


def _read_group(
    file: pq.ParquetFile, group: int, audio: str, parts: list[Part | None], wanted: Wanted
) -> Iterator[Copy]:
    """The wanted rows of one row group; what cannot be read of it are failures."""
    bytes_alone = f"{audio}.bytes"
    column = bytes_alone if bytes_alone in _leaves(file) else audio
    at = 0
    try:
        for batch in file.iter_batches(ROWS, row_groups=[group], columns=[column]):
            cells = batch.column(0)
            for i in range(len(batch)):
                member = f"row-group-{group}-row-{at}"
                clip = wanted.take(parts[at])
                at += 1
                if clip is not None:
                    yield Copy(clip, member, _content(cells[i].as_py()))
    except (pa.ArrowException, OSError) as error:
        for row, part in enumerate(parts[at:], start=at):
            if (clip := wanted.take(part)) is not None:
                member = f"row-group-{group}-row-{row}"
                yield Copy(clip, member, damaged(f"row group {group}: {error}"[:200]))


def _content(cell: object) -> Content:
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes):
        return damaged("the row has no audio bytes, only a path")
    return content
