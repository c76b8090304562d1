"""Anybody's own audio: a folder whose sub-folders are the classes."""

import functools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from slvr.ingest.decode import declared_duration_s, decoded_clip
from slvr.ingest.endings import AUDIO_ENDINGS, UNSURE_ENDINGS, begins_like_audio, ending_of
from slvr.ingest.measure import durations_s
from slvr.ingest.names import path_of, printable
from slvr.ingest.recipe import ClipPlan
from slvr.shards.clip import SAMPLE_RATE_HZ, Clip, Source, key_of

SHOWN_ENDINGS = 8
"""Endings of other files that are named one by one."""


@dataclass(frozen=True)
class Folder:
    """Ingests the audio files of a folder; the first sub-folder level names the classes."""

    NAME: ClassVar[str] = "folder"
    VERSION: ClassVar[str] = "1"
    LICENCE: ClassVar[str] = "as stated by the owner of the recordings"
    CITATION: ClassVar[str] = ""
    HOMEPAGE: ClassVar[str] = ""
    ONLINE: ClassVar[bool] = False
    MAX_FAIL: ClassVar[float] = 0.01
    RETRY_OPTIONS: ClassVar[tuple[str, ...]] = ()

    path: str
    """Folder with the audio files; wav, flac, ogg, opus, mp3, m4a, webm and more, any rate."""
    unlabelled: bool = False
    """Take every file below the folder, without classes."""
    split: str = "train"
    """Name of the split that the clips go to."""
    max_s: float = 3600.0
    """Longest clip that is accepted, in seconds, above 0."""

    @property
    def directory(self) -> str:
        """Name of the shard directory if none is given."""
        return printable(Path(self.path).resolve().name)

    def plan(self, cache: Path) -> ClipPlan:
        """Every audio file below the folder."""
        root = Path(self.path)
        if not root.is_dir():
            raise ValueError(f"{root}: no such folder; give the folder that holds the audio files")
        files = sorted(
            path
            for path in root.rglob("*")
            if path.is_file() and not any(p.startswith(".") for p in path.relative_to(root).parts)
        )
        audio = [path for path in files if _is_audio(path)]
        if not audio:
            raise ValueError(
                f"{root}: no audio file among {len(files)} files"
                + (f" ({_by_ending(root, files)})" if files else "")
                + f"; expected {', '.join(sorted(AUDIO_ENDINGS))}"
            )
        loose = [path for path in audio if path.parent == root]
        if loose and not self.unlabelled:
            raise ValueError(
                f"{root}: {len(loose)} audio files, for example {printable(loose[0].name)}, lie in "
                "no sub-folder, expected class sub-folders; move them or add --unlabelled"
            )
        uris = [printable(path.relative_to(root).as_posix()) for path in audio]
        _check_distinct(root, uris)
        seconds = durations_s("measure", uris, functools.partial(_declared_s, root))
        clips = tuple(map(self._planned, uris, seconds))
        labels = sorted({label for clip in clips for label in clip.labels})
        others = sorted(set(files) - set(audio))
        ignored = f"{len(others)} other files are ignored, no audio by their endings: "
        return ClipPlan(
            clips=clips,
            labels={label: label for label in labels},
            options={"unlabelled": self.unlabelled, "split": self.split, "max_s": self.max_s},
            notes=(ignored + _by_ending(root, others),) if others else (),
        )

    def _planned(self, uri: str, declared_s: float | None) -> Clip:
        return Clip(
            key=key_of(uri),
            split=self.split,
            source=Source(uri),
            labels=() if self.unlabelled else (uri.partition("/")[0],),
            n_samples=round((declared_s or 0.0) * SAMPLE_RATE_HZ),
        )

    def make(self, clip: Clip, codec: str) -> Clip:
        """Decodes one file."""
        return decoded_clip(clip, path_of(Path(self.path), clip.source.uri), codec, self.max_s)


def _is_audio(path: Path) -> bool:
    ending = ending_of(path.name)
    return ending in AUDIO_ENDINGS or (ending in UNSURE_ENDINGS and begins_like_audio(path))


def _declared_s(root: Path, uri: str) -> float | None:
    return declared_duration_s(path_of(root, uri))


def _check_distinct(root: Path, uris: Iterable[str]) -> None:
    """Raises ValueError where a name that is no UTF-8 is spelled like another file's."""
    uri, n = Counter(uris).most_common(1)[0]
    if n > 1:
        raise ValueError(
            f"{root}: two files are written {uri}, one of them in bytes that are no UTF-8; rename "
            "one of them"
        )


def _by_ending(root: Path, files: list[Path]) -> str:
    """How many files have which ending, each with an example."""
    examples: dict[str, Path] = {}
    n_of: Counter[str] = Counter()
    for path in files:
        n_of[ending_of(path.name)] += 1
        examples.setdefault(ending_of(path.name), path.relative_to(root))
    named = [
        f"{n} {ending or 'without an ending'} (e.g. {printable(examples[ending].as_posix())})"
        for ending, n in n_of.most_common(SHOWN_ENDINGS)
    ]
    n_more = len(n_of) - len(named)
    return ", ".join(named) + (f", and {n_more} more endings" if n_more else "")
