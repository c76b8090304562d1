"""What a data set must tell: the protocol of every module in ingest/recipes/."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from slvr.ingest.building.pace import Politeness
from slvr.ingest.expected import Expected
from slvr.shards.clip import Clip


@dataclass(frozen=True)
class Plan:
    """Everything that a shard directory will hold, before the first byte is read.

    Attributes:
        clips: every clip that is asked for, keys unique.
        labels: label vocabulary, label -> name for people, in the order of the class index.
        options: what of the recipe's options changes the result; no paths, no secrets.
        notes: sentences for the user, printed before the work starts.
        extra: what the manifest holds besides, for example class splits.
        expected: what a complete data set gives, or None where nobody has counted.
    """

    clips: tuple[Clip, ...]
    labels: Mapping[str, str]
    options: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    expected: Expected | None = None


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
    REMOTE: ClassVar[bool]
    """True: `make` waits for a network; it runs in threads, and each result is kept on disk."""
    MAX_FAIL: ClassVar[float]
    """Default of --max-fail: the share of clips that may fail before the exit code is 1."""

    @property
    def directory(self) -> str:
        """Name of the shard directory below shards/ where --out is not given."""
        ...

    def plan(self, cache: Path) -> Plan:
        """The clips to make, in any order; `cache` is a folder for downloaded lists.

        Raises:
            ValueError: a source is missing or malformed.
        """
        ...

    def make(self, clip: Clip, codec: str) -> Clip:
        """The planned clip with its audio, or as a failure with status and reason."""
        ...


class RemoteRecipe(Recipe, Protocol):
    """A recipe with `REMOTE`: `make` is one attempt, and the run decides on another one."""

    @property
    def politeness(self) -> Politeness:
        """How fast the source may be asked, and how often again."""
        ...

    def make(self, clip: Clip, codec: str) -> Clip:
        """As `Recipe.make`; called by several threads.

        Raises:
            FetchFailure: the source could not be fetched.
        """
        ...
