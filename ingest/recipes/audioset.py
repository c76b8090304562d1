"""AudioSet: ten-second parts of YouTube videos, from a copy or fetched by yt-dlp and cut here."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

from slvr.ingest.decode import decoded_clip
from slvr.ingest.mirrors.clips import clip_of
from slvr.ingest.mirrors.find import Found, Mirror, open_mirror
from slvr.ingest.recipe import ClipFailure, ClipPlan, Politeness
from slvr.ingest.youtube.asking import Asking
from slvr.ingest.youtube.choice import Choice
from slvr.ingest.youtube.failures import redact
from slvr.ingest.youtube.fetch import Fetched, missing_javascript_runtime, probed
from slvr.shards.clip import SAMPLE_RATE_HZ, Clip

DIRECTORIES = {
    "balanced": "as_bal",
    "eval": "as_eval",
    "unbalanced": "as_unbal",
    "strong_train": "as_strong",
    "strong_eval": "as_strong_eval",
}
GONE_SHARE = "18 to 25 %"
"""What may be expected missing in 2026: 15 % in March 2023, 1.5 to 2 points more each year."""
FLAC_BYTES_PER_S = 20_000


@dataclass(frozen=True)
class AudioSet(Asking, Choice):
    """Ingests AudioSet: downloads each video's audio, cuts the labelled part, keeps what failed."""

    NAME: ClassVar[str] = "audioset"
    VERSION: ClassVar[str] = "1"
    LICENCE: ClassVar[str] = "segment lists CC-BY-4.0; audio: YouTube's terms and each uploader's"
    CITATION: ClassVar[str] = (
        "Gemmeke et al., Audio Set: An ontology and human-labeled dataset for audio events, "
        "ICASSP 2017"
    )
    HOMEPAGE: ClassVar[str] = "https://research.google.com/audioset/"
    ONLINE: ClassVar[bool] = True
    MAX_FAIL: ClassVar[float] = 0.35
    RETRY_OPTIONS: ClassVar[tuple[str, ...]] = (
        *("rate", "cookies", "proxy", "proxy_file", "po_token", "player_client"),
        *("source_url", "ytdlp_option", "from_mirror", "then_youtube"),
    )

    from_mirror: str | None = None
    """Somebody's copy, in place of YouTube: folder, file or URL of parquet, tar or zip files, of
    audio files named by id, or of shards; also hf://datasets/OWNER/NAME@COMMIT."""
    then_youtube: bool = False
    """Asks YouTube for what that copy lacks, which else is `missing`."""

    def __post_init__(self) -> None:
        Choice.__post_init__(self)
        Asking.__post_init__(self)
        if self.then_youtube and not self.from_mirror:
            raise ValueError("--then-youtube goes with --from-mirror; without it YouTube is asked")

    @property
    def directory(self) -> str:
        """Name of the shard directory if none is given."""
        return DIRECTORIES[self.official]

    @property
    def _asks_youtube(self) -> bool:
        return self.then_youtube or not self.from_mirror

    @property
    def politeness(self) -> Politeness:
        """What YouTube puts up with; a copy needs no pace."""
        asked = super().politeness
        return asked if self._asks_youtube else dataclasses.replace(asked, per_hour=None)

    def plan(self, cache: Path) -> ClipPlan:
        """The segments of the list that were chosen, with the display names of their labels."""
        if self._asks_youtube and (self.ytdlp_option or self.cookies_from_browser):
            self._exits[0].begin()  # a wrong option is not every clip's failure
        listed, names, without = self.clips(cache)
        clips = tuple(self._planned(listed))
        mirror = open_mirror(self.from_mirror) if self.from_mirror else None
        return ClipPlan(
            clips=clips,
            labels=names,
            options=self.chosen,
            notes=(*self._notes(clips, mirror), *without),
            # beside the plan, which another mirror and YouTube may go on with; each row has its own
            extra={"mirror": {"layout": mirror.layout.said, "revision": mirror.revision}}
            if mirror
            else {},
        )

    def _planned(self, listed: Iterable[Clip]) -> Iterator[Clip]:
        """The clips as they come from the place that this run asks."""
        asked = self._exits[0].options
        secrets = asked.secrets()
        for clip in listed:
            url = redact(asked.url(clip.source.id), secrets)
            yield dataclasses.replace(clip, source=dataclasses.replace(clip.source, uri=url))

    def _notes(self, clips: tuple[Clip, ...], mirror: Mirror | None) -> tuple[str, ...]:
        seconds = sum(clip.n_samples for clip in clips) / SAMPLE_RATE_HZ
        size = f"about {seconds * FLAC_BYTES_PER_S / 1e6:.0f} MB"
        if mirror and not self.then_youtube:
            return (f"{len(clips)} clips, {size}, from {mirror}",)
        pace = "at no set rate"
        if self.rate != "unlimited":
            n_exits = len(self._exits)
            pace = f"about {len(clips) / self.rate / n_exits:.1f} h at {self.rate:g} videos an hour"
            pace += f" through each of {n_exits} exits" if n_exits > 1 else ""
        note = f"{len(clips)} clips, {pace}, {size}; expect {GONE_SHARE} of YouTube's to be gone"
        if mirror:
            note = f"{len(clips)} clips, {size}, from {mirror}; YouTube is asked for the rest"
        trouble = missing_javascript_runtime()
        return (note, trouble) if trouble else (note,)

    def copies(self, clips: Sequence[Clip]) -> Iterator[tuple[Clip, Found]]:
        """The clips that the mirror has."""
        if self.from_mirror:
            for found in open_mirror(self.from_mirror).find(clips):
                yield found.clip, found

    def copied(self, clip: Clip, copy: Found, codec: str) -> Clip:
        """Decodes one copy."""
        assert clip == copy.clip
        return clip_of(copy, codec)

    def fetch(self, clip: Clip, folder: Path, through: int) -> Fetched:
        """Fetches one video's audio."""
        if not self._asks_youtube:
            raise ClipFailure("missing", "not_in_mirror", "the copy has no such clip")
        return self._exits[through].fetch(clip.source.id, folder)

    def decode(self, clip: Clip, fetched: Fetched, codec: str) -> Clip:
        """Cuts the part out of what was fetched."""
        try:
            known = probed(fetched, self._exits[0].options)
        except ClipFailure as failure:
            return failure.of(clip)
        made = decoded_clip(clip, known.path, codec, max_s=self.max_source_s)
        return dataclasses.replace(
            made, source_format=known.format_id, source_codec=made.source_codec or known.codec
        )

    def make(self, clip: Clip, codec: str) -> Clip:
        """Fetches one video's audio and cuts the part: one attempt."""
        with TemporaryDirectory(prefix="slvr-") as folder:
            return self.decode(clip, self.fetch(clip, Path(folder), 0), codec)
