"""What a view maker is: a plan from a seed, the views that it makes, and what is known of them.

Letters: V views, B clips, T samples, T' samples of a view, C channels, F bands, L frames.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from slvr.pipeline.short import Short
from slvr.shards.clip import SAMPLE_RATE_HZ

Known = dict[str, Tensor]
"""Name -> (B, ...) on the device of the clips: what is known of the views of each clip."""
Separator = Callable[[Tensor], Tensor]
"""(B, T) waveforms in [-1, 1] -> (B, M, T) channels that sum to them, on the same device; M, which
is 2 or more, is the same for all, and row i depends on row i alone. Its `fingerprint`, if it has
one, is a hash of what it does, or gives it."""
Load = Callable[[str, str], Any]
"""(`package.module:Class` or `./file.py:Class`, the option that it was given to) -> the class."""


def load_nothing(text: str, what: str) -> Any:
    """Nothing: whoever lets a configuration name classes says how they are found.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{what} {text}: classes are not loaded by name here; pass Waves(load=...)")


class Step(NamedTuple):
    """One thing that was done to a clip: its name, and its parameters in each view."""

    name: str
    params: list[dict[str, float | list[float]]]


class Clips(NamedTuple):
    """Which clips a batch holds, and how they came to be waveforms: pcm = scale * wave + mean."""

    keys: tuple[str, ...]
    """(B,)"""
    starts: Tensor
    """(B,) int64 on the host: the first sample of the cut of each clip."""
    mean: Tensor
    """(B,) float32 on the device, of samples in [-1, 1]."""
    scale: Tensor
    """(B,) float32 on the device, above 0."""


@dataclass(frozen=True)
class Waves:
    """What a view maker is given.

    Attributes:
        n_samples: T.
        sample_rate_hz: of the clips.
        separators: by name; a plan stores their names and content hashes.
        load: finds a class of the user's own that a configuration names.
        device: of the clips, and of the separators.
        shards: where the clips come from, and the hash of that; empty if it is not known.
        short: what fills clips shorter than T.
    """

    n_samples: int
    sample_rate_hz: int = SAMPLE_RATE_HZ
    separators: Mapping[str, Separator] = field(default_factory=dict)
    load: Load = load_nothing
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    shards: tuple[str, str] = ("", "")
    short: Short = "loop"


class Plan(Protocol):
    """Everything that decides the views of B clips, apart from the clips."""

    def __len__(self) -> int:
        """B."""
        ...

    def rows(self, first: int, last: int) -> Self:
        """The plan of the clips first to last - 1 alone."""
        ...

    def describe(self, clip: int) -> list[Step]:
        """What is done to one clip, in order, for a person to read."""
        ...

    def to_json(self) -> str:
        """A text from which the same plan can be made to the bit."""
        ...

    @classmethod
    def from_json(cls, text: str, device: torch.device | str = "cpu") -> Self:
        """The plan that `to_json` wrote, on any device."""
        ...


@runtime_checkable
class ViewMaker(Protocol):
    """Makes views; one subclass in one file, and one line of the registry.

    Row i of everything depends on row i alone, and on the seed. The same plan gives the same
    views; the same seed the same plan, on one kind of device to the bit.
    """

    NAME: ClassVar[str]
    Config: ClassVar[type[Any]]

    n_views: int
    """V."""
    knows: frozenset[str]
    """The names in `known`."""
    columns: Sequence[str]
    """Names of the columns of `known["labels"]`, where it is known."""
    quantities: Mapping[str, int]
    """Names of the columns of `known["differences"]`, each with the column of `labels` that says
    where it counts."""

    @classmethod
    def build(cls, config: Any, waves: Waves) -> "ViewMaker":
        """The view maker of a configuration.

        Raises:
            ValueError: a configuration that cannot be.
        """
        ...

    def sample(self, n: int, seed: int | Sequence[int], device: torch.device | str = "cpu") -> Any:
        """A `Plan` for n clips, from the seed alone."""
        ...

    def ahead(self, plan: Any, n_samples: int) -> Any:
        """The same plan with what can be done for clips of T samples before they come: nothing.

        Whoever has it done may do so in a thread, while a device is busy with the batch before.
        """
        return plan

    def apply(self, waves: Tensor, plan: Any) -> Tensor:
        """(B, T) -> (V, B, T')."""
        ...

    def on_features(self, images: Tensor, plan: Any) -> Tensor:
        """(V, B, C, F, L) -> the same shape: what is done behind the front end; here nothing."""
        return images

    def known(self, plan: Any) -> Known:
        """What is known of the views, under the names of `knows`."""
        ...


@runtime_checkable
class ByClip(Protocol):
    """What a view maker offers besides if it looks at which clips it is given."""

    def of_clips(self, plan: Any, clips: Clips) -> Any:
        """The same plan of those clips."""
        ...


@runtime_checkable
class Parted(Protocol):
    """What a view maker offers besides if its views are taken from parts of the clips."""

    def parts(self, waves: Tensor, plan: Any) -> list[dict[str, Tensor]]:
        """For each clip of (B, T) its parts to listen to, title -> (T,)."""
        ...
