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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
        nullable: whether a row may have no value.
        items: the columns of a list of records.
    """

    name: str
    type: pa.DataType
    description: str
    in_sample: bool
    compared: bool
    is_mapping: bool = False
    nullable: bool = False
    items: "tuple[Column, ...]" = ()


@dataclass(frozen=True)
class _Part:
    """A field of a record: a column, or a record of its own."""

    field: str
    column: Column | None = None
    nested: type | None = None
    names: tuple[str, ...] = ()
    """Of the columns of `nested`, where it may be None."""
    to_plain: Callable[[Any], Any] | None = None
    from_plain: Callable[[Any], Any] | None = None
    """Between a value of the field and one for `json.dumps`, where they differ."""


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
            inner = columns_of(part.nested)
            may_be_null = bool(part.names)  # where the record may be None
            columns += [replace(each, nullable=each.nullable or may_be_null) for each in inner]
    return tuple(columns)


def values_of(record: Any) -> dict[str, Any]:
    """Column -> value of a record, as `json.dumps` takes it; equal records give equal values."""
    values: dict[str, Any] = {}
    kind: type = type(record)
    for part in _parts(kind):
        value = getattr(record, part.field)
        if part.column is not None:
            plain = value if part.to_plain is None else part.to_plain(value)
            values[part.column.name] = plain
        else:
            values |= dict.fromkeys(part.names) if value is None else values_of(value)
    return values


def record_of(record: type[Record], values: Mapping[str, Any]) -> Record:
    """The record whose `values_of` these are."""
    fields: dict[str, Any] = {}
    kind: type = record
    for part in _parts(kind):
        if part.column is not None:
            value = values[part.column.name]
            fields[part.field] = value if part.from_plain is None else part.from_plain(value)
        elif part.nested is not None:
            absent = part.names and all(values[name] is None for name in part.names)
            fields[part.field] = None if absent else record_of(part.nested, values)
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


def _sorted(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return dict(sorted(mapping.items()))


def _all_values(records: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [values_of(record) for record in records]


def _all_records(record: type[Record], items: list[dict[str, Any]]) -> tuple[Record, ...]:
    return tuple(record_of(record, item) for item in items)


@functools.cache
def _parts(record: type) -> tuple[_Part, ...]:
    hints = get_type_hints(record)
    return tuple(
        _part(field, hints[field.name])
        for field in dataclasses.fields(cast(Any, record))
        if bytes not in (hints[field.name], *get_args(hints[field.name]))
    )


def _part(field: "dataclasses.Field[Any]", hint: Any) -> _Part:
    """A field that is annotated with `hint`."""
    optional = NoneType in get_args(hint)
    (kind,) = set(get_args(hint)) - {NoneType} if optional else (hint,)
    if dataclasses.is_dataclass(kind):
        nested = cast(type, kind)
        names = tuple(each.name for each in columns_of(nested)) if optional else ()
        return _Part(field.name, nested=nested, names=names)

    def part(
        arrow: pa.DataType,
        to_plain: Callable[[Any], Any] | None = None,
        from_plain: Callable[[Any], Any] | None = None,
        **about: Any,
    ) -> _Part:
        described = {**field.metadata, "name": field.metadata["name"] or field.name}
        known = Column(type=arrow, **described, **about)
        return _Part(field.name, known, to_plain=to_plain, from_plain=from_plain)

    if get_origin(kind) is Mapping:
        return part(pa.string(), _sorted, is_mapping=True)
    if get_origin(kind) is not tuple:
        return part(_SCALARS[kind], nullable=optional)
    item = get_args(kind)[0]
    if not dataclasses.is_dataclass(item):
        return part(pa.list_(_SCALARS[item]), list, tuple)
    record = cast(type, item)
    items = columns_of(record)
    struct = pa.struct([(each.name, each.type) for each in items])
    back = functools.partial(_all_records, record)
    return part(pa.list_(struct), _all_values, back, items=items)
