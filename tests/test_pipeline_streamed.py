"""Shards behind URLs, on loopback; that the loader keeps to the contract: test_pipeline_loader."""

import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from conftest import run, write_directory
from loopback import Route, serve
from slvr.pipeline.loaders.batching import Batching
from slvr.pipeline.loaders.streamed import StreamedLoader
from slvr.shards.read import ShardDirectory

MakeDirectory = Callable[..., ShardDirectory]
BATCHING = Batching(4, 4000, seed=3)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> ShardDirectory:
    path = tmp_path_factory.mktemp("shards") / "data"
    return write_directory(path, n_clips=24, n_shards=4, lengths_s=(0.25,))


@pytest.fixture(scope="module")
def s3(local: ShardDirectory) -> Iterator[str]:
    """The directory in a bucket of an S3 server."""
    with pytest.MonkeyPatch.context() as environment:
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            environment.setenv(name, value)
        import s3fs

        files = s3fs.S3FileSystem(skip_instance_cache=True)
        files.mkdir("bucket")
        files.put(str(local.path), "bucket/sets/", recursive=True)
        yield "s3://bucket/sets/data"
        server.stop()


def routes(directory: ShardDirectory, ranges: bool = True) -> dict[str, Route]:
    return {
        f"/data/{path.name}": Route(path.read_bytes(), "application/octet-stream", ranges=ranges)
        for path in directory.path.iterdir()
    }


def epoch(directory: ShardDirectory, workers: int) -> list[bytes]:
    """The rows of the first 24 clips of a set of 24."""
    batches = StreamedLoader(directory, "train", BATCHING, workers).batches()
    return sorted(bytes(row) for batch in islice(batches, 6) for row in batch.pcm.numpy())


def expected(local: ShardDirectory) -> list[bytes]:
    clips = local.dataset("train")
    return sorted(bytes(clips[i]) for i in range(24))


def test_a_directory_in_s3_is_the_one_here(local: ShardDirectory, s3: str) -> None:
    directory = ShardDirectory.open(s3)
    assert directory.fingerprint == local.fingerprint and directory.manifest == local.manifest
    assert directory.rows().equals(local.rows())
    assert epoch(directory, workers=0) == expected(local)
    keys = [key for key, _, _ in directory.stream("train", seed=1)]
    assert keys == [key for key, _, _ in local.stream("train", seed=1)]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_web_server_with_and_without_ranges(local: ShardDirectory, ranges: bool) -> None:
    with serve(routes(local, ranges)) as server:
        directory = ShardDirectory.open(server.url("/data/"))
        assert directory.fingerprint == local.fingerprint
        assert directory.rows().equals(local.rows())
        assert epoch(directory, workers=0) == expected(local)


def test_workers_share_a_web_server(local: ShardDirectory) -> None:
    with serve(routes(local)) as server:
        assert epoch(ShardDirectory.open(server.url("/data")), workers=2) == expected(local)


def test_train_streams_from_s3(s3: str, tmp_path: Path) -> None:
    line = [
        "--shards",
        s3,
        "--steps",
        "4",
        "--batch",
        "8",
        "--clip-s",
        "0.25",
        "--encoder.width",
        "4",
    ]
    line += ["--encoder.dim", "20", "--log-every", "1", "--accelerator", "cpu", "--devices", "1"]
    done = run("train", *line, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"train: clips are streamed from {s3}" in done.stderr
    assert (tmp_path / "run" / "log.csv").read_text().count("\n") == 5
    assert s3 in (tmp_path / "run" / "run.json").read_text()


def test_a_resume_does_not_read_the_epochs_before(local: ShardDirectory) -> None:
    with serve(routes(local)) as server:
        loader = StreamedLoader(ShardDirectory.open(server.url("/data")), "train", BATCHING, 0)
        whole = list(islice(loader.batches(), 20))
        server.requests.clear()
        resumed = next(loader.batches(19))  # clips 76 to 80: in the fourth epoch of 24
        assert bytes(resumed.pcm.numpy()) == bytes(whole[19].pcm.numpy())
        gets = [n for path, n in server.requests.items() if path.endswith(".tar")]
        assert len(gets) == 4 and max(gets) <= 2  # its size, its content


def test_fewer_shards_than_processes_is_said(local: ShardDirectory) -> None:
    with pytest.raises(ValueError, match=r"4 shards cannot be dealt out to 5 processes"):
        StreamedLoader(local, "train", Batching(4, 4000, 3, rank=0, world=5))


def test_what_is_not_there_is_said(local: ShardDirectory, s3: str) -> None:
    with pytest.raises(ValueError, match=r"s3://bucket/nothing: incomplete, dataset.json"):
        ShardDirectory.open("s3://bucket/nothing")
    with serve({}) as server, pytest.raises(ValueError, match=r"incomplete, dataset.json"):
        ShardDirectory.open(server.url("/data"))
    with pytest.raises(ValueError, match=r"remote shards can only be streamed, by `train`"):
        ShardDirectory.open(s3).dataset("train")


def test_an_address_that_cannot_be_opened_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"ftpx://a/b/dataset.json: .*check address"):
        ShardDirectory.open("ftpx://a/b")
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ValueError, match=r"pip install 'slvr\[remote\]'"):
        ShardDirectory.open("gs://bucket/data")


@pytest.mark.parametrize("fault", ["truncate", "reset", "status"])
def test_a_shard_that_breaks_off_is_named(local: ShardDirectory, fault: str) -> None:
    broken = routes(local, ranges=False)
    name = local.manifest.shards[2].name
    whole = broken[f"/data/{name}"]
    broken[f"/data/{name}"] = Route(whole.body, fault=fault, status=403, ranges=False)
    with serve(broken) as server:
        directory = ShardDirectory.open(server.url("/data"))
        with pytest.raises(ValueError, match=rf"/data/{name}: cannot be read to its end: \S"):
            epoch(directory, workers=0)
