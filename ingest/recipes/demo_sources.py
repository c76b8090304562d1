"""The sounds that the mixtures of the embedded corpus are sums of."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from slvr.ingest.recipe import ClipPlan
from slvr.ingest.recipes.demo import Demo, sources_of
from slvr.shards.audio import with_audio
from slvr.shards.clip import Clip
from slvr.shards.read import ShardDirectory


@dataclass(frozen=True)
class DemoSources:
    """Ingests the sources of a demo directory: what each of its mixtures is the sum of.

    Key `<key>-c<m>`, attributes `of` and `channel`; the samples sum to the mixture's.
    """

    NAME: ClassVar[str] = "demo-sources"
    VERSION: ClassVar[str] = "1"
    LICENCE: ClassVar[str] = "CC0-1.0"
    CITATION: ClassVar[str] = ""
    HOMEPAGE: ClassVar[str] = ""
    ONLINE: ClassVar[bool] = False
    MAX_FAIL: ClassVar[float] = 0.0
    RETRY_OPTIONS: ClassVar[tuple[str, ...]] = ()

    demo: str
    """Directory that `ingest demo` has made, with --two-sources or --n-mixtures."""

    @property
    def directory(self) -> str:
        """Name of the shard directory if none is given."""
        return "demo_sources"

    def plan(self, cache: Path) -> ClipPlan:
        """A clip for each source of each mixture; classes and seeds are drawn as there."""
        mixed = ShardDirectory.open(self.demo)
        if mixed.manifest.recipe != Demo.NAME:
            raise ValueError(
                f"{self.demo}: made by `ingest {mixed.manifest.recipe}`; expected a directory of "
                "`ingest demo`"
            )
        options = dict(mixed.manifest.options)
        clips = [
            replace(
                clip,
                key=f"{clip.key}-c{m}",
                labels=(),
                attributes={"of": clip.key, "channel": m},
            )
            for clip in Demo(**options).plan(cache).clips
            if "&" in clip.source.uri
            for m in range(2)
        ]
        if not clips:
            raise ValueError(
                f"{self.demo}: none of its clips is a mixture; make it with `ingest demo "
                "--two-sources 0.5 --n-mixtures 48`"
            )
        return ClipPlan(
            clips=tuple(clips),
            labels={},
            options=options,
            extra={"derived_from": {"shards": mixed.fingerprint}},
        )

    def make(self, clip: Clip, codec: str) -> Clip:
        """Synthesises one source."""
        return with_audio(clip, sources_of(clip)[int(clip.attributes["channel"])], codec)
