"""The mirror at a path or URL: its layout is recognised, its files are read one after the other."""

import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from slvr.ingest.mirrors.contract import Content, Reader, Wanted, is_audio, loaded
from slvr.ingest.mirrors.parquets import has_audio, read_parquet
from slvr.ingest.mirrors.plain import read_plain
from slvr.ingest.mirrors.tars import read_tar
from slvr.ingest.mirrors.zips import read_zip
from slvr.ingest.names import printable
from slvr.ingest.recipe import UsageError
from slvr.shards.clip import Clip
from slvr.shards.files import is_remote
from slvr.shards.manifest import MANIFEST
from slvr.shards.rows import CLIPS

logger = logging.getLogger(__name__)

HUB = re.compile(r"hf://datasets/[^/@]+/[^/@]+(?:@(?P<revision>[^/]+))?(?:/.*)?")
COMMIT = re.compile(r"[0-9a-f]{7,40}")
ZIP_PART = re.compile(r"(.+)\.z(?:ip|(\d{2,}))", re.IGNORECASE)


class Layout(NamedTuple):
    """A way to keep AudioSet.

    Attributes:
        said: what it is called.
        holds: whether a file belongs to it, by its name.
        read: its reader.
    """

    said: str
    holds: Callable[[str], bool]
    read: Reader


SHARDS = Layout("shards of Slvr", lambda name: name.endswith(".tar"), read_tar)
LAYOUTS = (
    Layout("tars", lambda name: name.lower().endswith((".tar", ".tar.gz", ".tgz")), read_tar),
    Layout("zips", lambda name: ZIP_PART.fullmatch(name) is not None, read_zip),
    Layout("parquet files", lambda name: name.lower().endswith(".parquet"), read_parquet),
    Layout("audio files", is_audio, read_plain),
)
"""In the order in which they are looked for: lists and pictures lie beside what holds the audio."""


class Found(NamedTuple):
    """A copy of a clip and the place it was found at, as its row tells it."""

    clip: Clip
    uri: str
    content: Content


@dataclass(frozen=True)
class Mirror:
    """Somebody's copy of AudioSet.

    Attributes:
        location: folder, file or URL; of one file the folder that it is in.
        layout: how it is kept.
        files: names below the location; more than one where they are parts of one zip.
        n_others: files of other kinds.
        revision: of the hub, or nothing.
    """

    location: str
    layout: Layout
    files: tuple[tuple[str, ...], ...]
    n_others: int
    revision: str

    def __str__(self) -> str:
        others = f"; {self.n_others} other files are ignored" if self.n_others else ""
        at = f", revision {self.revision}" if self.revision else ""
        return f"{self.location}: {self.layout.said}, {len(self.files)} of them{at}{others}"

    def find(self, clips: Sequence[Clip]) -> Iterator[Found]:
        """The clips that the mirror has, file by file; each file is read once, if need be.

        A file that is damaged is told of, and the next one is read.
        """
        wanted = Wanted(clips)
        remote = is_remote(self.location)
        for names in self.files:
            if not wanted:
                return
            where = printable(names[-1])
            if remote:
                where = f"{self.location.rstrip('/')}/{where}"
            try:
                with _here(self.location, names) as paths:
                    for clip, member, content in self.layout.read(paths, wanted):
                        uri = f"{where}#{printable(member)}" if member else where
                        # the file of a URL is gone after this
                        yield Found(clip, uri, loaded(content) if remote else content)
            except UsageError:
                raise
            except (ValueError, FileNotFoundError) as error:
                logger.warning("%s: read no further: %s", where, error)


def open_mirror(location: str) -> Mirror:
    """The mirror at a folder, file or URL.

    Raises:
        ValueError: nothing is there, nothing of a known layout, a revision that may change, or a
            URL with credentials, since every row will hold it.
    """
    for url in map(urlsplit, location.split("::")):  # fsspec's chains
        if url.scheme and (url.username or url.password or url.query):
            raise ValueError(
                f"--from-mirror {url.scheme}://{url.hostname}: the URL holds a name, a password or "
                "a query, and URLs are written down; give credentials by the environment or the "
                "configuration of the file system (AWS_PROFILE, HF_TOKEN, .netrc, ...)"
            )
    hub = HUB.fullmatch(location)
    revision = _pinned(location, hub) if hub else ""
    folder, names = _listed(location)
    layout = SHARDS if {MANIFEST, CLIPS} <= set(names) else _layout(folder, names)
    ours = [name for name in names if layout.holds(name)]
    files = _zips(ours) if layout.read is read_zip else [(name,) for name in ours]
    return Mirror(folder, layout, tuple(files), len(names) - len(ours), revision)


def _layout(folder: str, names: Sequence[str]) -> Layout:
    for layout in LAYOUTS:
        first = next((name for name in names if layout.holds(name)), None)
        if first is None:
            continue
        if layout.read is read_parquet and not _some_audio(folder, names):
            continue  # lists beside audio files
        return layout
    endings = sorted({PurePosixPath(name).suffix for name in names})[:5]
    raise ValueError(
        f"--from-mirror {folder}: no copy of AudioSet among {len(names)} files "
        f"({', '.join(endings) or 'none'}); expected parquet files with audio bytes, tars, zips, "
        "audio files named by YouTube id, or a shard directory"
    )


def _some_audio(folder: str, names: Sequence[str]) -> bool:
    """Whether parquet files hold audio; of a URL that is taken for granted."""
    tables = [name for name in names if name.lower().endswith(".parquet")]
    return is_remote(folder) or any(has_audio(Path(folder, name)) for name in tables)


def _pinned(location: str, hub: re.Match[str]) -> str:
    revision = hub["revision"] or ""
    if not COMMIT.fullmatch(revision):
        raise ValueError(
            f"--from-mirror {location}: got the revision {revision or 'main'!r}, which may change; "
            "expected hf://datasets/OWNER/NAME@COMMIT with a commit's hexadecimal digits, as the "
            "history of the data set's page shows them"
        )
    return revision


def _listed(location: str) -> tuple[str, list[str]]:
    """The folder of a mirror, and the names of its files, sorted."""
    if is_remote(location):
        return _listed_remote(location)
    root = Path(location)
    if root.is_file():
        parts = ZIP_PART.fullmatch(root.name)
        beside = [path.name for path in root.parent.iterdir()] if parts else [root.name]
        same = [name for name in beside if name == root.name or _stem(name) == _stem(root.name)]
        return str(root.parent), sorted(same)
    if not root.is_dir():
        raise ValueError(f"--from-mirror {location}: no such file or folder")
    names = []
    for folder, inner, files in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith((".", "__MACOSX")))
        below = Path(folder).relative_to(root)
        names += [(below / name).as_posix() for name in files if not name.startswith(".")]
    return location, sorted(names)


def _listed_remote(location: str) -> tuple[str, list[str]]:
    files, root = _file_system(location)
    try:
        if files.isfile(root):
            folder, _, name = location.rpartition("/")
            return folder, [name]
        found = files.find(root)
    except Exception as error:  # each file system has its own
        raise ValueError(f"--from-mirror {location}: {error}; check address and access") from error
    if not found:
        raise ValueError(f"--from-mirror {location}: no file is there; check the address")
    names = [name.removeprefix(root).lstrip("/") for name in found]
    return location, sorted(n for n in names if not PurePosixPath(n).name.startswith("."))


def _file_system(location: str) -> tuple[Any, str]:
    """The file system of a URL, and the path there."""
    import fsspec.core  # noqa: PLC0415 - slow to import, and every worker process would

    try:
        files, root = fsspec.core.url_to_fs(location)
    except (ImportError, ValueError) as error:
        extra = "hub" if location.startswith("hf://") else "remote"
        raise ValueError(
            f"--from-mirror {location}: {error}; `pip install 'slvr[{extra}]'` brings what it needs"
        ) from error
    return files, str(root).rstrip("/")


def _stem(name: str) -> str | None:
    """The name of the zip that a file is a part of, without its ending."""
    match = ZIP_PART.fullmatch(name)
    return match[1] if match else None


def _zips(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Parts of one zip together, `.z01`, `.z02`, ... and `.zip` last."""
    parts: dict[str, list[tuple[float, str]]] = {}
    for name in names:
        match = ZIP_PART.fullmatch(name)
        assert match is not None
        number = float(match[2]) if match[2] else float("inf")
        parts.setdefault(match[1], []).append((number, name))
    return [tuple(name for _, name in sorted(found)) for found in parts.values()]


@contextmanager
def _here(location: str, names: Sequence[str]) -> Iterator[tuple[Path, ...]]:
    """A file of a mirror on this disk; of a URL fetched whole, below TMPDIR, and removed again."""
    if not is_remote(location):
        yield tuple(Path(location, name) for name in names)
        return
    files, root = _file_system(location)
    with TemporaryDirectory(prefix="slvr-mirror-") as folder:
        paths = []
        for name in names:
            path = Path(folder, PurePosixPath(name).name)
            try:
                files.get_file(f"{root}/{name}", str(path))
            except Exception as error:
                raise UsageError(
                    f"--from-mirror {location}: {name} could not be fetched ({error}); what came "
                    "is kept: give the same command again"
                ) from error
            paths.append(path)
        yield tuple(paths)
