"""TensorFlow's checkpoints (Saver V2) without TensorFlow: tables of named tensors, never pickle.

`PREFIX.index` is a sorted table (LevelDB's format) of where in `PREFIX.data-00000-of-00001` each
variable lies; `PREFIX.meta`, where it is, holds the graph. Everything in them is a number or text;
sizes are held against the files before anything is allocated, and checksums against the bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slvr.model.separators.crc32c import masked_crc32c

MAX_INDEX_BYTES = 64 * 2**20
MAX_NAME_BYTES = 1024
MAX_VARIABLES = 2**16
MAX_TENSOR_BYTES = 2**30
_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    3: np.dtype("<i4"),
    9: np.dtype("<i8"),
}
_DTYPES |= {19: np.dtype("<f2")}
_BF16 = 14

Fields = list[tuple[int, int | bytes]]
"""Of a protocol buffer, in their order: number, value."""


@dataclass(frozen=True)
class Entry:
    """Where a variable lies."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int | None
    is_sliced: bool


class Bundle:
    """The variables of a checkpoint.

    Attributes:
        entries: name -> where it lies, sorted by name.

    Raises:
        ValueError: no such files, or damaged ones, or another format: says which and why.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        index = prefix.with_name(prefix.name + ".index")
        content = _read(index, MAX_INDEX_BYTES)
        self.entries: dict[str, Entry] = {}
        try:
            table = dict(islice(_table(content), MAX_VARIABLES))
            header = dict(fields(table.pop(b"")))
            self._n_shards = _number(header.get(1, 1))
            if _number(header.get(2, 0)) != 0:
                raise ValueError("big-endian")
            for key, value in table.items():
                if not key.startswith(b"\0"):  # a slice of a partitioned variable
                    self.entries[key.decode()] = _entry(value)
        except (KeyError, IndexError, TypeError, UnicodeDecodeError, struct.error) as error:
            raise ValueError(
                f"{index}: not the index of a TensorFlow checkpoint: {error}"
            ) from error
        except ValueError as error:
            raise ValueError(f"{index}: cannot be read: {error}") from error

    def tensor(self, name: str) -> Tensor:
        """A variable, as float32 where it is a floating-point one.

        Raises:
            ValueError: it is partitioned, of a kind that no weight has, cut off or damaged.
        """
        entry = self.entries[name]
        data = self._bytes(name, entry)
        if entry.dtype == _BF16:
            return torch.frombuffer(data, dtype=torch.bfloat16).float().view(entry.shape)
        kind: np.dtype[Any] = _DTYPES[entry.dtype]
        values = torch.from_numpy(np.frombuffer(data, kind).copy())
        values = values.float() if values.is_floating_point() else values
        return values.view(entry.shape)

    def _bytes(self, name: str, entry: Entry) -> bytearray:
        if entry.is_sliced:
            raise ValueError(
                f"{self.prefix}: variable {name} is partitioned, which separators' are not"
            )
        itemsize = 2 if entry.dtype == _BF16 else getattr(_DTYPES.get(entry.dtype), "itemsize", 0)
        if not itemsize:
            raise ValueError(f"{self.prefix}: variable {name} is of kind {entry.dtype}, no number")
        count = 1
        for size in entry.shape:
            count *= size
        path = self.prefix.with_name(
            f"{self.prefix.name}.data-{entry.shard:05d}-of-{self._n_shards:05d}"
        )
        there = path.stat().st_size if path.is_file() else None
        if there is None:
            raise ValueError(f"{path}: no such file; a checkpoint is its .index and all its .data")
        if entry.size != count * itemsize or entry.size > MAX_TENSOR_BYTES:
            raise ValueError(
                f"{self.prefix}: variable {name} of shape {entry.shape} says that it takes "
                f"{entry.size} bytes; expected {count * itemsize}, at most {MAX_TENSOR_BYTES}"
            )
        if entry.offset + entry.size > there:
            raise ValueError(
                f"{path}: cut off: variable {name} ends at byte {entry.offset + entry.size}, and "
                f"there are {there}; copy the file again"
            )
        with path.open("rb") as file:
            file.seek(entry.offset)
            data = bytearray(file.read(entry.size))
        if entry.crc is not None and masked_crc32c(data) != entry.crc:
            raise ValueError(
                f"{path}: damaged: the checksum of variable {name} does not fit; copy it again"
            )
        return data


def _read(path: Path, limit: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > limit:
            raise ValueError(f"{path}: {size} bytes; expected at most {limit}")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; give the prefix of a checkpoint") from error


def _table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a LevelDB table."""
    footer = content[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or struct.unpack("<Q", footer[40:])[0] != _MAGIC:
        raise ValueError(
            "its end is not that of a TensorFlow checkpoint's index (Saver V2): it is cut off, or "
            "something else"
        )
    _, at = varint(footer, 0)
    _, at = varint(footer, at)
    offset, at = varint(footer, at)
    size, _ = varint(footer, at)
    end = 0
    for _, handle in _block(content, offset, size):
        start, at = varint(handle, 0)
        length, _ = varint(handle, at)
        if start < end:
            raise ValueError("damaged, its blocks overlap")
        end = start + length
        yield from _block(content, start, length)


def _block(content: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block; a key says only what differs from the one before it."""
    block = content[offset : offset + size]
    trailer = content[offset + size : offset + size + 5]
    if len(trailer) < 5:
        raise ValueError("it is cut off")
    kind, crc = struct.unpack("<BI", trailer)
    if masked_crc32c(bytearray(block + trailer[:1])) != crc:
        raise ValueError("damaged, a checksum does not fit; copy it again")
    if kind != 0:
        raise ValueError("it is compressed, which TensorFlow's own writer does not do")
    (n_restarts,) = struct.unpack("<I", block[-4:])
    end = len(block) - 4 - 4 * n_restarts
    at, key = 0, b""
    while at < end:
        shared, at = varint(block, at)
        unshared, at = varint(block, at)
        length, at = varint(block, at)
        if shared > len(key) or at + unshared + length > end:
            raise ValueError("damaged, an entry is longer than its block")
        if shared + unshared > MAX_NAME_BYTES:
            raise ValueError(f"a name of {shared + unshared} bytes; expected {MAX_NAME_BYTES}")
        key = key[:shared] + block[at : at + unshared]
        at += unshared
        yield key, block[at : at + length]
        at += length


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the lowest first, and where it ends.

    Raises:
        ValueError: it has more than 64 bits, or does not end.
    """
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("damaged, a number does not end")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("damaged, a number has more than 64 bits")


def fields(data: bytes) -> Fields:
    """The fields of a protocol buffer.

    Raises:
        ValueError: it is none.
    """
    found: Fields = []
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        number, kind = tag >> 3, tag & 7
        value: int | bytes
        if kind == 0:
            value, at = varint(data, at)
            found.append((number, value))
            continue
        if kind == 2:
            size, at = varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError("damaged, a field is of no known kind")
        if at + size > len(data):
            raise ValueError("damaged, a field is longer than its message")
        value, at = data[at : at + size], at + size
        found.append((number, value))
    return found


def _entry(data: bytes) -> Entry:
    found = fields(data)
    one = dict(found)
    sizes = [
        dict(fields(_bytes(dim))) for number, dim in fields(_bytes(one.get(2, b""))) if number == 2
    ]
    shape = tuple(_number(dim.get(1, 0)) for dim in sizes)
    if len(shape) > 8 or any(size >= 2**40 for size in shape):
        raise ValueError(f"damaged, a variable has the shape {shape[:9]}")
    crc = one.get(6)
    return Entry(
        dtype=_number(one.get(1, 0)),
        shape=shape,
        shard=_number(one.get(3, 0)),
        offset=_number(one.get(4, 0)),
        size=_number(one.get(5, 0)),
        crc=None if crc is None else int.from_bytes(_bytes(crc), "little"),
        is_sliced=any(number == 7 for number, _ in found),
    )


def _number(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("damaged, text where a number should be")
    return value


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("damaged, a number where a message should be")
    return value
