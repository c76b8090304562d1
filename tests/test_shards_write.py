import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import soundfile
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import described, noise, write_directory
from slvr.shards.audio import decode, encode, pcm_sha256, with_audio
from slvr.shards.clip import Clip, Source
from slvr.shards.manifest import ShardInfo
from slvr.shards.read import ShardDirectory
from slvr.shards.rows import Row
from slvr.shards.verify import verify
from slvr.shards.write import ShardWriter, finish

MakeDirectory = Callable[..., ShardDirectory]


def test_same_clips_same_bytes(make_directory: MakeDirectory) -> None:
    a, b = make_directory("a/data"), make_directory("b/data")
    names = {path.name for path in a.path.iterdir()}
    assert names > {"train-000000.tar", "clips.parquet", "croissant.json", "dataset.json"}
    for name in names:
        assert (a.path / name).read_bytes() == (b.path / name).read_bytes()


def test_the_order_of_rows_leaves_no_trace(tmp_path: Path) -> None:
    fates = [("b", "ok"), ("a", "silent"), ("b", "gone"), ("a", "ok"), ("b", "corrupt")]
    made = []
    for order in (fates, fates[::-1], sorted(fates)):
        path = tmp_path / f"{len(made)}" / "data"
        path.mkdir(parents=True)
        rows = [
            Row(Clip(f"{split}_{status}", split, Source("x"), status=status))
            for split, status in order
        ]
        shard = ShardInfo("a-000000.tar", "a", 1, "0", 2)  # in place of two shards of one clip
        finish(path, rows, [shard], described("data"))
        made.append({file.name: file.read_bytes() for file in path.iterdir()})
    assert made[0] == made[1] == made[2]
    counts = json.loads(made[0]["dataset.json"])["counts"]
    assert [(split, list(statuses)) for split, statuses in counts.items()] == [
        ("a", ["ok", "silent"]),
        ("b", ["corrupt", "gone", "ok"]),
    ]


def test_members_are_sorted_and_anonymous(make_directory: MakeDirectory) -> None:
    directory = make_directory()
    with tarfile.open(directory.path / "train-000000.tar") as tar:
        members = tar.getmembers()
    names = [member.name for member in members]
    assert names == sorted(names) and len(names) == 12
    assert {(m.mtime, m.uid, m.gid, m.mode) for m in members} == {(0, 0, 0, 0o444)}


def test_the_bytes_are_those_that_tarfile_writes(make_directory: MakeDirectory) -> None:
    path = make_directory().path / "train-000000.tar"
    again = io.BytesIO()
    with (
        tarfile.open(path) as tar,
        tarfile.open(fileobj=again, mode="w", format=tarfile.USTAR_FORMAT) as copy,
    ):
        for member in tar:
            copy.addfile(member, tar.extractfile(member))
    assert path.read_bytes() == again.getvalue()


@pytest.mark.parametrize("codec", ["flac", "wav"])
def test_tarfile_and_soundfile_alone_read_every_clip(
    make_directory: MakeDirectory, codec: str
) -> None:
    directory = make_directory(codec=codec)
    seen = 0
    for path in directory.path.glob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                if not member.name.endswith(codec):
                    continue
                content = tar.extractfile(member).read()
                pcm, rate = soundfile.read(io.BytesIO(content), dtype="int16")
                i = int(member.name[5:9])
                np.testing.assert_array_equal(pcm, noise(len(pcm), i))
                assert rate == 16_000
                seen += 1
    assert seen == 12


def test_the_webdataset_library_reads_them(make_directory: MakeDirectory) -> None:
    directory = make_directory()
    urls = [str(path) for path in sorted(directory.path.glob("*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert len(samples) == 12
    for sample in samples:
        fields = json.loads(sample["json"])
        assert fields["key"] == sample["__key__"]
        assert pcm_sha256(decode(sample["flac"])) == fields["pcm_sha256"]


def test_hugging_face_datasets_streams_them(
    make_directory: MakeDirectory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    datasets = pytest.importorskip("datasets")
    directory = make_directory()
    files = [str(path) for path in sorted(directory.path.glob("*.tar"))]
    # bytes in place of its Audio feature, which needs torchcodec and a system FFmpeg
    text, number = datasets.Value("string"), datasets.Value("float64")
    features = datasets.Features(
        {
            "__key__": text,
            "flac": datasets.Value("binary"),
            "json": {
                "pcm_sha256": text,
                "events": [{"label": text, "start_s": number, "end_s": number}],
                "attributes": {"pitch": datasets.Value("int64"), "level_db": number},
            },
        }
    )
    stream = datasets.load_dataset(
        "webdataset", data_files={"train": files}, split="train", streaming=True, features=features
    )
    samples = list(stream)
    assert sorted(sample["__key__"] for sample in samples) == [f"clip_{i:04d}" for i in range(12)]
    for sample in samples:
        fields, i = sample["json"], int(sample["__key__"][5:])
        assert pcm_sha256(decode(sample["flac"])) == fields["pcm_sha256"]
        assert fields["attributes"] == {"pitch": i, "level_db": -i / 4}
        assert [event["label"] for event in fields["events"]] == ["click"] * (i % 2 == 0)


def test_the_index_is_the_one_of_wds2idx(make_directory: MakeDirectory) -> None:
    """Format 1.2 of DALI: suffix, offset of the content, size, name of each member."""
    directory = make_directory()
    tar_path = directory.path / "train-000001.tar"
    content = tar_path.read_bytes()
    header, *lines = tar_path.with_suffix(".idx").read_text().splitlines()
    assert header == "v1.2 6" and len(lines) == 6
    with tarfile.open(tar_path) as tar:
        for line in lines:
            words = line.split(" ")
            for suffix, offset, size, name in (words[:4], words[4:]):
                assert name.endswith(f".{suffix}")
                part = content[int(offset) : int(offset) + int(size)]
                assert part == tar.extractfile(name).read()


def test_nothing_appears_after_an_exception(tmp_path: Path) -> None:
    clip = with_audio(Clip(key="a", split="t", source=Source("u")), noise(100, 0), "flac")
    with pytest.raises(RuntimeError), ShardWriter(tmp_path, "t-000000", "t", "flac") as writer:
        writer.write(clip)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@given(
    st.lists(st.integers(-32768, 32767), min_size=1, max_size=400), st.sampled_from(["flac", "wav"])
)
def test_samples_survive_the_codec(values: list[int], codec: str) -> None:
    pcm = np.array(values, np.int16)
    member = encode(pcm, 16_000, codec)
    np.testing.assert_array_equal(decode(member), pcm)
    assert encode(pcm, 16_000, codec) == member


@settings(max_examples=15, deadline=None)
@given(
    n_clips=st.integers(1, 9),
    n_shards=st.integers(1, 3),
    n_classes=st.integers(0, 3),
    codec=st.sampled_from(["flac", "wav"]),
    lengths_s=st.lists(st.floats(1e-4, 0.05), min_size=1, max_size=3).map(tuple),
)
def test_whatever_is_written_is_intact_and_read_back(
    n_clips: int, n_shards: int, n_classes: int, codec: str, lengths_s: tuple[float, ...]
) -> None:
    lengths_s = tuple(max(length, 1 / 16_000) for length in lengths_s)
    with TemporaryDirectory() as folder:
        directory = write_directory(
            Path(folder) / "data", n_clips, min(n_shards, n_clips), n_classes, codec, lengths_s
        )
        assert verify(directory) == []
        clips, dataset = directory.clips("train"), directory.dataset("train")
        assert len(dataset) == n_clips
        for i, key in enumerate(clips["key"]):
            np.testing.assert_array_equal(dataset[i], noise(len(dataset[i]), int(key[5:])))
