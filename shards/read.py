"""Reading a shard directory: by position (exact shuffle, resumable) or as a stream.

Letters: T samples.
"""

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq
import webdataset as wds

from shards.audio import decode
from shards.clip import OK, SAMPLE_RATE_HZ
from shards.files import file_sha256
from shards.manifest import CLIPS, MANIFEST, Manifest

Pcm = npt.NDArray[np.int16]


class ShardDirectory:
    """A finished shard directory.

    Attributes:
        path: the directory.
        manifest: the content of `dataset.json`.
        fingerprint: SHA-256 of `dataset.json`, which holds the hash of everything else.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self.fingerprint = file_sha256(path / MANIFEST)

    @classmethod
    def open(cls, path: str | Path, sample_rate_hz: int = SAMPLE_RATE_HZ) -> "ShardDirectory":
        """Opens a directory after a look at its manifest.

        Raises:
            ValueError: no directory, unfinished, no manifest of ours, or another sample rate.
        """
        path = Path(path)
        if not path.is_dir():
            raise ValueError(f"{path}: no such shard directory; make one with `ingest`")
        if not (path / MANIFEST).is_file():
            raise ValueError(
                f"{path}: incomplete, {MANIFEST} is missing (it is written last); run the same "
                f"`ingest ... --out {path}` again, it goes on where it stopped"
            )
        try:
            manifest = Manifest.from_json((path / MANIFEST).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(
                f"{path / MANIFEST}: {error}; rebuild the directory with `ingest ...`"
            ) from error
        if manifest.sample_rate_hz != sample_rate_hz:
            raise ValueError(
                f"{path}: shards of {manifest.sample_rate_hz} Hz, expected {sample_rate_hz} Hz; "
                f"build them again with `ingest ...`, it resamples to {SAMPLE_RATE_HZ} Hz"
            )
        return cls(path, manifest)

    @property
    def name(self) -> str:
        """The name of the data set."""
        return self.manifest.name

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, sorted."""
        return tuple(sorted(self.manifest.counts))

    def rows(self) -> pd.DataFrame:
        """`clips.parquet`: one row for every clip that was asked for."""
        rows: pd.DataFrame = pq.read_table(self.path / CLIPS).to_pandas()
        rows["labels"] = rows["labels"].map(list)
        return rows

    def clips(self, split: str) -> pd.DataFrame:
        """The rows of the clips of a split that are there, in the order of `dataset(split)`.

        Raises:
            ValueError: no such split.
        """
        if split not in self.splits:
            raise ValueError(
                f"{self.path}: no split {split!r}; expected one of {', '.join(self.splits)}"
            )
        rows = self.rows()
        wanted = rows[(rows["split"] == split) & (rows["status"] == OK)]
        ordered = wanted.sort_values(["shard", "audio_offset_bytes"], ignore_index=True)
        assert len(ordered) == self.manifest.counts[split].get(OK, 0)
        return ordered

    def dataset(self, split: str) -> "ClipDataset":
        """The clips of a split, by position."""
        return ClipDataset(self.path, self.clips(split))

    def stream(
        self, split: str, seed: int = 0, epoch: int = 0, shuffle_buffer: int = 1000
    ) -> Iterator[tuple[str, Pcm, dict[str, Any]]]:
        """Key, samples (T,) int16 and `<key>.json` of each clip, read from end to end.

        The order of the shards is a permutation drawn from (seed, epoch), the clips go through a
        buffer of `shuffle_buffer` (1: no shuffling), both the same at every call; processes and
        DataLoader workers share the shards.
        """
        shards = [str(self.path / s.name) for s in self.manifest.shards if s.split == split]
        order = random.Random(f"{seed} {epoch}")
        if shuffle_buffer > 1:
            order.shuffle(shards)
        codec = self.manifest.codec
        return iter(
            wds.DataPipeline(
                wds.SimpleShardList(shards),
                wds.split_by_node,
                wds.split_by_worker,
                wds.tarfile_to_samples(),
                wds.shuffle(shuffle_buffer, initial=shuffle_buffer, rng=order),
                wds.to_tuple("__key__", codec, "json"),
                wds.map_tuple(str, decode, json.loads),
            )
        )


class ClipDataset:
    """Clips by position: `dataset[i]` is (T,) int16, mono, read with one seek.

    Safe over threads, forks and pickling: reads are positioned and share no file offset.
    """

    def __init__(self, directory: Path, clips: pd.DataFrame) -> None:
        self._directory = directory
        self._names = sorted(set(clips["shard"]))
        index = {name: i for i, name in enumerate(self._names)}
        self._shard = clips["shard"].map(index).to_numpy(np.int32)
        self._offset_bytes = clips["audio_offset_bytes"].to_numpy(np.int64)
        self._length_bytes = clips["audio_length_bytes"].to_numpy(np.int64)
        self._keys = clips["key"].tolist()
        self._files: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._offset_bytes)

    def __getitem__(self, i: int) -> Pcm:
        """The samples of clip i.

        Raises:
            ValueError: the shard is missing or damaged; `ingest verify` names what else is.
        """
        shard = int(self._shard[i])
        path = self._directory / self._names[shard]
        try:
            if shard not in self._files:
                self._files[shard] = os.open(path, os.O_RDONLY)
            length = int(self._length_bytes[i])
            member = os.pread(self._files[shard], length, int(self._offset_bytes[i]))
            if len(member) != length:
                raise ValueError(f"ends early: {len(member)} of {length} bytes")
            return decode(member)
        except (ValueError, FileNotFoundError) as error:
            raise ValueError(
                f"{path}: clip {self._keys[i]}: {error}; run `ingest verify {self._directory}`"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": {}}

    def __del__(self) -> None:
        for descriptor in self.__dict__.get("_files", {}).values():
            os.close(descriptor)
