"""AudioSet: ten-second parts of YouTube videos, fetched by yt-dlp and cut here."""

import dataclasses
import difflib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

from slvr.command.line import sentence
from slvr.ingest.decode import decoded_clip
from slvr.ingest.download import PATIENT, QUICK
from slvr.ingest.mirrors.clips import clip_of
from slvr.ingest.mirrors.find import Found, Mirror, open_mirror
from slvr.ingest.recipe import ClipFailure, ClipPlan, Politeness
from slvr.ingest.youtube.exits import Exits
from slvr.ingest.youtube.failures import redact
from slvr.ingest.youtube.fetch import Fetched, missing_javascript_runtime, probed
from slvr.ingest.youtube.options import FetchOptions
from slvr.ingest.youtube.segments import (
    Segment,
    download_csv,
    is_label,
    is_youtube_id,
    read_ids,
    read_label_names,
    read_segments,
)
from slvr.ingest.youtube.subsets import mtslvr_sides
from slvr.shards.clip import SAMPLE_RATE_HZ, Clip, Source
from slvr.shards.files import file_sha256
from slvr.shards.rows import read_rows

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
    ONLINE: ClassVar[bool] = True
    MAX_FAIL: ClassVar[float] = 0.35
    RETRY_OPTIONS: ClassVar[tuple[str, ...]] = (
        *("rate", "cookies", "proxy", "proxy_file", "po_token", "player_client"),
        *("source_url", "ytdlp_option", "from_mirror", "then_youtube"),
    )

    split: Literal["balanced", "eval", "unbalanced"] = "balanced"
    """Official list."""
    subset: Literal["mtslvr"] | None = None
    """Only the 20,550 clips published with MT-SLVR, in its splits `train` and `validation`."""
    strong: Literal["train", "eval"] | None = None
    """AudioSet-strong's list, whose labels are events with times, in place of that list."""
    segments: str | None = None
    """A segment csv of the official form, or AudioSet-strong's tsv, in place of that list."""
    from_mirror: str | None = None
    """Somebody's copy, in place of YouTube: folder, file or URL of parquet, tar or zip files, of
    audio files named by id, or of shards; also hf://datasets/OWNER/NAME@COMMIT."""
    then_youtube: bool = False
    """Asks YouTube for what that copy lacks, which else is `missing`."""
    from_manifest: str | None = None
    """The clips.parquet of another AudioSet directory: asks for exactly its clips."""
    ids: str | None = None
    """A text file with one YouTube id on each line: only these clips of the list."""
    classes: tuple[str, ...] = ()
    """Only clips with one of these labels: display names or ontology ids (/m/09x0r)."""
    limit: int | None = None
    """Take only the first clips of the list, 1 or more."""
    label_names: str | None = None
    """A class_labels_indices.csv, or a mid_to_display_name.tsv, in place of the official one."""
    source_url: str = field(default=FetchOptions.source_url, repr=False)
    """Where a video is; {id} stands for its id."""
    rate: float | Literal["unlimited"] = 300.0
    """Videos an hour, above 0, per exit and session: about 300 is what YouTube allows a guest; or
    `unlimited`."""
    retries: int = 3
    """Further attempts after a passing failure (a reset connection, HTTP 5xx), 0 or more."""
    max_blocked: int = 6
    """Pauses in a row, after refusals (bot check, HTTP 429), before an exit closes, 0 or more; the
    run stops when all are closed."""
    blocked_wait_s: float = 60.0
    """First such pause in seconds, above 0; each further one is twice as long."""
    cookies: str | None = None
    """cookies.txt in Netscape form; it is read, never written, and no cookie is kept."""
    cookies_from_browser: str | None = None
    """Browser on this machine to take cookies from, for example firefox."""
    proxy: tuple[str, ...] = field(default=(), repr=False)
    """SCHEME://[USER:PASSWORD@]HOST:PORT, or `direct` for this machine's own address. Of several,
    also by giving the option again, each is an exit with its own pace, cookies and pauses."""
    proxy_file: str | None = None
    """A text file with a proxy on each line; `cookies=FILE` and `po_token=CLIENT.CONTEXT+TOKEN`
    behind it are that exit's own."""
    po_token: tuple[str, ...] = field(default=(), repr=False)
    """CLIENT.CONTEXT+TOKEN for YouTube, as yt-dlp takes it; it belongs to one session."""
    player_client: tuple[str, ...] = ()
    """YouTube's clients to act as, by yt-dlp's names: with `web`, a token and cookies about 1,000
    videos an hour are allowed."""
    ytdlp_option: tuple[str, ...] = field(default=(), repr=False)
    """KEY=VALUE for yt-dlp, by its names in Python; VALUE as JSON, or else as text."""
    max_source_mb: float = 500.0
    """Larger sources are refused, in units of 10^6 bytes; each worker keeps one below TMPDIR."""
    max_source_s: float = 14_400.0
    """Longer sources are refused, in seconds."""
    _exits: Exits = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if (self.limit is not None and self.limit < 1) or min(self.retries, self.max_blocked) < 0:
            raise ValueError(
                "expected --limit of 1 or more, --retries and --max-blocked of 0 or more, got "
                f"{self.limit}, {self.retries} and {self.max_blocked}"
            )
        if (self.rate != "unlimited" and self.rate <= 0) or self.blocked_wait_s <= 0:
            raise ValueError(
                "expected --rate above 0 or unlimited, and --blocked-wait-s above 0, got "
                f"{self.rate} and {self.blocked_wait_s:g}"
            )
        if self.from_manifest and (self.segments or self.subset):
            raise ValueError("--from-manifest is a list already; leave out --segments and --subset")
        if self.strong and (self.segments or self.subset or self.from_manifest):
            raise ValueError(
                "--strong is a list already; leave out --segments, --subset and --from-manifest"
            )
        if self.then_youtube and not self.from_mirror:
            raise ValueError("--then-youtube goes with --from-mirror; without it YouTube is asked")
        if self.subset and self.split != "balanced":
            raise ValueError(
                f"--subset {self.subset} is part of --split balanced, not {self.split}"
            )
        options = FetchOptions(
            source_url=self.source_url,
            cookies=Path(self.cookies) if self.cookies else None,
            cookies_from_browser=self.cookies_from_browser,
            max_source_mb=self.max_source_mb,
            max_source_s=self.max_source_s,
            ytdlp_options=_parsed(self.ytdlp_option),
            po_token=self.po_token,
            player_client=self.player_client,
        )
        object.__setattr__(self, "_exits", Exits(options, self.proxy, self.proxy_file))

    @property
    def directory(self) -> str:
        """Name of the shard directory if none is given."""
        return DIRECTORIES[self._official]

    @property
    def _official(self) -> str:
        return f"strong_{self.strong}" if self.strong else self.split

    @property
    def _asks_youtube(self) -> bool:
        return self.then_youtube or not self.from_mirror

    @property
    def politeness(self) -> Politeness:
        """What YouTube puts up with."""
        return Politeness(
            per_hour=self.rate if self.rate != "unlimited" and self._asks_youtube else None,
            retries=self.retries,
            refusal_wait_s=self.blocked_wait_s,
            max_blocked=self.max_blocked,
        )

    def plan(self, cache: Path) -> ClipPlan:
        """The segments of the list that were chosen, with the display names of their labels."""
        names, without = self._names(cache)
        clips = self._chosen(self._listed(cache), names)
        if without:  # the ids are kept in their place
            names = {label: label for label in sorted({x for clip in clips for x in clip.labels})}
        unknown = {label for clip in clips for label in clip.labels} - names.keys()
        if unknown:
            raise ValueError(
                f"{self.from_manifest or self.segments or self.split}: label {min(unknown)} is not "
                "in the list of classes; expected those of class_labels_indices.csv; give the "
                "matching one with --label-names, for AudioSet-strong its mid_to_display_name.tsv"
            )
        own_list = self.from_manifest or self.segments
        mirror = open_mirror(self.from_mirror) if self.from_mirror else None
        return ClipPlan(
            clips=clips,
            labels=names,
            options={
                "list": f"sha256:{file_sha256(Path(own_list))}" if own_list else self._official,
                "subset": self.subset,
                "ids": f"sha256:{file_sha256(Path(self.ids))}" if self.ids else None,
                "classes": list(self.classes),
                "limit": self.limit,
            },
            notes=(*self._notes(clips, mirror), *without),
            # beside the plan, which another mirror and YouTube may go on with; each row has its own
            extra={"mirror": {"layout": mirror.layout.said, "revision": mirror.revision}}
            if mirror
            else {},
        )

    def _names(self, cache: Path) -> tuple[dict[str, str], list[str]]:
        """The display name of each label; for a list of the user's own, a note where none are had.

        What is on this disk needs no network: Google's list gets one look.
        """
        if self.label_names:
            return read_label_names(self.label_names), []
        own_list = self.from_manifest or self.segments
        try:
            return read_label_names(
                download_csv(
                    "strong_labels" if self.strong else "labels",
                    *(cache, QUICK if own_list else PATIENT),
                )
            ), []
        except OSError as error:
            if not own_list:
                raise
            if names := [text for text in self.classes if not is_label(text)]:
                raise ValueError(
                    f"--classes {names[0]}: no names of classes are there: {sentence(error)}; or "
                    "give ids such as /m/09x0r"
                ) from error
            return {}, [f"labels keep their ids in place of names: {sentence(error)}"]

    def _listed(self, cache: Path) -> list[Clip]:
        """Every clip of the list that is the source of this plan."""
        if self.from_manifest:
            return [self._planned(clip) for clip in _manifest_clips(Path(self.from_manifest))]
        listed = read_segments(self.segments or download_csv(self._official, cache))
        n_segments = Counter(segment.youtube_id for segment in listed)
        if self.subset is None:
            split = "eval" if "eval" in (self.strong, self.split) else "train"
            splits = dict.fromkeys(n_segments, split)
        else:
            # As splits and not as a column: `train` then sees just the published training clips.
            splits = mtslvr_sides(cache)
        return [
            self._planned(_clip(s, splits[s.youtube_id], alone=n_segments[s.youtube_id] == 1))
            for s in listed
            if s.youtube_id in splits
        ]

    def _chosen(self, listed: list[Clip], names: dict[str, str]) -> tuple[Clip, ...]:
        """Those of the listed clips that the options ask for, in the order of the list."""
        chosen = listed
        if self.ids:
            wanted = set(read_ids(self.ids))
            strange = wanted - {clip.source.id for clip in listed}
            if strange:
                raise ValueError(
                    f"{self.ids}: {len(strange)} ids are not in the list, for example "
                    f"{min(strange)}; expected ids of --split, --segments or --from-manifest"
                )
            chosen = [clip for clip in chosen if clip.source.id in wanted]
        if self.classes:
            labels = {_label(text, names) if names else text for text in self.classes}
            chosen = [clip for clip in chosen if labels.intersection(clip.labels)]
        if not chosen:
            raise ValueError("no clip of the list is left; choose other --ids, --classes, --subset")
        return tuple(chosen[: self.limit])

    def _planned(self, clip: Clip) -> Clip:
        """The clip as it comes from the place that this run asks."""
        url = redact(self._exits[0].options.url(clip.source.id))
        return dataclasses.replace(clip, source=dataclasses.replace(clip.source, uri=url))

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

    @property
    def exits(self) -> tuple[str, ...]:
        """The proxies without their passwords."""
        return self._exits.names

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


def _clip(segment: Segment, split: str, alone: bool) -> Clip:
    """The clip of a segment; one that is not alone in its video has its start in its key."""
    start_ms = round(segment.start_s * 1000)
    key = f"Y{segment.youtube_id}"  # an id may begin with '-', a key may not
    return Clip(
        key=key if alone else f"{key}_{start_ms}",
        split=split,
        source=Source("", segment.start_s, segment.end_s, segment.youtube_id),
        labels=segment.labels,
        events=segment.events,
        n_samples=_n_samples(segment.start_s, segment.end_s),
    )


def _n_samples(start_s: float, end_s: float) -> int:
    return round((end_s - start_s) * SAMPLE_RATE_HZ)


def _manifest_clips(path: Path) -> list[Clip]:
    """Every clip that another directory asked for, as planned there."""
    clips = []
    for row in read_rows(path):
        source = row.clip.source
        if source.start_s is None or source.end_s is None or not is_youtube_id(source.id):
            raise ValueError(
                f"{path}: clip {row.clip.key} is no AudioSet segment; expected the clips.parquet "
                "of a directory made by `ingest audioset`"
            )
        clips.append(
            Clip(
                key=row.clip.key,
                split=row.clip.split,
                source=source,
                labels=row.clip.labels,
                events=row.clip.events,
                attributes=row.clip.attributes,
                n_samples=_n_samples(source.start_s, source.end_s),
            )
        )
    return clips


def _label(text: str, names: dict[str, str]) -> str:
    """The ontology id of a label given by id or display name."""
    ids = {name.lower(): label for label, name in names.items()} | {label: label for label in names}
    label = ids.get(text) or ids.get(text.lower())
    if label is None:
        close = difflib.get_close_matches(text.lower(), ids, n=3)
        hint = f", for example {' or '.join(names[ids[name]] for name in close)}" if close else ""
        raise ValueError(f"--classes: no label {text!r}; expected a name or id of AudioSet's{hint}")
    return label


def _parsed(settings: tuple[str, ...]) -> dict[str, Any]:
    """yt-dlp's options from KEY=VALUE texts."""
    options: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not (key.isidentifier() and equals):  # without the text: it may hold a token
            raise ValueError("--ytdlp-option: expected KEY=VALUE, for example retries=10")
        try:
            options[key] = json.loads(value)
        except json.JSONDecodeError:
            options[key] = value
    return options
