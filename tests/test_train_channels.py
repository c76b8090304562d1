"""The commands that learn from separated channels: cache, preview, training, going on."""

import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import described, noise, write_directory
from slvr.model.separators.load import load_separator
from slvr.shards.audio import with_audio
from slvr.shards.clip import Clip, Source
from slvr.shards.manifest import ShardInfo
from slvr.shards.read import ShardDirectory
from slvr.shards.verify import verify
from slvr.shards.write import ShardWriter, finish
from slvr.train import cli as train
from slvr.train.configure import from_command_line

SEPARATORS = ("untrained:0:demo", "untrained:1:demo")
CHANNELS = ["--views", "channels", "--views.crop-s", "0.15", "--views.separators", *SEPARATORS]
SMALL = [
    *("--shards", "data", "--clip-s", "0.25", "--batch", "4", "--steps", "4", "--log-every", "1"),
    *("--checkpoint-every", "2", "--workers", "0", "--accelerator", "cpu", "--holdout", "0.4"),
    *("--validate-every", "2", "--objectives", "simclr", "--encoder.variant", "none"),
    *("--encoder.width", "4", "--encoder.dim", "8", "--normalise", "none"),
    # a phase jumps by a turn where 16 bits round otherwise
    *("--front-end", "logmel"),
]
LINE = [*SMALL, *CHANNELS]


def losses(run: str) -> list[str]:
    with Path(run, "log.csv").open() as file:
        return [row["total"] for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shards, their channels in `kept`, and `run`, which computed them itself."""
    path = tmp_path_factory.mktemp("channels")
    write_directory(path / "data", n_clips=14, lengths_s=(0.25,))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        assert train.main([*LINE, "--cache-channels", "kept"]) == 0
        assert train.main([*LINE, "--out", "run"]) == 0
    return path


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder, as the working folder of this process."""
    monkeypatch.chdir(place)
    return place


def test_each_separator_gets_a_shard_directory_of_all_clips(here: Path) -> None:
    shards = ShardDirectory.open("data")
    kept = [ShardDirectory.open(path) for path in sorted(Path("kept").iterdir())]
    assert sorted(each.manifest.options["separator"] for each in kept) == list(SEPARATORS)
    for each in kept:
        assert verify(each) == []
        derived = each.manifest.extra["derived_from"]
        separator = load_separator(each.manifest.options["separator"])
        assert derived["shards"] == shards.fingerprint
        assert derived["separator"] == separator.fingerprint()
        (rows, clips), mixtures = (each.clips("train"), each.dataset("train")), {}
        for key, pcm in zip(shards.dataset("train").keys, shards.dataset("train"), strict=False):
            mixtures[key] = pcm
        assert {about["of"] for about in rows["attributes"]} == mixtures.keys()
        about = rows["attributes"][0]
        wave = mixtures[about["of"]].astype(np.float32) / 32768
        channels = separator(torch.from_numpy(wave)[None])[0].numpy()
        assert np.abs(channels[0] - clips[0] * about["gain"] / 32768).max() < 2e-5


def test_a_second_time_nothing_is_written_and_others_are_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path("kept").rglob("*")}
    assert train.main([*LINE, "--cache-channels", "kept"]) == 0
    assert {path: path.stat().st_mtime_ns for path in Path("kept").rglob("*")} == before
    assert "next: the same command with --views.cache kept" in capsys.readouterr().out


def test_training_from_the_cache_is_training_on_computed_channels(here: Path) -> None:
    assert train.main([*LINE, "--views.cache", "kept", "--out", "cached"]) == 0
    computed, cached = ([float(x) for x in losses(run)] for run in ("run", "cached"))
    assert cached == pytest.approx(computed, abs=2e-2) and cached != computed


def test_a_run_goes_on_to_the_bit(here: Path) -> None:
    assert train.main([*LINE, "--out", "stopped"]) == 0
    for name in ("step-00000004.safetensors", "report.html"):
        Path("stopped", name).unlink()
    assert train.main([*LINE, "--out", "stopped", "--resume"]) == 0
    assert losses("stopped") == losses("run")


def test_a_preview_plays_mixture_channels_and_views(here: Path) -> None:
    assert train.main([*LINE, "--out", "seen", "--preview", "3"]) == 0
    page = Path("seen/preview.html").read_text()
    assert page.count("<audio") == 3 * (1 + 2 + 2)
    for words in ("channel 0", "channel 1", "view 1", "view 2", "start_s"):
        assert page.count(words) >= 3
    assert re.search(r"1\. separated by untrained:[01]:demo", page) and "2. crop" in page


def test_spec_augment_changes_what_is_learnt_from_any_views(here: Path) -> None:
    for views in (CHANNELS, []):
        line = [*SMALL, *views, "--steps", "1"]
        name = "sa-channels" if views else "sa-chains"
        assert train.main([*line, "--out", f"{name}-0"]) == 0
        assert train.main([*line, "--out", name, "--spec-augment.probability", "1"]) == 0
        assert losses(name) != losses(f"{name}-0")
    page = Path("sa-chains/report.html").read_text()
    assert "spec_augment.probability" in page
    assert "spec_augment" not in Path("run/report.html").read_text()


def test_spec_augment_is_there_only_where_it_is_asked_for() -> None:
    assert from_command_line(SMALL).parts.spec_augment is None
    parts = from_command_line([*SMALL, "--spec-augment.probability", "0.5"]).parts
    assert parts.spec_augment is not None and parts.spec_augment.config.probability == 0.5


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ([*SMALL, "--cache-channels", "other"], "--cache-channels: no separators; name some"),
        ([*SMALL, "--views", "channels"], "--views.separators : none given"),
        ([*LINE, "--views.cache", "nowhere"], "nowhere: no such folder"),
        (
            [*SMALL, *CHANNELS[:-2], "untrained:7:demo", "--views.cache", "kept"],
            "expected those that untrained:7:demo (",
        ),
        ([*LINE, "--views.crop-s", "0.3"], "--views.crop-s 0.3: expected above 0, and at most"),
        ([*SMALL, *CHANNELS[:-2], "nobody.safetensors"], "nobody.safetensors"),
        ([*LINE, "--spec-augment.probability", "2"], "--spec-augment.probability 2.0: expected 0"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    here: Path, capsys: pytest.CaptureFixture[str], line: list[str], sentence: str
) -> None:
    assert train.main([*line, "--out", "refused"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and sentence in said and not Path("refused").exists()


def with_silence(path: Path) -> ShardDirectory:
    """Six clips of noise, and two of nothing but zeros, as another program may write them."""
    path.mkdir()
    pcms = [noise(4000, i) for i in range(6)] + [np.zeros(n, np.int16) for n in (4000, 3000)]
    clips = [
        with_audio(Clip(f"k{i}", "train", Source(f"{i}")), pcm, "flac")
        for i, pcm in enumerate(pcms)
    ]
    with ShardWriter(path, "train-000000", "train", "flac") as writer:
        for clip in clips:
            writer.write(clip)
    assert isinstance(writer.info, ShardInfo)
    finish(path, writer.rows, [writer.info], described("data"))
    return ShardDirectory.open(path)


def test_silent_clips_are_not_drawn_and_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with_silence(tmp_path / "data")
    drawn: list[str] = []
    stage: Callable[..., object] = train_stage()

    def see(self: object, pcm: object, seed: object, cut: object = None) -> object:
        drawn.extend(cut.keys)  # type: ignore[attr-defined]
        return stage(self, pcm, seed, cut)

    monkeypatch.setattr("slvr.pipeline.stage.Stage.__call__", see)
    line = [part for part in LINE if part not in ("--holdout", "0.4")]
    line = [*line, "--validate-every", "100", "--out", "run"]
    assert train.main(line) == 0
    assert set(drawn) == {f"k{i}" for i in range(6)}
    assert "2 of 8 clips are silent and left out" in capsys.readouterr().err


def train_stage() -> Callable[..., object]:
    from slvr.pipeline.stage import Stage

    return Stage.__call__
