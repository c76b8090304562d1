"""Class lists are read from hostile files without running any of them."""

import hashlib
import io
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopback import Route, serve
from slvr.ingest.archives import class_splits
from slvr.ingest.archives.class_splits import download_class_splits, read_npy

LISTS = {"train": ["dog", "Fin,_Finback_Whale"], "val": ["zh-CN"], "test": ["ä", "x y", "z"]}


def npy(parts: list[object]) -> bytes:
    array = np.empty(len(parts), object)
    for i, part in enumerate(parts):
        array[i] = part
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def header() -> bytes:
    text = "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }"
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def read(path: Path, content: bytes) -> dict[str, list[str]]:
    path.write_bytes(content)
    return read_npy(path)


FORMS = {
    "lists": list,
    "arrays of text": lambda names: np.array(names, "U40"),
    "arrays of objects": lambda names: np.array(names, object),
    "lists of numpy text": lambda names: list(np.array(names)),
}


@pytest.mark.parametrize("form", FORMS)
def test_published_forms_are_read(tmp_path: Path, form: str) -> None:
    content = npy([FORMS[form](names) for names in LISTS.values()])
    assert read(tmp_path / "a.npy", content) == LISTS


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_both_names_of_numpys_core_are_read(tmp_path: Path, module: bytes) -> None:
    content = pickle.dumps(np.array([["a"], ["b"], ["c", "d"]], object), protocol=2)
    other = content.replace(b"numpy._core.multiarray", module)
    found = read(tmp_path / "a.npy", header() + other.replace(b"numpy.core.multiarray", module))
    assert found == {"train": ["a"], "val": ["b"], "test": ["c", "d"]}


class Runs:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, function: object, *args: object) -> None:
        self.reduced = (function, args)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.reduced


@pytest.mark.parametrize("place", ["whole", "in a list"])
def test_programs_are_refused_and_not_run(tmp_path: Path, place: str) -> None:
    mark = tmp_path / "ran"
    for function, args in (
        (os.system, (f"touch {mark}",)),
        (eval, (f"open({str(mark)!r}, 'w')",)),
        (Path.touch, (mark,)),
        (getattr, ("text", "upper")),
        (np.load, (str(mark),)),
        (np.array, ([1],)),
        (type(np.random.default_rng()), ()),
    ):
        evil = Runs(function, *args)
        content = header() + pickle.dumps(evil) if place == "whole" else npy([["a"], [evil], ["b"]])
        with pytest.raises(ValueError, match=r"refused: it asks for [\w.]+"):
            read(tmp_path / "a.npy", content)
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x09\x00\x10\x00",
        npy([["a"], ["b"]]),
        npy([["a"], ["b"], "text"]),
        npy([["a"], [["b"]], ["c"]]),
        npy([["a"], [1.5], ["c"]]),
        npy([["a"], np.zeros((2, 2)), ["c"]]),
        npy([["a"], np.array([b"bytes"]), ["c"]]),
        npy([["a"], ["a"], ["c"]]),
        npy([[], [], []]),
        npy([["a"], ["b"], ["c"]])[:-20],
        header() + b"\x8e" + (1 << 60).to_bytes(8, "little"),
        header() + pickle.dumps(10**9) + b".",
        header() + b"]\x94h\x00a.",
        npy([["a" * 2_000_000], ["b"], ["c"]]),
    ],
    ids=range(16),
)
def test_other_content_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ValueError, match=r"a\.npy: "):
        read(tmp_path / "a.npy", content)


@given(st.binary(max_size=300))
def test_no_pickle_does_harm(content: bytes) -> None:
    path = Path("/dev/shm" if Path("/dev/shm").is_dir() else "/tmp") / f"slvr-{os.getpid()}.npy"
    try:
        with pytest.raises(ValueError):
            read(path, header() + content)
    finally:
        path.unlink()


def test_lists_are_fetched_once_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = npy(list(LISTS.values()))
    md5 = hashlib.md5(content).hexdigest()
    with serve({"/esc_split.npy": Route(content)}) as server:
        monkeypatch.setattr(class_splits, "BASE_URL", server.url("/"))
        for _ in range(2):
            assert download_class_splits("esc", md5, tmp_path / "a") == LISTS
        assert server.requests["/esc_split.npy"] == 1
        with pytest.raises(OSError, match=f"expected {'0' * 32}.*--split-file FILE.json"):
            download_class_splits("esc", "0" * 32, tmp_path / "b")
    assert not (tmp_path / "b" / "esc_split.npy").exists()


def test_the_pinned_place_is_a_commit() -> None:
    assert "/9f6fdb48851d343a2d79179a90afb5282c9b775b/" in class_splits.BASE_URL
