"""What a data set must tell: the protocol of every module in ingest/recipes/, and its terms."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from slvr.ingest.expected import Expected
from slvr.shards.clip import OK, STATUSES, Clip


class ClipFailure(Exception):  # noqa: N818 - a fact about one clip, caught and stored as a row
    """Why a clip could not be made.

    Attributes:
        status: one of `slvr.shards.clip.STATUSES`, not `ok`.
        reason: a short fixed word, fit for a column.
        detail: what was found, without secrets.
        retry_after_s: what the source asked to wait, in seconds, or None.
        source_bytes: size of what came instead, 0 where nothing did.
        source_sha256: its hash.
    """

    source_bytes = 0
    source_sha256 = ""

    def __init__(
        self, status: str, reason: str, detail: str = "", retry_after_s: float | None = None
    ) -> None:
        assert status in STATUSES and status != OK, status
        super().__init__(status, reason, detail, retry_after_s)  # all in args: survives pickling
        self.status = status
        self.reason = reason
        self.detail = detail
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.status} ({self.reason}): {self.detail}"

    def of(self, clip: Clip) -> Clip:
        """The clip with this failure, and with what is known of what came instead."""
        failed = clip.failed(self.status, self.reason, self.detail)
        if not self.source_sha256:
            return failed
        return dataclasses.replace(
            failed, source_bytes=self.source_bytes, source_sha256=self.source_sha256
        )


class UsageError(ValueError):
    """A fault in what the user gave that every clip would meet: it ends the job, as a sentence."""


@dataclass(frozen=True)
class Politeness:
    """What an online recipe owes its source, through each exit.

    Attributes:
        per_hour: requests an hour of all threads through one exit, or None for no limit.
        retries: further attempts at a clip that failed for now, 0 or more.
        backoff_s: wait before the first of them, doubled for each further one.
        refusal_wait_s: pause of the exit after a refusal, doubled for each further one.
        max_blocked: pauses in a row after which a further refusal closes the exit.
    """

    per_hour: float | None
    retries: int = 3
    backoff_s: float = 2.0
    refusal_wait_s: float = 60.0
    max_blocked: int = 6


@dataclass(frozen=True)
class ClipPlan:
    """Everything that a shard directory will hold, before the first byte is read.

    Attributes:
        clips: every clip that is asked for, keys unique.
        labels: label vocabulary, label -> name for people, in the order of the class index.
        options: what of the recipe's options changes the result; no paths, no secrets.
        notes: sentences for the user, printed before the work starts.
        extra: what the manifest holds besides, for example class splits.
        expected: what a complete data set gives, or None where nobody has counted.
        derived_from: what the clips are computed from, as `slvr.shards.manifest` holds it.
    """

    clips: tuple[Clip, ...]
    labels: Mapping[str, str]
    options: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    expected: Expected | None = None
    derived_from: Mapping[str, str] = field(default_factory=dict)


class Recipe(Protocol):
    """A data set: constants first, then `plan` and `make`.

    A recipe is a frozen dataclass: its fields are the options of `ingest <command>`, their
    docstrings the help. It is pickled into worker processes.
    """

    NAME: ClassVar[str]
    VERSION: ClassVar[str]
    LICENCE: ClassVar[str]
    CITATION: ClassVar[str]
    HOMEPAGE: ClassVar[str]
    ONLINE: ClassVar[bool]
    """True: clips come over a network (see `OnlineRecipe`), and each result is kept on disk."""
    MAX_FAIL: ClassVar[float]
    """Default of --max-fail: the share of clips that may fail before the exit code is 1."""
    RETRY_OPTIONS: ClassVar[tuple[str, ...]]
    """Fields that `ingest retry` offers: how the source is asked, never what for."""

    @property
    def directory(self) -> str:
        """Name of the shard directory below shards/ where --out is not given."""
        ...

    def plan(self, cache: Path) -> ClipPlan:
        """The clips to make, in any order; `cache` is a folder for downloaded lists.

        Raises:
            ValueError: a source is missing or malformed.
        """
        ...

    def make(self, clip: Clip, codec: str) -> Clip:
        """The planned clip with its audio, or as a failure with status and reason."""
        ...


class OnlineRecipe(Recipe, Protocol):
    """A recipe with `ONLINE`: fetched in threads, which wait; decoded in processes, which compute.

    `fetch` and `decode` together are one attempt, which is what `make` does in one place; the run
    decides on another one.
    """

    @property
    def politeness(self) -> Politeness:
        """How fast the source may be asked, and how often again."""
        ...

    @property
    def exits(self) -> Sequence[str]:
        """Names, without secrets, of the ways to the source, 1 or more; each has its own pace."""
        ...

    def fetch(self, clip: Clip, folder: Path, through: int) -> Any:
        """What `decode` needs besides the clip, of a type that pickles; called by several threads.

        Args:
            clip: as planned.
            folder: an empty one for the files of this attempt; they live until it was decoded.
            through: number of the exit.

        Raises:
            ClipFailure: the source is not to be had.
            UsageError: what the user gave is of no use for any clip.
            OSError: this machine's own trouble.
        """
        ...

    def decode(self, clip: Clip, fetched: Any, codec: str) -> Clip:
        """The clip with its audio, or as a failure; called in a worker process."""
        ...


@runtime_checkable
class CopiedRecipe(Protocol):
    """An online recipe some of whose clips lie, as copies, in files of many.

    They are had before the first clip is fetched; what no copy is there of is fetched as ever.
    """

    def copies(self, clips: Sequence[Clip]) -> Iterator[tuple[Clip, Any]]:
        """Each of the clips that has a copy, with what `copied` needs, in the order of the files.

        Raises:
            UsageError: what the user gave is of no use for any clip.
        """
        ...

    def copied(self, clip: Clip, copy: Any, codec: str) -> Clip:
        """The clip with its audio, or as a failure; called in a worker process."""
        ...
