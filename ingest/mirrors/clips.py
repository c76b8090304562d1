"""A copy of a clip -> the clip: decoded as it is, nothing is cut."""

import dataclasses

from slvr.ingest.decode import decoded_clip
from slvr.ingest.mirrors.contract import loaded
from slvr.ingest.mirrors.find import Found
from slvr.ingest.recipe import ClipFailure
from slvr.shards.clip import OK, SAMPLE_RATE_HZ, Clip, Source

TOLERANCE_S = 0.1
"""Codecs and resamplers pad by as much: not worth a word."""
NOMINAL_S = 10.0
"""Length of AudioSet's clips; some copies fill the few shorter ones up to it with silence."""
SLACK_S = 1.0
"""A file longer than this beyond the clip is another thing, for example the whole video."""


def clip_of(found: Found, codec: str) -> Clip:
    """The planned clip with the audio of its copy, or as a failure; called in a worker process.

    Its source is the copy; the seconds are still those of the video that the list gives.
    """
    planned = found.clip
    source = dataclasses.replace(planned.source, uri=found.uri)
    content = loaded(found.content)
    if isinstance(content, ClipFailure):
        return dataclasses.replace(content.of(planned), source=source)
    asked_s = (source.end_s or 0.0) - (source.start_s or 0.0)
    whole = dataclasses.replace(planned, source=Source(found.uri))
    made = decoded_clip(whole, content, codec, max_s=max(asked_s, NOMINAL_S) + SLACK_S)
    made = dataclasses.replace(made, source=source)
    if made.status != OK or not asked_s:
        return made
    note = _length_note(made.n_samples / SAMPLE_RATE_HZ, asked_s)
    return dataclasses.replace(made, detail="; ".join(filter(None, (note, made.detail))))


def _length_note(found_s: float, asked_s: float) -> str:
    """What to say of a copy whose length is not the list's."""
    if abs(found_s - asked_s) <= TOLERANCE_S:
        return ""
    kind = "shorter" if found_s < asked_s else "longer"
    return f"the copy is {kind} than the list's clip: {found_s:.3f} s of {asked_s:.3f} s"
