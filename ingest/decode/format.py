"""How a file holds its sound."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """How a file holds its sound.

    Attributes:
        container: its usual name in lower case, or FFmpeg's.
        codec: FFmpeg's name.
        rate_hz: sample rate.
        channels: how many.
    """

    container: str
    codec: str
    rate_hz: int
    channels: int
