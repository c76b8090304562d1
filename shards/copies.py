"""Clips of equal samples: one recording under several keys.

Data sets hold more of them than one would think, and each is a fault somewhere: two views of one
sound are taken for two sounds, a query is its own support, a test clip was trained on.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Copies:
    """How many clips have the samples of another one.

    Attributes:
        n_clips: clips that were looked at.
        n_equal: clips whose samples another one of them has too.
        n_recordings: different recordings among these.
        most: clips of the recording that is there most often; 1 where each is there once.
    """

    n_clips: int
    n_equal: int
    n_recordings: int
    most: int

    def __str__(self) -> str:
        if not self.n_equal:
            return f"no two of {self.n_clips:,} clips have equal samples"
        times = "twice" if self.most == 2 else f"{self.most:,} times"
        recordings = f"1 recording is there {times}"
        if self.n_recordings > 1:
            up_to = "up to " if self.most > 2 else ""
            recordings = f"{self.n_recordings:,} recordings are there {up_to}{times}"
        return (
            f"{self.n_equal:,} of {self.n_clips:,} clips have the samples of another one: "
            f"{recordings}"
        )


def count_copies(pcm_sha256: Iterable[str]) -> Copies:
    """The copies among clips, by the hashes of their samples (those of clips that are there)."""
    counts = Counter(pcm_sha256)
    several = [n for n in counts.values() if n > 1]
    return Copies(counts.total(), sum(several), len(several), max(several, default=1))
