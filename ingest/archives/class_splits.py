"""Which classes the benchmark trains, validates and tests on: fetched, never shipped.

The lists are .npy files of the published evaluation code: pickled arrays of objects, shape (3,),
each element a list or an array of class names. A pickle can run any program, so this one is read
by an unpickler that knows stand-ins of its own for what arrays of text need and nothing else.
"""

import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slvr.ingest.download import PATIENT, Patience, RemoteFile, download

BASE_URL = (
    "https://raw.githubusercontent.com/CHeggan/Few-Shot-Classification-for-Audio-Evaluation/"
    "9f6fdb48851d343a2d79179a90afb5282c9b775b/dataset_/splits_/"
)
PARTS = ("train", "val", "test")
MAX_BYTES = 1_000_000

ClassSplits = dict[str, list[str]]
"""Part -> classes."""


def download_class_splits(
    name: str, md5: str, cache: Path, patience: Patience = PATIENT
) -> ClassSplits:
    """The benchmark's list for one data set.

    Args:
        name: of the file, without `_split.npy`.
        md5: of the file.
        cache: folder for the file.
        patience: with its place.

    Raises:
        OSError: it could not be fetched, or is another file.
        ValueError: it holds something else than three lists of names.
    """
    file = f"{name}_split.npy"
    published = RemoteFile(file, (BASE_URL + file,), f"md5:{md5}")
    own = "give your own lists with --split-file FILE.json"
    download([published], cache, instead=own, patience=patience)
    return read_npy(cache / file)


def read_json(path: Path) -> ClassSplits:
    """A list of the user's: `{"train": [...], "val": [...], "test": [...]}`.

    Raises:
        ValueError: another form, or a class in two parts.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: no JSON ({error})") from error
    if not isinstance(found, dict) or set(found) != set(PARTS):
        raise ValueError(f"{path}: expected an object with exactly {', '.join(PARTS)}")
    return _checked(path, found)


def read_npy(path: Path) -> ClassSplits:
    """The lists in a published .npy file.

    Raises:
        ValueError: no such file, or a pickle that asks for more than arrays, lists and text.
    """
    content = path.read_bytes()
    if len(content) > MAX_BYTES or content[:6] != b"\x93NUMPY" or len(content) < 12:
        raise ValueError(f"{path}: no .npy file of at most {MAX_BYTES} bytes")
    wide = 2 if content[6] == 1 else 4
    start = 8 + wide + int.from_bytes(content[8 : 8 + wide], "little")
    try:
        array = _Unpickler(io.BytesIO(content[start:])).load()
        parts = dict(zip(PARTS, _items(array), strict=True))
        lists = {part: [_text(item) for item in _items(names)] for part, names in parts.items()}
    except Exception as error:  # a hostile pickle can raise anything
        raise ValueError(f"{path}: refused: {error}") from error
    return _checked(path, lists)


def _checked(path: Path, parts: Mapping[str, Any]) -> ClassSplits:
    names = [name for part in PARTS for name in parts[part]]
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: expected lists of class names")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{path}: class {twice!r} is there twice; expected each in one part")
    return {part: list(parts[part]) for part in PARTS}


@dataclass
class _Dtype:
    """Stands in for numpy.dtype: keeps what it was called with."""

    code: str = ""

    def __setstate__(self, state: Any) -> None:
        """Byte order and the like: nothing that matters here."""


class _Array:
    """Stands in for numpy.ndarray: its elements as a list."""

    def __init__(self) -> None:
        self.items: list[Any] = []

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, _fortran, data = state
        if not isinstance(dtype, _Dtype) or len(shape) != 1:
            raise ValueError("expected arrays of one dimension")
        self.items = data if isinstance(data, list) else _texts(dtype, data)
        if len(self.items) != shape[0]:
            raise ValueError(f"{len(self.items)} elements, expected {shape[0]}")


def _texts(dtype: _Dtype, data: bytes) -> list[str]:
    """The elements of an array of type U: four bytes a character, filled up with zeros."""
    if not dtype.code.startswith("U"):
        raise ValueError(f"expected text, got type {dtype.code!r}")
    width = 4 * int(dtype.code[1:])
    pieces = [data[i : i + width] for i in range(0, len(data), width)]
    return [piece.decode("utf-32-le").rstrip("\0") for piece in pieces]


def _new_array(*_: Any) -> _Array:
    return _Array()


def _new_dtype(code: str, *_: Any) -> _Dtype:
    return _Dtype(code)


def _new_scalar(dtype: _Dtype, data: bytes) -> str:
    return _texts(dtype, data)[0]


def _encode(text: str, encoding: str) -> bytes:
    """Stands in for _codecs.encode, which is how old pickles write bytes."""
    if encoding != "latin1":
        raise ValueError(f"expected latin1, got {encoding!r}")
    return text.encode(encoding)


_KNOWN = {
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _new_dtype,
    **{
        (f"numpy.{core}.multiarray", name): stand_in
        for core in ("core", "_core")
        for name, stand_in in (("_reconstruct", _new_array), ("scalar", _new_scalar))
    },
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise ValueError(f"it asks for {module}.{name}")
        return _KNOWN[module, name]


def _items(found: Any) -> list[Any]:
    if isinstance(found, _Array):
        return found.items
    if not isinstance(found, list):
        raise ValueError(f"expected a list, got {type(found).__name__}")
    return found


def _text(found: Any) -> str:
    if not isinstance(found, str):
        raise ValueError(f"expected a class name, got {type(found).__name__}")
    return found
