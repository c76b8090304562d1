"""Separated clips on disk: M - 1 channels of each, the last being what is left of the mixture.

They are clips of a shard directory of their own, `<key>-c<m>`, which any tool for shards reads.
Letters: n clips, M channels, T samples.
"""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slvr.pipeline.normalise import to_float
from slvr.pipeline.short import Short, filled
from slvr.pipeline.views.contract import Separator
from slvr.shards.audio import with_audio
from slvr.shards.clip import Clip, key_of
from slvr.shards.manifest import MANIFEST, Description
from slvr.shards.read import ClipDataset, ShardDirectory
from slvr.shards.rows import CLIPS, Row, read_rows
from slvr.shards.write import ShardWriter, finish

BYTES_A_SAMPLE = 1536
"""What a separator needs beside its weights, without gradients: measured on the CPU 1,420 bytes in
full size with the learned basis, 310 with the STFT, 220 in demo size."""
SUM_TOLERANCE = 1e-4
FULL_SCALE = 32767
DERIVED = "derived_from"
"""Where the manifest says whose channels these are."""


def fingerprint_of(separator: Separator) -> str:
    """The hash of what a separator does; empty where it does not say."""
    said = getattr(separator, "fingerprint", "")
    return str(said() if callable(said) else said)


def rows_within(memory_mb: int, n_samples: int) -> int:
    """Clips of T samples that a separator may take at once."""
    return max(1, memory_mb * 10**6 // (BYTES_A_SAMPLE * n_samples))


def check_channels(name: str, separator: Separator, device: torch.device) -> int:
    """M of a separator, tried on a quarter of a second of noise.

    Raises:
        ValueError: it gives something else than two or more channels that sum to the waveform.
    """
    noise = 0.1 * torch.randn(1, 4000, generator=torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad():
        channels = separator(noise)
    if channels.ndim != 3 or channels.shape[::2] != noise.shape or channels.shape[1] < 2:
        raise ValueError(
            f"--views.separators {name}: makes {tuple(channels.shape)} of waveforms (1, 4000), "
            "expected (1, M, 4000) with M = 2 or more channels; give another separator"
        )
    apart = float((channels.sum(1) - noise).abs().max())
    if not apart <= SUM_TOLERANCE:
        raise ValueError(
            f"--views.separators {name}: its channels sum to the waveform to {apart:.2g}, expected "
            f"{SUM_TOLERANCE:g}; give a separator with mixture consistency"
        )
    return int(channels.shape[1])


class Stored:
    """The stored channels of one separator.

    Attributes:
        n_channels: M.
    """

    def __init__(self, directory: ShardDirectory, short: Short) -> None:
        self.n_channels = int(directory.manifest.extra[DERIVED]["channels"])
        self._directory, self._short = directory, short
        self._places: dict[tuple[str, int], tuple[ClipDataset, int, float]] = {}
        for split in directory.splits:
            rows, clips = directory.clips(split), directory.dataset(split)
            for i, about in enumerate(rows["attributes"]):
                place = (clips, i, float(about["gain"]))
                self._places[about["of"], int(about["channel"])] = place
        self._pool = ThreadPoolExecutor(os.cpu_count())

    @classmethod
    def find(
        cls, folder: str, separator: tuple[str, str], shards: tuple[str, str], short: Short
    ) -> Self:
        """The channels that one separator made of some shards, among all in a folder.

        Args:
            folder: what --cache-channels filled.
            separator: its name and the hash of what it does.
            shards: where the clips come from and the hash of that.
            short: what fills clips that are shorter than asked for.

        Raises:
            ValueError: there are none, or those of other shards or separators.
        """
        name, fingerprint = separator
        found = directories_of(folder)
        for directory in found:
            derived = directory.manifest.extra[DERIVED]
            if (derived["separator"], derived["shards"]) == (fingerprint, shards[1]):
                return cls(directory, short)
        there = [
            f"{each.manifest.options['separator']} ({derived['separator'][:8]}) of "
            f"{derived['name']} ({derived['shards'][:8]})"
            for each, derived in ((each, each.manifest.extra[DERIVED]) for each in found)
        ]
        raise ValueError(
            f"--views.cache {folder}: holds the channels of {', '.join(there) or 'no separator'}; "
            f"expected those that {name} ({fingerprint[:8]}) makes of {shards[0]} "
            f"({shards[1][:8]}): write them with `train ... --cache-channels {folder}`"
        )

    def read(self, keys: Sequence[str], starts: Sequence[int], n_samples: int) -> Tensor:
        """(n, M - 1, T) float32 on the host, cut from `starts` on, and filled where too short.

        Raises:
            ValueError: a clip is not there, or a shard is damaged.
        """
        n = self.n_channels - 1
        channels = torch.empty(len(keys), n, n_samples)

        def read(i: int) -> None:
            row, m = divmod(i, n)
            if (keys[row], m) not in self._places:
                raise ValueError(
                    f"{self._directory.location}: has no channel {m} of clip {keys[row]}; write "
                    "the channels of its split too, with `train ... --cache-channels`"
                )
            clips, place, gain = self._places[keys[row], m]
            cut = clips[place][starts[row] : starts[row] + n_samples]
            wave = torch.from_numpy(filled(cut, n_samples, self._short))
            channels[row, m] = gain * to_float(wave)

        for _ in self._pool.map(read, range(len(keys) * n)):
            pass
        return channels


def directories_of(folder: str | Path) -> list[ShardDirectory]:
    """The finished directories of channels in a folder, or the one that it is.

    Raises:
        ValueError: no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(
            f"{folder}: no such folder; write channels with `train ... --cache-channels {folder}`"
        )
    manifests = [folder / MANIFEST, *sorted(folder.glob(f"*/{MANIFEST}"))]
    opened = [ShardDirectory.open(path.parent) for path in manifests if path.is_file()]
    return [directory for directory in opened if DERIVED in directory.manifest.extra]


def write_channels(
    directory: ShardDirectory,
    splits: Iterable[str],
    named: tuple[str, Separator],
    out: Path,
    device: torch.device,
    memory_mb: int,
    on_clips: Callable[[int], None] = lambda n: None,
) -> ShardDirectory:
    """Writes M - 1 channels of every clip of some splits, a shard for each of theirs.

    A clip of silence becomes a row with that status.

    Args:
        directory: the clips.
        splits: of it.
        named: the separator and what it is called.
        out: a folder that is not there, or was left unfinished.
        device: of the separator.
        memory_mb: see `rows_within`.
        on_clips: called with the number of clips that were done.
    """
    name, separator = named
    n_channels = check_channels(name, separator, device)
    out.mkdir(parents=True, exist_ok=True)
    clips = {row.clip.key: row.clip for row in read_rows(directory.path / CLIPS)}
    codec = directory.manifest.codec
    rows: list[Row] = []
    infos = []
    for split in splits:
        table, pcms = directory.clips(split), directory.dataset(split)
        for shard, part in table.groupby("shard"):
            made: list[Clip] = []
            for chunk in _chunks(list(part.index), pcms, memory_mb):
                waves = to_float(torch.from_numpy(np.stack([pcms[i] for i in chunk])))
                with torch.no_grad():
                    channels = separator(waves.to(device))[:, :-1].float().cpu()
                some = [clips[pcms.keys[i]] for i in chunk]
                made += _of_clips(some, waves.any(1).tolist(), channels.numpy(), codec)
                on_clips(len(chunk))
            with ShardWriter(out, str(shard).removesuffix(".tar"), split, codec) as writer:
                for clip in sorted(made, key=lambda clip: clip.key):
                    writer.write(clip)
            assert writer.info is not None
            rows += writer.rows
            if writer.info.n:
                infos.append(writer.info)
            else:
                writer.path.unlink()
                writer.path.with_suffix(".idx").unlink()
    source = directory.manifest
    derived = {
        "shards": directory.fingerprint,
        "name": directory.name,
        "separator": fingerprint_of(separator),
        "channels": n_channels,
    }
    about = Description(
        name=f"{directory.name}-channels",
        recipe="channels",
        recipe_version="1",
        options={"separator": name},
        tool_versions={"torch": torch.__version__},
        licence=source.licence,
        citation=source.citation,
        homepage=source.homepage,
        codec=codec,
        sample_rate_hz=source.sample_rate_hz,
        labels={},
        extra={DERIVED: derived},
    )
    finish(out, rows, infos, about)
    return ShardDirectory.open(out)


def _chunks(rows: list[int], pcms: ClipDataset, memory_mb: int) -> Iterator[list[int]]:
    """Clips of equal length, as many as fit into the memory, in order."""
    for n_samples, equal in groupby(rows, key=lambda i: int(pcms.n_samples[i])):
        run = list(equal)
        n = rows_within(memory_mb, n_samples)
        yield from (run[i : i + n] for i in range(0, len(run), n))


def _of_clips(
    clips: Sequence[Clip], sounding: Sequence[bool], channels: npt.NDArray[np.float32], codec: str
) -> Iterator[Clip]:
    """The first M - 1 channels (n, M - 1, T) of clips in a shard's form.

    `attributes.gain` is 1, and more where a channel is louder than full scale: what is stored,
    times that, is the channel.
    """
    for clip, heard, stored in zip(clips, sounding, channels, strict=True):
        for m, wave in enumerate(stored):
            gain = 1.0
            while np.abs(wave).max(initial=0) * 32768 > gain * FULL_SCALE:
                gain *= 2
            derived = dataclasses.replace(
                clip,
                key=key_of(f"{clip.key}-c{m}"),
                labels=(),
                events=(),
                attributes={"of": clip.key, "channel": m, "gain": gain},
            )
            if heard:
                pcm = np.round(wave / gain * 32768).astype(np.int16)
                yield with_audio(derived, pcm, codec)
            else:
                yield derived.failed("silent", "silent", "every sample of its clip is zero")
