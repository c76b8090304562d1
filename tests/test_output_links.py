"""What a link in an output directory points to is never written."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from conftest import noise, run, write_run
from slvr.command.record import RECORD, read_record
from slvr.model.encoders.resnet18 import ResNet18
from slvr.shards.files import AtomicFile, refuse_links
from slvr.shards.read import ShardDirectory


def test_a_link_under_a_temporary_name_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    path = tmp_path / "out.txt"
    (tmp_path / ".out.txt.partial").symlink_to(victim)
    path.symlink_to(victim)
    with AtomicFile(path) as temporary:
        temporary.write_text("ours")
    assert victim.read_text() == "mine"
    assert path.read_text() == "ours" and not path.is_symlink()


def test_links_on_any_level_are_named(tmp_path: Path) -> None:
    refuse_links(tmp_path / "nothing")
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("x")
    refuse_links(tmp_path)
    (tmp_path / "a" / "b" / "spool").symlink_to(tmp_path)
    with pytest.raises(ValueError, match=r"spool: is a link to .*remove the link"):
        refuse_links(tmp_path)


@pytest.mark.parametrize("name", ["ledger.lock", "ledger.sqlite", "run.json", "train-000000.tar"])
def test_ingest_follows_no_link(tmp_path: Path, name: str) -> None:
    (tmp_path / "sounds").mkdir()
    soundfile.write(tmp_path / "sounds" / "a.wav", noise(16_000, 0), 16_000)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).symlink_to(victim)
    done = run("ingest", "folder", "sounds", "--unlabelled", "--out", "out", cwd=tmp_path)
    assert done.returncode == 2 and f"{name}: is a link to" in done.stderr
    assert victim.read_text() == "mine"


def test_train_and_evaluate_follow_no_link(
    tmp_path: Path, make_directory: Callable[..., ShardDirectory]
) -> None:
    shards = str(make_directory().path)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    model = write_run(tmp_path / "model", ResNet18("parallel", dim=64, width=8))
    for command, name, more in (
        ("train", "log.csv", ()),
        ("evaluate", "run.json", ("--checkpoint", str(model))),
    ):
        out = tmp_path / command
        out.mkdir()
        (out / name).symlink_to(victim)
        done = run(command, "--shards", shards, "--out", str(out), *more, cwd=tmp_path)
        assert done.returncode == 2 and f"{name}: is a link to" in done.stderr, done.stderr
        assert victim.read_text() == "mine"
        shutil.rmtree(out)


def test_a_damaged_record_is_a_sentence(tmp_path: Path) -> None:
    for text in ("", "[]", "{", '{"command": "train"}', "[" * 10_000, "\xff", "null"):
        (tmp_path / RECORD).write_text(text, encoding="latin-1")
        with pytest.raises(ValueError, match=r"run\.json: .*make the folder anew"):
            read_record(tmp_path)
