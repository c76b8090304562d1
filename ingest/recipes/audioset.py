"""AudioSet: ten-second parts of YouTube videos, fetched by yt-dlp and cut here."""

import dataclasses
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Literal

from ingest.decode import decoded_clip
from ingest.fetch import FetchOptions, fetch_audio, missing_javascript_runtime
from ingest.fetch_errors import FetchFailure, redact
from ingest.pace import Pace
from ingest.recipe import Plan
from ingest.segments import Segment, download_csv, read_label_names, read_segments
from shards.clip import SAMPLE_RATE_HZ, Clip, Source

DIRECTORIES = {"balanced": "as_bal", "eval": "as_eval", "unbalanced": "as_unbal"}
GONE_SHARE = "18 to 25 %"
"""What may be expected missing in 2026: 15 % in March 2023, 1.5 to 2 points more each year."""
FLAC_BYTES_PER_S = 20_000


@dataclass(frozen=True)
class AudioSet:
    """Ingests AudioSet: downloads each video's audio, cuts the labelled part, keeps what failed."""

    NAME: ClassVar[str] = "audioset"
    VERSION: ClassVar[str] = "1"
    LICENCE: ClassVar[str] = "segment lists CC-BY-4.0; audio: YouTube's terms and each uploader's"
    CITATION: ClassVar[str] = (
        "Gemmeke et al., Audio Set: An ontology and human-labeled dataset for audio events, "
        "ICASSP 2017"
    )
    HOMEPAGE: ClassVar[str] = "https://research.google.com/audioset/"
    REMOTE: ClassVar[bool] = True
    MAX_FAIL: ClassVar[float] = 0.35

    split: Literal["balanced", "eval", "unbalanced"] = "balanced"
    """Official list."""
    segments: str | None = None
    """A segment csv of the official form in place of the official list."""
    label_names: str | None = None
    """A class_labels_indices.csv in place of the official one."""
    limit: int | None = None
    """Take only the first clips of the list, 1 or more."""
    source_url: str = field(default=FetchOptions.source_url, repr=False)
    """Where a video is; {id} stands for its id."""
    rate: float | Literal["unlimited"] = 300.0
    """Videos an hour, above 0: about 300 is what YouTube allows a guest; or `unlimited`."""
    retries: int = 3
    """Further attempts after a passing failure (a reset connection, HTTP 5xx), 0 or more."""
    cookies: str | None = None
    """cookies.txt in Netscape form."""
    cookies_from_browser: str | None = None
    """Browser on this machine to take cookies from, for example firefox."""
    proxy: str | None = field(default=None, repr=False)
    """SCHEME://[USER:PASSWORD@]HOST:PORT of a proxy; kept out of everything that is written."""
    max_source_mb: float = 500.0
    """Larger sources are refused, in units of 10^6 bytes."""
    max_source_s: float = 14_400.0
    """Longer sources are refused, in seconds."""
    _pace: Pace | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        if (self.limit is not None and self.limit < 1) or self.retries < 0:
            raise ValueError(
                f"expected --limit of 1 or more and --retries of 0 or more, got {self.limit} and "
                f"{self.retries}"
            )
        if self.rate != "unlimited":
            if self.rate <= 0:
                raise ValueError(f"--rate {self.rate}: expected a number above 0, or unlimited")
            object.__setattr__(self, "_pace", Pace(self.rate))

    @property
    def directory(self) -> str:
        """Name of the shard directory if none is given."""
        return DIRECTORIES[self.split]

    def plan(self, cache: Path) -> Plan:
        """The segments of the list, with the display names of their labels."""
        names = read_label_names(self.label_names or download_csv("labels", cache))
        listed = read_segments(self.segments or download_csv(self.split, cache))[: self.limit]
        unknown = {label for segment in listed for label in segment.labels} - names.keys()
        if unknown:
            raise ValueError(
                f"{self.segments or self.split}: label {min(unknown)} is not in the list of "
                "classes; expected those of class_labels_indices.csv; give the matching one with "
                "--label-names"
            )
        fetching = self._fetch_options()
        return Plan(
            clips=tuple(self._planned(segment, fetching) for segment in listed),
            labels=names,
            options={"split": self.split, "limit": self.limit},
            notes=self._notes(listed),
        )

    def _planned(self, segment: Segment, fetching: FetchOptions) -> Clip:
        return Clip(
            key=f"Y{segment.youtube_id}",  # an id may begin with '-', a key may not
            split="eval" if self.split == "eval" else "train",
            source=Source(redact(fetching.url(segment.youtube_id)), segment.start_s, segment.end_s),
            labels=segment.labels,
            n_samples=round((segment.end_s - segment.start_s) * SAMPLE_RATE_HZ),
        )

    def _notes(self, listed: list[Segment]) -> tuple[str, ...]:
        seconds = sum(segment.end_s - segment.start_s for segment in listed)
        pace = "at no set rate"
        if self.rate != "unlimited":
            pace = f"about {len(listed) / self.rate:.1f} h at {self.rate:g} videos an hour"
        note = (
            f"{len(listed)} clips, {pace}, about {seconds * FLAC_BYTES_PER_S / 1e6:.0f} MB; expect "
            f"{GONE_SHARE} of YouTube's to be gone"
        )
        trouble = missing_javascript_runtime()
        return (note, trouble) if trouble else (note,)

    def _fetch_options(self) -> FetchOptions:
        return FetchOptions(
            source_url=self.source_url,
            cookies=Path(self.cookies) if self.cookies else None,
            cookies_from_browser=self.cookies_from_browser,
            proxy=self.proxy,
            max_source_mb=self.max_source_mb,
            max_source_s=self.max_source_s,
        )

    def make(self, clip: Clip, codec: str) -> Clip:
        """Fetches one video's audio, again after passing failures, and cuts the part."""
        attempt = 0
        while True:
            if self._pace is not None:
                self._pace.wait()
            made = self._attempt(clip, codec)
            if made.status != "transient" or attempt == self.retries:
                return made
            attempt += 1
            time.sleep(random.uniform(0.5, 1.0) * 2**attempt)

    def _attempt(self, clip: Clip, codec: str) -> Clip:
        fetching = self._fetch_options()
        url = fetching.url(clip.key.removeprefix("Y"))
        with TemporaryDirectory(prefix="slvr-") as folder:
            try:
                fetched = fetch_audio(url, folder, fetching)
            except FetchFailure as failure:
                return clip.failed(failure.status, failure.reason, failure.detail)
            made = decoded_clip(clip, fetched.path, codec, max_s=self.max_source_s)
            return dataclasses.replace(made, source_sha256=fetched.sha256)
