"""What a front end is: waveforms in, the images that an encoder takes out.

Letters: B clips, T samples, C channels, F bands, L frames.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, Self

from torch import Tensor, nn


class FrontEnd(nn.Module, ABC):
    """(B, T) waveforms at 16 kHz -> (B, C, F, L) float32.

    A new front end is one subclass and one line of the registry. Its class also has `NAME`,
    `Config` (a frozen dataclass, its flags) and `build`.

    Attributes:
        channels: C.
        n_mels: F.
        hop_s: seconds from one frame to the next.
        log_mel: the channel that shows best what is heard: a log-mel spectrum.
        fit_clips: how many training clips `fit` has to see before anything is trained; 0: none.
        found: what `fit` found, in words.
    """

    NAME: ClassVar[str]
    Config: ClassVar[type[Any]]

    channels: int
    n_mels: int
    hop_s: float
    log_mel: int = 0
    fit_clips: int = 0
    found: str = ""

    @classmethod
    @abstractmethod
    def build(cls, config: Any) -> Self:
        """The front end of a configuration."""

    @abstractmethod
    def forward(self, waves: Tensor) -> Tensor:
        """(B, T) float -> (B, C, F, L) float32.

        Raises:
            ValueError: a clip too short for one frame.
        """

    def heard(self, waves: Tensor) -> Tensor:
        """(B, T) -> (B, F, L) in dB: the picture of what is heard."""
        image: Tensor = self(waves)
        return image[:, self.log_mel]

    def fit(self, waves: Iterable[Tensor]) -> None:
        """Takes from batches (B, T) of training clips what it has to know of them, once.

        `shape` holds it from then on.
        """
        raise TypeError(f"front end {self.NAME} has nothing to learn from clips")

    @abstractmethod
    def shape(self) -> dict[str, Any]:
        """What `type(self)(**shape)` makes the same of; plain values, for a checkpoint."""
