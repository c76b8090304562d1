"""Copies of AudioSet as others keep them, made by their libraries; and runs from them."""

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import datasets
import numpy as np
import soundfile
import webdataset

from audioset_runs import lists, video
from slvr.ingest.cli import main
from slvr.shards.read import ShardDirectory
from slvr.shards.rows import Row, read_rows

N = 6
LACKING = video(2)
"""Asked for, and in no mirror."""
SECONDS = 1.5
LINES = [f'{video(i)}, 0.500, 2.000, "{("/m/09x0r", "/t/dd00088")[i % 2]}"' for i in range(N)]


def sound(seed: int, seconds: float = SECONDS, rate_hz: int = 48_000, form: str = "FLAC") -> bytes:
    """Noise in a file."""
    samples = np.random.default_rng(seed).uniform(-0.3, 0.3, round(seconds * rate_hz))
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=form, subtype="PCM_24")
    return file.getvalue()


def sounds() -> dict[str, bytes]:
    """Id -> audio file, of all that mirrors hold: one is lacking, one nobody asks for."""
    held = {video(i): sound(i) for i in range(N) if video(i) != LACKING}
    return {"zzzzzzzzzzz": sound(99)} | held


def parquet(folder: Path, held: Mapping[str, bytes]) -> None:
    """As `datasets` writes it; the mirror's labels are another set."""
    columns = {
        "video_id": list(held),
        "audio": [{"bytes": content, "path": f"{key}.flac"} for key, content in held.items()],
        "labels": [["/m/other"]] * len(held),
    }
    (folder / "data" / "bal_train").mkdir(parents=True)
    # cast, since to encode samples it would want torchcodec
    audio = datasets.Audio(sampling_rate=48_000, decode=False)
    made = datasets.Dataset.from_dict(columns).cast_column("audio", audio)
    for i in range(2):
        part = made.shard(2, i, contiguous=True)
        part.to_parquet(str(folder / "data" / "bal_train" / f"{i:02d}.parquet"), batch_size=2)


def nameless(folder: Path, held: Mapping[str, bytes]) -> None:
    """As the webdataset library writes samples whose JSON alone tells the id."""
    with webdataset.TarWriter(str(folder / "shard-00000.tar")) as tar:
        for i, (key, content) in enumerate(held.items()):
            about = {"id": f"Y{key}", "label": ["Other"], "label_id": [0]}
            tar.write({"__key__": f"sample-{i:09d}", "wav": content, "json": about})
            tar.write({"__key__": f"other-{i:09d}", "flac": b"not wanted", "json": {"n": i}})


def tars(folder: Path, held: Mapping[str, bytes], ending: str = "tar") -> None:
    """Members `audio/<split>/<id>.flac`."""
    with tarfile.open(folder / f"bal_train00.{ending}", "w:gz" if "gz" in ending else "w") as tar:
        for key, content in held.items():
            info = tarfile.TarInfo(f"audio/bal_train/{key}.flac")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    (folder / "bal_train.csv").write_text("a list beside it")


def gzipped(folder: Path, held: Mapping[str, bytes]) -> None:
    tars(folder, held, "tar.gz")


def zips(folder: Path, held: Mapping[str, bytes]) -> None:
    """As PANNs' parts."""
    with zipfile.ZipFile(folder / "unbalanced_train_segments_part00_full.zip", "w") as made:
        for i, (key, content) in enumerate(held.items()):
            kind = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[i % 2]
            made.writestr(f"part00/Y{key}.wav", content, kind)


def split_zip(folder: Path, held: Mapping[str, bytes]) -> None:
    """As `zip -s` writes it: the parts of the older copy of PANNs."""
    plain(folder / "wavs", held)
    program = shutil.which("zip")
    assert program is not None
    asked = [program, "-q", "-r", "-s", "64k", str(folder / "eval_segments.zip"), "."]
    subprocess.run(asked, cwd=folder / "wavs", check=True)
    shutil.rmtree(folder / "wavs")


def plain(folder: Path, held: Mapping[str, bytes]) -> None:
    """Files by three rules of naming, some in a folder inside."""
    (folder / "more").mkdir(parents=True)
    (folder / "class_labels_indices.csv").write_text("a list beside them")
    for i, (key, content) in enumerate(held.items()):
        form = ("{}.wav", "more/Y{}.wav", "{}_0.500.wav", "{}_500.wav", "{}_0.5_2.0.wav")[i % 5]
        (folder / form.format(key)).write_bytes(content)


MIRRORS: dict[str, Callable[[Path, Mapping[str, bytes]], None]] = {
    "parquet": parquet,
    "webdataset": nameless,
    "tar": tars,
    "tar.gz": gzipped,
    "zip": zips,
    "zip -s": split_zip,
    "folder": plain,
}


def mirror(folder: Path, kind: str, held: Mapping[str, bytes]) -> Path:
    """A mirror of one kind in a folder of its own."""
    folder.mkdir()
    MIRRORS[kind](folder, held)
    return folder


def listed(folder: Path) -> tuple[str, ...]:
    """The options that name the toy's lists."""
    given = lists(folder, LINES)
    return tuple(str(folder / text) if text.endswith(".csv") else text for text in given)


def ingest(folder: Path, location: str | Path, *options: str) -> int:
    """Runs `ingest audioset --from-mirror` of the toy's list into `folder/out`; its exit code."""
    return main(
        [
            *(
                "audioset",
                *listed(folder),
                "--from-mirror",
                str(location),
                "--out",
                str(folder / "out"),
            ),
            *("--workers", "1", "--max-fail", "1", *options),
        ]
    )


def rows(folder: Path) -> dict[str, Row]:
    """Id -> row of what a run made."""
    return {row.clip.source.id: row for row in read_rows(folder / "out" / "clips.parquet")}


def pcm_of(folder: Path) -> dict[str, str]:
    """Id -> hash of the samples, of the clips that are ok."""
    return {k: r.clip.pcm_sha256 for k, r in rows(folder).items() if r.clip.status == "ok"}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def manifest(folder: Path) -> dict[str, object]:
    """The manifest of what a run made."""
    ShardDirectory.open(folder / "out")
    loaded: dict[str, object] = json.loads((folder / "out" / "dataset.json").read_text())
    return loaded
