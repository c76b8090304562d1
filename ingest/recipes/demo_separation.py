"""The demo corpus's clips to learn to separate from; some kinds only the test holds."""

import hashlib
from collections.abc import Iterator, Sequence

from slvr.shards.clip import SAMPLE_RATE_HZ, Clip, Source

TASK = "separation"
DEFAULT_CLIPS = 200
TRAINING_SHARE = 0.8
CLIP_S = 2.0


def planned(n_clips: int, seed: int, licence: str) -> Iterator[Clip]:
    """Training clips of one sound and of two by turns, then mixtures of two of unseen kinds.

    With two sources in every clip a separator hardly learns (asteroid, issue 528).
    """
    from slvr.ingest.synthesis.separable import (  # noqa: PLC0415 - loads scipy
        TRAINING_KINDS,
        UNSEEN_KINDS,
    )

    n_train = round(TRAINING_SHARE * n_clips)
    for i in range(n_train):
        uri = _sounds(list(TRAINING_KINDS), 1 + i % 2, i // 2, f"{seed} train {i}")
        yield _clip(f"train_{i:06d}", "train", uri, licence)
    for i in range(n_clips - n_train):
        uri = _sounds(list(UNSEEN_KINDS), 2, i, f"{seed} mixtures {i}")
        yield _clip(f"mixture_{i:04d}", "mixtures", uri, licence)


def _clip(key: str, split: str, uri: str, licence: str) -> Clip:
    n_samples = round(CLIP_S * SAMPLE_RATE_HZ)
    return Clip(key, split, Source(uri), licence=licence, n_samples=n_samples)


def _sounds(kinds: Sequence[str], n: int, i: int, drawn: str) -> str:
    """What the i-th clip of n sounds is made of: each kind, and each pair of them, as often."""
    digest = hashlib.sha256(drawn.encode()).digest()
    seed = int.from_bytes(digest[:6], "big")
    first = i % len(kinds)
    other = (first + 1 + i // len(kinds) % (len(kinds) - 1)) % len(kinds)
    chosen = [kinds[first], kinds[other]][:n]
    return "synthesis:" + "&".join(f"{kind}?seed={seed + m}" for m, kind in enumerate(chosen))
