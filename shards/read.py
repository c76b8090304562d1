"""Reading a shard directory: by position (exact shuffle, resumable) or as a stream.

Letters: T samples.
"""

import hashlib
import json
import os
import random
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from slvr.shards.audio import decode
from slvr.shards.clip import OK, SAMPLE_RATE_HZ
from slvr.shards.files import is_remote, open_file
from slvr.shards.manifest import MANIFEST, Manifest, ShardInfo
from slvr.shards.rows import CLIPS, COLUMNS, read_table

Pcm = npt.NDArray[np.int16]


class ShardDirectory:
    """A finished shard directory, here or remote.

    Attributes:
        location: its path or URL.
        manifest: the content of `dataset.json`.
        fingerprint: SHA-256 of `dataset.json`, which holds the hash of everything else.
    """

    def __init__(self, location: str, manifest: Manifest, fingerprint: str) -> None:
        self.location = location
        self.manifest = manifest
        self.fingerprint = fingerprint

    @classmethod
    def open(cls, path: str | Path, sample_rate_hz: int = SAMPLE_RATE_HZ) -> "ShardDirectory":
        """Opens a directory, or a URL (s3://, https://, gs://), after a look at its manifest.

        Raises:
            ValueError: no directory, unfinished, no manifest of ours, or another sample rate.
        """
        location = str(path).rstrip("/")
        if not is_remote(location) and not Path(location).is_dir():
            raise ValueError(f"{path}: no such shard directory; make one with `ingest`")
        try:
            with open_file(f"{location}/{MANIFEST}") as file:
                content = file.read()
        except FileNotFoundError as error:
            begun = (".tar", ".parquet", ".sqlite")
            here = Path(location)
            if here.is_dir() and not any(path.suffix in begun for path in here.iterdir()):
                raise ValueError(
                    f"{path}: no shard directory, {MANIFEST} is not there; make one with `ingest`, "
                    f"of a folder of sounds with `ingest folder {path}`"
                ) from error
            raise ValueError(
                f"{path}: incomplete, {MANIFEST} is missing (it is written last); run the same "
                f"`ingest ... --out {path}` again, it goes on where it stopped"
            ) from error
        manifest = Manifest.from_json(content.decode(errors="replace"), f"{location}/{MANIFEST}")
        if manifest.sample_rate_hz != sample_rate_hz:
            raise ValueError(
                f"{path}: shards of {manifest.sample_rate_hz} Hz, expected {sample_rate_hz} Hz; "
                f"build them again with `ingest ...`, it resamples to {SAMPLE_RATE_HZ} Hz"
            )
        return cls(location, manifest, hashlib.sha256(content).hexdigest())

    @property
    def path(self) -> Path:
        """The directory, where it is here.

        Raises:
            ValueError: it is remote.
        """
        if is_remote(self.location):
            raise ValueError(
                f"{self.location}: remote shards can only be streamed, by `train`; for anything "
                "else copy the directory here"
            )
        return Path(self.location)

    @property
    def name(self) -> str:
        """The name of the data set."""
        return self.manifest.name

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, sorted."""
        return tuple(sorted(self.manifest.counts))

    def rows(self) -> pd.DataFrame:
        """`clips.parquet` as a frame: one row for every clip that was asked for.

        `labels` are lists, `events` lists of {label, start_s, end_s}, `attributes` dicts.

        Raises:
            ValueError: as `shards.rows.read_table`, or a cell that is not what its column says.
        """
        rows: pd.DataFrame = read_table(f"{self.location}/{CLIPS}").to_pandas()
        for column in COLUMNS:
            if column.is_mapping:
                rows[column.name] = rows[column.name].map(_mapping)
            elif pa.types.is_list(column.type):
                rows[column.name] = rows[column.name].map(list)
        return rows

    def pcm_sha256(self) -> list[str]:
        """Hashes of the samples of every clip that is there, of all splits."""
        table = read_table(f"{self.location}/{CLIPS}", ["status", "pcm_sha256"])
        hashes: list[str] = table.filter(pc.equal(table["status"], OK))["pcm_sha256"].to_pylist()
        return hashes

    def clips(self, split: str, only: Collection[str] | None = None) -> pd.DataFrame:
        """The rows of the clips of a split that are there, in the order of `dataset(split)`.

        Args:
            split: its name.
            only: hashes of samples, see `shards.common.pcm_hashes`: clips with other ones are left
                out.

        Raises:
            ValueError: no such split, or no clip of it is in `only`.
        """
        if split not in self.splits:
            raise ValueError(
                f"{self.location}: no split {split!r}; expected one of {', '.join(self.splits)}"
            )
        rows = self.rows()
        wanted = rows[(rows["split"] == split) & (rows["status"] == OK)]
        ordered = wanted.sort_values(["shard", "audio_offset_bytes"], ignore_index=True)
        assert len(ordered) == self.manifest.counts[split].get(OK, 0)
        if only is None:
            return ordered
        common = ordered[ordered["pcm_sha256"].isin(set(only))]
        if common.empty:
            raise ValueError(
                f"{self.location}: none of the {len(ordered)} clips of split {split} has the same "
                "samples as a clip of the other table; give the clips.parquet of a directory made "
                "from the same list"
            )
        return common.reset_index(drop=True)

    def dataset(
        self,
        split: str,
        keep: Callable[[str], bool] | None = None,
        only: Collection[str] | None = None,
    ) -> "ClipDataset":
        """The clips of a split, by position.

        Args:
            split: its name.
            keep: says yes or no to a key.
            only: as in `clips`.

        Raises:
            ValueError: as `clips`.
        """
        clips = self.clips(split, only)
        if keep is not None:
            clips = clips[[keep(key) for key in clips["key"]]]
        return ClipDataset(self.path, clips)

    def stream(
        self, split: str, seed: int = 0, epoch: int = 0, shuffle_buffer: int = 1000
    ) -> Iterator[tuple[str, Pcm, dict[str, Any]]]:
        """Key, samples (T,) int16 and `<key>.json` of each clip, read from end to end.

        The order of the shards is a permutation drawn from (seed, epoch), the clips go through a
        buffer of `shuffle_buffer` (1: no shuffling), both the same at every call; processes and
        DataLoader workers share the shards.
        """
        import webdataset as wds  # noqa: PLC0415 - loads torch

        shards = self.shards(split, seed, epoch) if shuffle_buffer > 1 else self.shards(split)
        for key, audio, fields in self.members(
            shards, seed, epoch, shuffle_buffer, wds.split_by_node, wds.split_by_worker
        ):
            yield key, decode(audio), json.loads(fields)

    def shards(self, split: str, seed: int | None = None, epoch: int = 0) -> list[ShardInfo]:
        """The shards of a split; with a seed in an order drawn from (seed, epoch)."""
        shards = [shard for shard in self.manifest.shards if shard.split == split]
        if seed is not None:
            random.Random(f"{seed} {epoch}").shuffle(shards)
        return shards

    def members(
        self,
        shards: list[ShardInfo],
        seed: int,
        epoch: int,
        shuffle_buffer: int,
        *splitters: Callable[[Any], Any],
    ) -> Iterator[tuple[str, bytes, bytes]]:
        """Key, audio member and `<key>.json` of each clip of some shards, as they are stored.

        Args:
            shards: what to read, in order.
            seed: with the epoch, of the shuffling.
            epoch: see `seed`.
            shuffle_buffer: clips that wait to be drawn; 1 keeps the order.
            splitters: of the webdataset library, that choose among the shards.
        """
        import webdataset as wds  # noqa: PLC0415 - loads torch

        order = random.Random(f"{seed} {epoch} clips")
        stages = (
            wds.SimpleShardList([f"{self.location}/{shard.name}" for shard in shards]),
            *splitters,
            _read_shards,
            wds.shuffle(shuffle_buffer, initial=shuffle_buffer, rng=order),
            wds.to_tuple("__key__", self.manifest.codec, "json"),
        )
        return iter(wds.DataPipeline(*stages))


def _mapping(cell: str) -> dict[str, Any]:
    """The JSON object of a cell of `clips.parquet`."""
    try:
        mapping = json.loads(cell)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{CLIPS}: a cell {cell[:80]!r} is no JSON: {error}") from error
    if not isinstance(mapping, dict):
        raise ValueError(f"{CLIPS}: a cell {cell[:80]!r} is no JSON object")
    return mapping


def _read_shards(shards: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The stage of a webdataset pipeline from the names of tars to samples."""
    from webdataset.tariterators import (  # noqa: PLC0415 - loads torch
        group_by_keys,
        tar_file_iterator,
    )

    for shard in shards:
        url = shard["url"]
        try:
            with open_file(url) as stream:
                files = (file | {"__url__": url} for file in tar_file_iterator(stream))
                yield from group_by_keys(files)
        except Exception as error:  # of tarfile, of the network, of a file system of fsspec
            raise ValueError(
                f"{url}: cannot be read to its end: {error.__cause__ or error}"
            ) from error


class ClipDataset:
    """Clips by position: `dataset[i]` is (T,) int16, mono, read with one seek.

    Safe over threads, forks and pickling: reads are positioned and share no file offset.

    Attributes:
        keys: of each clip.
        n_samples: length of each clip.
        recordings: number of the recording of each clip; clips of equal samples have the same.
    """

    def __init__(self, directory: Path, clips: pd.DataFrame) -> None:
        self._directory = directory
        self._names = sorted(set(clips["shard"]))
        index = {name: i for i, name in enumerate(self._names)}
        self._shard = clips["shard"].map(index).to_numpy(np.int32)
        self._offset_bytes = clips["audio_offset_bytes"].to_numpy(np.int64)
        self._length_bytes = clips["audio_length_bytes"].to_numpy(np.int64)
        self.keys: list[str] = clips["key"].tolist()
        self.n_samples = clips["n_samples"].to_numpy(np.int64)
        self.recordings: npt.NDArray[np.int64] = pd.factorize(clips["pcm_sha256"])[0]
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
                opened = os.open(path, os.O_RDONLY)
                if self._files.setdefault(shard, opened) != opened:  # another thread was faster
                    os.close(opened)
            length = int(self._length_bytes[i])
            member = os.pread(self._files[shard], length, int(self._offset_bytes[i]))
            if len(member) != length:
                raise ValueError(f"ends early: {len(member)} of {length} bytes")
            return decode(member)
        except (ValueError, FileNotFoundError) as error:
            raise ValueError(
                f"{path}: clip {self.keys[i]}: {error}; run `ingest verify {self._directory}`"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": {}}

    def __del__(self) -> None:
        for descriptor in self.__dict__.get("_files", {}).values():
            os.close(descriptor)
