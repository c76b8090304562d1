"""Which clip goes into which shard, as a function of the plan alone."""

import hashlib
import json
from collections.abc import Iterable

from slvr.ingest.recipe import ClipPlan, Recipe
from slvr.shards.clip import SAMPLE_RATE_HZ, Clip
from slvr.shards.columns import values_of

NOMINAL_CLIP_S = 10.0
"""Length of a clip for which the plan knows none."""


def deal(clips: Iterable[Clip], shard_mb: float) -> dict[str, list[Clip]]:
    """Shard name -> its clips in the order of their keys; depends on the plan alone.

    The clips of a split are taken in the order of their keys' SHA-256, so that each shard is a
    mixture of classes, and fill one shard after the other by their expected length.
    """
    shards: dict[str, list[Clip]] = {}
    filled: dict[str, tuple[int, int]] = {}
    for clip in sorted(clips, key=lambda clip: hashlib.sha256(clip.key.encode()).digest()):
        expected = round(expected_s(clip) * SAMPLE_RATE_HZ)
        number, n_bytes = filled.get(clip.split, (0, 0))
        if n_bytes and n_bytes + 2 * expected > shard_mb * 1e6:
            number, n_bytes = number + 1, 0
        filled[clip.split] = (number, n_bytes + 2 * expected)
        shards.setdefault(f"{clip.split}-{number:06d}", []).append(clip)
    return {name: sorted(shards[name], key=lambda clip: clip.key) for name in sorted(shards)}


def expected_s(clip: Clip) -> float:
    """Length of a planned clip in seconds: what the plan expects, else a usual one."""
    if clip.n_samples:
        return clip.n_samples / clip.sample_rate_hz
    if clip.source.end_s is None:
        return NOMINAL_CLIP_S
    return clip.source.end_s - (clip.source.start_s or 0.0)


def plan_sha256(recipe: Recipe, plan: ClipPlan, codec: str, shard_mb: float) -> str:
    """Identity of what is asked for: the same command goes on, another one is refused."""
    rows = [json.dumps(values_of(clip), sort_keys=True) for clip in plan.clips]
    head = json.dumps([recipe.NAME, recipe.VERSION, plan.options, codec, shard_mb], sort_keys=True)
    identity = hashlib.sha256(head.encode())
    for row in sorted(rows):  # not joined: the text of two million clips is as large as they are
        identity.update(b"\n" + row.encode())
    return identity.hexdigest()
