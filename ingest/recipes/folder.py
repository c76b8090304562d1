"""Anybody's own audio: a folder whose sub-folders are the classes."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from slvr.ingest.decode import declared_duration_s, decoded_clip
from slvr.ingest.recipe import ClipPlan
from slvr.shards.clip import SAMPLE_RATE_HZ, Clip, Source, key_of

SUFFIXES = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".mp4", ".aac", ".webm", ".mka"}
    | {".mkv", ".aif", ".aiff", ".wma"}
)


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
        return Path(self.path).resolve().name

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
        audio = [path for path in files if path.suffix.lower() in SUFFIXES]
        if not audio:
            raise ValueError(
                f"{root}: no audio file among {len(files)} files; expected "
                f"{', '.join(sorted(SUFFIXES))}"
            )
        loose = [path for path in audio if path.parent == root]
        if loose and not self.unlabelled:
            raise ValueError(
                f"{root}: {len(loose)} audio files, for example {loose[0].name}, lie in no "
                "sub-folder, expected class sub-folders; move them or add --unlabelled"
            )
        clips = tuple(self._planned(root, path) for path in audio)
        labels = sorted({label for clip in clips for label in clip.labels})
        ignored = len(files) - len(audio)
        return ClipPlan(
            clips=clips,
            labels={label: label for label in labels},
            options={"unlabelled": self.unlabelled, "split": self.split, "max_s": self.max_s},
            notes=(f"{ignored} other files are ignored",) if ignored else (),
        )

    def _planned(self, root: Path, path: Path) -> Clip:
        relative = path.relative_to(root)
        return Clip(
            key=key_of(relative.as_posix()),
            split=self.split,
            source=Source(relative.as_posix()),
            labels=() if self.unlabelled else (relative.parts[0],),
            n_samples=round((declared_duration_s(path) or 0.0) * SAMPLE_RATE_HZ),
        )

    def make(self, clip: Clip, codec: str) -> Clip:
        """Decodes one file."""
        return decoded_clip(clip, Path(self.path) / clip.source.uri, codec, self.max_s)
