"""What the graph beside a TensorFlow checkpoint says of a separator that its variables do not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from slvr.model.separators.tf_bundle import fields, varint

MAX_GRAPH_BYTES = 256 * 2**20
_BLOCK = re.compile(r"conv_block_(\d{1,4})/.*/(?:SpaceToBatchND/block_shape|depthwise)$")
_VARIABLES = frozenset({b"VarHandleOp", b"VariableV2", b"Variable"})


@dataclass(frozen=True)
class Graph:
    """A graph, as far as a separator needs it; what it does not say is empty or None.

    Attributes:
        variables: names in the order of creation.
        dilations: block -> its dilation, where that is not 1.
        window_samples: length of a frame.
        hop_samples: from one frame to the next.
    """

    variables: tuple[str, ...] = ()
    dilations: tuple[tuple[int, int], ...] = ()
    window_samples: int | None = None
    hop_samples: int | None = None


def read_graph(path: Path) -> Graph | None:
    """The graph in a `.meta` file; None where there is no such file.

    Raises:
        ValueError: a damaged or far too large one.
    """
    if not path.is_file():
        return None
    size = path.stat().st_size
    if size > MAX_GRAPH_BYTES:
        raise ValueError(f"{path}: {size} bytes; expected at most {MAX_GRAPH_BYTES}; leave it out")
    variables: list[str] = []
    dilations: dict[int, int] = {}
    frames: dict[str, int] = {}
    try:
        for name, op, value in _nodes(path.read_bytes()):
            if op in _VARIABLES:
                variables.append(name)
            block = _BLOCK.search(name)
            if block is not None and value and max(value) > 1:
                dilations[int(block[1])] = max(value)
            last = name.rpartition("/")[2]
            if last in ("frame_length", "frame_step") and value:
                frames.setdefault(last, value[0])
    except ValueError as error:
        raise ValueError(
            f"{path}: cannot be read: {error}; leave it out or copy it anew"
        ) from error
    return Graph(
        tuple(variables),
        tuple(sorted(dilations.items())),
        frames.get("frame_length"),
        frames.get("frame_step"),
    )


def _nodes(content: bytes) -> Iterator[tuple[str, bytes, tuple[int, ...]]]:
    """Name and operation of each node of a MetaGraphDef; integers of a constant or of dilations."""
    for graph in _messages(content, 2):
        for node in _messages(graph, 1):
            found = fields(node)
            texts = {number: value for number, value in found if number in (1, 2)}
            name, op = texts.get(1, b""), texts.get(2, b"")
            if not isinstance(name, bytes) or not isinstance(op, bytes):
                raise ValueError("damaged, a node has no name")
            value: tuple[int, ...] = ()
            if op == b"Const":
                value = _integers(node)
            elif op.startswith(b"DepthwiseConv2d"):
                value = _dilations(node)
            yield name.decode(errors="replace"), op, value


def _integers(node: bytes) -> tuple[int, ...]:
    """The int32 values of a constant, at most a few; others give nothing."""
    for attribute in _messages(node, 5):
        if dict(fields(attribute)).get(1) != b"value":
            continue
        for holder in _messages(attribute, 2):
            for tensor in _messages(holder, 8):
                one = dict(fields(tensor))
                if one.get(1) != 3:
                    return ()
                packed = one.get(4)
                if isinstance(packed, bytes) and packed:
                    words = range(0, min(len(packed) // 4 * 4, 64), 4)
                    return tuple(int.from_bytes(packed[i : i + 4], "little") for i in words)
                single = one.get(7)
                if isinstance(single, bytes):
                    return _varints(single)
                return () if single is None else (single,)
    return ()


def _dilations(node: bytes) -> tuple[int, ...]:
    """The attribute of that name of a convolution."""
    for attribute in _messages(node, 5):
        if dict(fields(attribute)).get(1) == b"dilations":
            for holder in _messages(attribute, 2):
                for numbers in _messages(holder, 1):
                    return _varints(next(_messages(numbers, 3), b""))
    return ()


def _varints(data: bytes) -> tuple[int, ...]:
    """Packed numbers, the first eight."""
    found: list[int] = []
    at = 0
    while at < len(data) and len(found) < 8:
        value, at = varint(data, at)
        found.append(value)
    return tuple(found)


def _messages(data: bytes, number: int) -> Iterator[bytes]:
    for found, value in fields(data):
        if found == number and isinstance(value, bytes):
            yield value
