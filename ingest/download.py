"""Files over HTTP: resumed where they stopped, checked, from one mirror after the other."""

import fcntl
import hashlib
import http.client
import json
import logging
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slvr.command.progress import track

logger = logging.getLogger(__name__)

BACKOFF_S = 2.0
MAX_WAIT_S = 300.0
BLOCK_BYTES = 1 << 20
WORTH_RESUMING_BYTES = 1 << 20
"""Less than this of a file that could not be fetched is removed."""
CUT = (http.client.HTTPException, urllib.error.URLError, ConnectionError, TimeoutError)
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Patience:
    """How long a file is waited for; proxies come from the environment.

    Attributes:
        attempts: in a row without a byte, for each mirror.
        timeout_s: for an answer, and between any two parts of it.
    """

    attempts: int
    timeout_s: float


PATIENT = Patience(5, 60.0)
QUICK = Patience(1, 5.0)
"""For what can be done without: one look."""


@dataclass(frozen=True)
class RemoteFile:
    """A file on the net.

    Attributes:
        name: its name here.
        urls: where it is, the best place first.
        checksum: `sha256:HEX` or `md5:HEX`; empty where none is published.
        n_bytes: its size; 0 for unknown.
        varies: the host makes the file anew now and then: another checksum is a warning, and the
            content has to be checked.
    """

    name: str
    urls: tuple[str, ...]
    checksum: str = ""
    n_bytes: int = 0
    varies: bool = False


class _GoneError(OSError):
    """A mirror that has not got the file, or got another one."""


def download(
    files: Sequence[RemoteFile],
    folder: Path,
    total_bytes: int = 0,
    instead: str = "",
    patience: Patience = PATIENT,
) -> list[str]:
    """Notes for the user, once the files lie in the folder; those that are there are not asked for.

    A file has its name only when it is complete and its checksum right. What came before a cut
    is kept, and the rest asked for with Range and If-Range.

    Args:
        files: what to get.
        folder: made if missing; one process at a time downloads into it, others wait.
        total_bytes: size of all, where that of each is not known.
        instead: what else the user may do, as a clause for the error message.
        patience: with each mirror.

    Raises:
        OSError: the disk is too small, or no mirror gave a file: says each one's reason.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [file for file in files if not (folder / file.name).exists()]
    if not missing:
        return []
    here_bytes = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    needed_bytes = max(total_bytes, sum(file.n_bytes for file in files)) - here_bytes
    _check_space(folder, needed_bytes)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second process waits, and then finds the files
        found = [_download(file, folder / file.name, instead, patience) for file in missing]
    return [note for note in found if note]


def _check_space(folder: Path, needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes > free_bytes:
        raise OSError(
            f"{folder}: {needed_bytes / 1e6:.0f} MB are to come, {free_bytes / 1e6:.0f} MB are "
            "free; make room, or fetch the archives to another disk and give --source PATH"
        )


def _download(file: RemoteFile, target: Path, instead: str, patience: Patience) -> str:
    """Gets one file from the first mirror that has it; gives a warning or nothing."""
    faults = []
    try:
        for url in file.urls:
            if target.exists():
                return ""
            try:
                partial = _download_whole(url, target, patience)
                note = _check(file, partial)
                partial.replace(target)
                return note
            except _GoneError as error:
                faults.append(f"{url}: {error}")
    finally:
        _tidy(target)
    raise OSError(
        f"{file.name} could not be fetched ({'; '.join(faults)}); try again later, or save it "
        f"as {target} by other means" + (f", or {instead}" if instead else "")
    )


def _tidy(target: Path) -> None:
    """Removes what no later call would go on from."""
    partial = _partial_path(target)
    if not partial.exists() or partial.stat().st_size < WORTH_RESUMING_BYTES:
        for path in (partial, _validator_path(target)):
            path.unlink(missing_ok=True)


def checksum_fault(path: Path, checksum: str) -> str:
    """How a file differs from its checksum (`sha256:HEX` or `md5:HEX`), or nothing."""
    algorithm, _, expected = checksum.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    return "" if found == expected else f"{algorithm} {found}, expected {expected}"


def _check(file: RemoteFile, partial: Path) -> str:
    """Holds a complete file against its checksum; gives a warning or nothing."""
    fault = checksum_fault(partial, file.checksum) if file.checksum else ""
    if fault and not file.varies:
        partial.unlink()
        raise _GoneError(fault)
    if not fault:
        return ""
    return (
        f"{file.name}: {fault}; its host makes the archive anew now and then, so its content is "
        "checked instead"
    )


def _partial_path(target: Path) -> Path:
    return target.with_name(f".{target.name}.partial")


def _validator_path(target: Path) -> Path:
    return target.with_name(f".{target.name}.validator")


def _download_whole(url: str, target: Path, patience: Patience) -> Path:
    """The partial file with all of a URL in it; goes on with what is there of it."""
    partial = _partial_path(target)
    failed = 0
    while True:
        before_bytes = partial.stat().st_size if partial.exists() else 0
        try:
            _download_rest(url, partial, _validator_path(target), patience.timeout_s)
            return partial
        except urllib.error.HTTPError as error:
            if error.code not in PASSING:
                raise _GoneError(f"HTTP {error.code}") from error
            reason, wait_s = f"HTTP {error.code}", _retry_after_s(error)
        except CUT as error:
            reason, wait_s = str(error) or type(error).__name__, 0.0
        grown = partial.exists() and partial.stat().st_size > before_bytes
        failed = 0 if grown else failed + 1
        if failed >= patience.attempts:
            raise _GoneError(reason)
        wait_s = max(wait_s, BACKOFF_S * 2**failed if failed else 0.0)
        logger.warning("%s: %s; trying again in %.0f s", url, reason, wait_s)
        time.sleep(wait_s)


def _retry_after_s(error: urllib.error.HTTPError) -> float:
    text = error.headers.get("Retry-After", "")
    return min(float(text), MAX_WAIT_S) if text.isdigit() else 0.0


def _download_rest(url: str, partial: Path, validator_path: Path, timeout_s: float) -> None:
    """One request: the whole file, or what is missing if the server has still got the same."""
    validator = _validator(validator_path, url)
    have_bytes = partial.stat().st_size if validator and partial.exists() else 0
    headers = {"User-Agent": "slvr", "Accept-Encoding": "identity"}
    if have_bytes and validator:
        headers |= {"Range": f"bytes={have_bytes}-", "If-Range": validator}
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have_bytes:
            if error.headers.get("Content-Range") == f"bytes */{have_bytes}":
                return
            partial.unlink()
            raise ConnectionError("the file on the server has changed") from error
        raise
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        if resumed and not _begins_at(response.headers.get("Content-Range", ""), have_bytes):
            partial.unlink()
            raise ConnectionError("the server sent another part than asked for")
        if not resumed:
            have_bytes = 0
            tag = response.headers.get("ETag", "")
            strong = tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
            validator_path.write_text(json.dumps({"url": url, "validator": strong}))
        _copy(response, partial, have_bytes)


def _begins_at(content_range: str, first_byte: int) -> bool:
    return content_range.startswith(f"bytes {first_byte}-")


def _validator(path: Path, url: str) -> str:
    """What If-Range needs, if the partial file came from this URL."""
    try:
        known = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return ""
    return str(known["validator"]) if known["url"] == url else ""


def _copy(response: http.client.HTTPResponse, partial: Path, have_bytes: int) -> None:
    length = response.headers["Content-Length"]
    declared_bytes = None if length is None else have_bytes + int(length)
    _check_space(partial.parent, (declared_bytes or 0) - have_bytes)
    label, total_mb = partial.name.strip(".").removesuffix(".partial"), (declared_bytes or 0) >> 20
    with (
        partial.open("ab" if have_bytes else "wb") as file,
        track(label, total_mb, "MB", have_bytes >> 20) as progress,
    ):
        while block := response.read(BLOCK_BYTES):
            file.write(block)
            progress.advance(len(block) >> 20)
        file.flush()
        # a connection cut in mid-body may end the copy without an error
        os.fsync(file.fileno())
        if declared_bytes is not None and file.tell() < declared_bytes:
            raise ConnectionError(f"cut off at {file.tell()} of {declared_bytes} bytes")
