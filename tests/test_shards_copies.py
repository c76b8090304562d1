"""One recording under several keys is counted wherever shards are looked at."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import noise
from slvr.ingest.cli import main
from slvr.ingest.looks.inspect import page
from slvr.shards.copies import Copies, count_copies
from slvr.shards.read import ShardDirectory

SAID = "4 of 7 clips have the samples of another one: 1 recording is there 4 times"


@pytest.mark.parametrize(
    ("hashes", "expected", "said"),
    [
        ("", Copies(0, 0, 0, 1), "no two of 0 clips have equal samples"),
        ("abc", Copies(3, 0, 0, 1), "no two of 3 clips have equal samples"),
        (
            "abcab",
            Copies(5, 4, 2, 2),
            "4 of 5 clips have the samples of another one: 2 recordings are there twice",
        ),
        (
            "abcaaabd",
            Copies(8, 6, 2, 4),
            "6 of 8 clips have the samples of another one: 2 recordings are there up to 4 times",
        ),
        ("abcaaad", Copies(7, 4, 1, 4), SAID),
    ],
)
def test_copies_are_counted_and_said(hashes: str, expected: Copies, said: str) -> None:
    assert count_copies(hashes) == expected
    assert str(expected) == said


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """NSynth, where four notes of one instrument are the same recording."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "nsynth" / "nsynth-test"
    (folder / "audio").mkdir(parents=True)
    instruments = {"brass_acoustic_046": [0] * 4, "bass_synthetic_009": [1, 2, 3]}
    for name, seeds in instruments.items():
        for i, seed in enumerate(seeds):
            path = folder / "audio" / f"{name}-{80 + i:03d}-025.wav"
            soundfile.write(path, noise(16_000, seed), 16_000, subtype="PCM_16")
    (folder / "examples.json").write_text("{}")
    Path("lists.json").write_text(json.dumps({"train": [], "val": [], "test": [*instruments]}))
    return tmp_path


def test_one_recording_under_many_keys_is_said_by_all_who_look(
    notes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["nsynth", "--source", "nsynth", "--split-file", "lists.json", "--out", "out"]
    assert main(line) == 0
    assert f"  {SAID}\n" in capsys.readouterr().out
    for command in ("verify", "inspect"):
        assert main([command, "out"]) == 0
        assert f"{SAID}\n" in capsys.readouterr().out
    assert f"{SAID}." in Path("out/inspect.html").read_text()


def test_a_directory_without_copies_says_so_where_it_is_asked(
    make_directory: Callable[..., ShardDirectory], capsys: pytest.CaptureFixture[str]
) -> None:
    directory = make_directory("data")
    assert "No two of 12 clips have equal samples." in page(directory)
    assert main(["verify", str(directory.path)]) == 0
    assert "no two of 12 clips have equal samples" in capsys.readouterr().out


def test_recordings_are_numbers_of_equal_samples(notes: Path) -> None:
    assert main(["nsynth", "--source", "nsynth", "--split-file", "lists.json", "--out", "out"]) == 0
    clips = ShardDirectory.open("out").dataset("eval")
    equal = clips.recordings[:, None] == clips.recordings
    samples = [clips[i] for i in range(len(clips))]
    assert np.array_equal(equal, [[np.array_equal(a, b) for b in samples] for a in samples])
    shutil.rmtree("out")
