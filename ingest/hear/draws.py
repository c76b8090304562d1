"""Which clips are in which split: pure functions of the file names, as the HEAR kit draws them."""

import hashlib
import random
from collections.abc import Iterable, Sequence

import numpy as np

HELD_OUT = 0.2
"""Share of the files that is valid, and that is test, where a set has no splits of its own."""


def divided(stems: Iterable[str]) -> dict[str, str]:
    """Stem -> train, valid or test: 60, 20 and 20 % of the sorted stems, shuffled by file."""
    shuffled = sorted(stems)
    random.Random("split_train_test_val").shuffle(shuffled)
    n = int(HELD_OUT * len(shuffled))
    split = ["valid"] * n + ["test"] * n + ["train"] * (len(shuffled) - 2 * n)
    return dict(zip(shuffled, split, strict=True))


def first_of(stems: Sequence[str], split: str, limit_s: float | None, clip_s: float) -> list[str]:
    """As many of the stems as fit into limit_s, drawn by the split's own seed; all for None.

    Args:
        stems: of the clips of the split.
        split: its name, which is the seed.
        limit_s: seconds of all clips together.
        clip_s: seconds of one.
    """
    ordered = sorted(stems)
    if limit_s is None or len(ordered) * clip_s <= limit_s:
        return ordered
    digest = hashlib.sha1(f"SubsampleSplit({split})".encode()).hexdigest()
    seed = int(digest, 16) % (2**32 - 1)
    rows = np.random.RandomState(seed).permutation(len(ordered))
    return [ordered[row] for row in rows[: int(limit_s / clip_s)]]
