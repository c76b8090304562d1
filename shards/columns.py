"""Frozen dataclasses as rows of a table: columns, plain values, and the way back.

A record's field is a column of the same name (or of the one that its metadata gives), of a type
that follows from the field's annotation:

    str, int, float         string, int64, double
    X | None                the same, null for None
    tuple[str, ...]         list<string>
    tuple[<record>, ...]    list<struct>, one field for each of the record's
    Mapping                 string: a JSON object, names sorted
    <record>                the record's own columns, in its place
    bytes                   no column

A mapping is JSON text because its names differ from clip to clip and its numbers must come back as
numbers: a struct would need every name in every row, a map has values of one type, and neither
Croissant nor Hugging Face datasets reads maps.
"""

import dataclasses
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

import pyarrow as pa

_SCALARS = {str: pa.string(), int: pa.int64(), float: pa.float64()}

Record = TypeVar("Record")


@dataclass(frozen=True)
class Column:
    """A column of a table of records.

    Attributes:
        name: of the column.
        type: in Arrow.
        description: for people.
        in_sample: whether `<key>.json` has it.
        compared: whether a clip that differs in it is another one, as with another label.
        is_mapping: whether its text is a JSON object.
        items: the columns of a list of records.
    """

    name: str
    type: pa.DataType
    description: str
    in_sample: bool
    compared: bool
    is_mapping: bool
    items: "tuple[Column, ...]" = ()


@dataclass(frozen=True)
class _Part:
    """A field of a record: a column, or a record of its own."""

    field: str
    column: Column | None = None
    nested: type | None = None
    items: type | None = None
    """Of a tuple of records."""
    names: tuple[str, ...] = ()
    """Of the columns of `nested`."""


def column(
    description: str, *, name: str = "", in_sample: bool = True, compared: bool = False
) -> Mapping[str, Any]:
    """The metadata of a field that is a column; see `Column`."""
    return {
        "description": description,
        "name": name,
        "in_sample": in_sample,
        "compared": compared,
    }


def columns_of(record: type) -> tuple[Column, ...]:
    """The columns of a record, in the order of its fields."""
    columns: list[Column] = []
    for part in _parts(record):
        if part.column is not None:
            columns.append(part.column)
        elif part.nested is not None:
            columns += columns_of(part.nested)
    return tuple(columns)


def values_of(record: Any) -> dict[str, Any]:
    """Column -> value of a record, as `json.dumps` takes it; equal records give equal values."""
    values: dict[str, Any] = {}
    kind: type = type(record)
    for part in _parts(kind):
        value = getattr(record, part.field)
        if part.column is not None:
            values[part.column.name] = _plain(value)
        elif value is not None:
            values |= values_of(value)
        elif part.nested is not None:
            values |= dict.fromkeys(part.names)
    return values


def record_of(record: type[Record], values: Mapping[str, Any]) -> Record:
    """The record whose `values_of` these are."""
    fields: dict[str, Any] = {}
    kind: type = record
    for part in _parts(kind):
        if part.nested is not None:
            absent = all(values[name] is None for name in part.names)
            fields[part.field] = None if absent else record_of(part.nested, values)
        elif part.column is not None:
            value = values[part.column.name]
            if part.items is not None:
                value = tuple(record_of(part.items, item) for item in value)
            fields[part.field] = tuple(value) if isinstance(value, list) else value
    return record(**fields)


def to_cells(columns: tuple[Column, ...], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as an Arrow table of these columns holds them."""
    return {
        each.name: json.dumps(values[each.name], ensure_ascii=False)
        if each.is_mapping
        else values[each.name]
        for each in columns
    }


def from_cells(columns: tuple[Column, ...], cells: Mapping[str, Any]) -> dict[str, Any]:
    """The values that an Arrow table of these columns holds."""
    return {
        each.name: json.loads(cells[each.name]) if each.is_mapping else cells[each.name]
        for each in columns
    }


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [values_of(v) if dataclasses.is_dataclass(v) else v for v in value]
    return dict(sorted(value.items())) if isinstance(value, Mapping) else value


@functools.cache
def _parts(record: type) -> tuple[_Part, ...]:
    hints = get_type_hints(record)
    parts = []
    for field in dataclasses.fields(cast(Any, record)):
        kinds = set(get_args(hints[field.name])) - {NoneType}
        optional = NoneType in get_args(hints[field.name])
        kind = kinds.pop() if optional else hints[field.name]
        if kind is bytes:
            continue
        if dataclasses.is_dataclass(kind):
            nested = cast(type, kind)
            names = tuple(each.name for each in columns_of(nested))
            parts.append(_Part(field.name, nested=nested, names=names))
            continue
        about = field.metadata
        name = about["name"] or field.name
        said = (about["description"], about["in_sample"], about["compared"])
        items: type | None = None
        item_columns: tuple[Column, ...] = ()
        is_mapping = False
        if get_origin(kind) is tuple:
            item = get_args(kind)[0]
            if dataclasses.is_dataclass(item):
                items = cast(type, item)
                item_columns = columns_of(items)
                arrow = pa.list_(pa.struct([(each.name, each.type) for each in item_columns]))
            else:
                arrow = pa.list_(_SCALARS[item])
        elif get_origin(kind) is Mapping:
            arrow, is_mapping = pa.string(), True
        else:
            arrow = _SCALARS[kind]
        column = Column(name, arrow, *said, is_mapping, item_columns)
        parts.append(_Part(field.name, column, items=items))
    return tuple(parts)
