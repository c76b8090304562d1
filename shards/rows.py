"""`clips.parquet`: one row for every clip that was asked for."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from slvr.shards.clip import Clip
from slvr.shards.columns import column, columns_of, from_cells, record_of, to_cells, values_of
from slvr.shards.files import AtomicFile, is_remote, open_file
from slvr.shards.manifest import of_schema_1

CLIPS = "clips.parquet"
ROWS_A_PIECE = 1024
"""Turned into Arrow at a time: as dictionaries rows take twice the memory."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the audio of a clip lies."""

    shard: str = field(metadata=column("File name of the shard; null for a failed clip."))
    audio_offset_bytes: int = field(metadata=column("Where the audio begins in the shard."))
    audio_length_bytes: int = field(metadata=column("Size of the audio in the shard."))


@dataclass(frozen=True, slots=True)
class Row:
    """A clip without its audio, and where that lies; None for a failed clip."""

    clip: Clip
    place: Place | None = None

    def __post_init__(self) -> None:
        assert self.clip.audio is None, self.clip.key


CLIP_COLUMNS = columns_of(Clip)
COLUMNS = columns_of(Row)
CLIPS_SCHEMA = pa.schema([(each.name, each.type) for each in COLUMNS])
_FIRST_SCHEMA = frozenset({"key", "split", "labels", "status", "pcm_sha256"})
"""What a table of schema 1 has, too."""


def row_of(clip: Clip, place: Place | None = None) -> Row:
    """The row of a clip, with or without audio."""
    return Row(dataclasses.replace(clip, audio=None), place)


def sample_fields(clip: Clip) -> dict[str, Any]:
    """The content of a clip's `<key>.json`."""
    values = values_of(clip)
    return {each.name: values[each.name] for each in CLIP_COLUMNS if each.in_sample}


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Writes `clips.parquet`, sorted by split and key, atomically."""
    ordered = sorted(rows, key=lambda row: (row.clip.split, row.clip.key))
    pieces = [
        pa.Table.from_pylist(
            [to_cells(COLUMNS, values_of(row)) for row in ordered[first : first + ROWS_A_PIECE]],
            schema=CLIPS_SCHEMA,
        )
        for first in range(0, len(ordered), ROWS_A_PIECE)
    ]
    # in one piece again: where pages end depends on the rows alone
    table = pa.concat_tables([CLIPS_SCHEMA.empty_table(), *pieces]).combine_chunks()
    del pieces
    with AtomicFile(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_table(location: str | Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A `clips.parquet`, here or behind a URL, or some of its columns.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no such table, one of schema 1, or one with other types or empty cells.
    """
    where = str(location)
    content: str | pa.BufferReader = where
    if is_remote(where):
        with open_file(where) as file:
            content = pa.BufferReader(file.read())  # whole: not every web server lets one seek
    try:
        with pq.ParquetFile(content) as parquet:
            found = set(parquet.schema_arrow.names)
            missing = sorted(set(CLIPS_SCHEMA.names) - found)
            if not missing:
                _check_types(parquet.schema_arrow, where)
                table = parquet.read(columns=columns)
                _check_nulls(table, where)
                return table
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"{location}: unreadable: {error}; take another copy, or make the directory anew with "
            "`ingest ...`"
        ) from error
    if found >= _FIRST_SCHEMA:
        raise ValueError(of_schema_1(where))
    raise ValueError(
        f"{location}: no {CLIPS} of a shard directory, it has no column {', '.join(missing)}"
    )


def _check_types(schema: pa.Schema, location: str) -> None:
    for expected in CLIPS_SCHEMA:
        found = schema.field(expected.name).type
        if found != expected.type:
            raise ValueError(
                f"{location}: column {expected.name} holds {found}, expected {expected.type}; take "
                "another copy, or make the directory anew with `ingest ...`"
            )


def _check_nulls(table: pa.Table, location: str) -> None:
    for each in COLUMNS:
        if each.nullable or each.name not in table.column_names:
            continue
        cells = table[each.name]
        n_empty = cells.null_count
        if pa.types.is_list(each.type):
            items = pc.list_flatten(cells)
            n_empty += items.null_count
            for item in each.items:
                n_empty += pc.struct_field(items, item.name).null_count
        if n_empty:
            raise ValueError(
                f"{location}: column {each.name} has {n_empty:,} empty cells, expected none; take "
                "another copy, or make the directory anew with `ingest ...`"
            )


def read_rows(location: str | Path) -> list[Row]:
    """The rows of a `clips.parquet`, in its order.

    Raises:
        FileNotFoundError: there is none.
        ValueError: as `read_table`.
    """
    cells = read_table(location).to_pylist()
    return [record_of(Row, from_cells(COLUMNS, cell)) for cell in cells]
