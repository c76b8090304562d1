"""`train separator`: the loop of encoders, with mixtures of clips and nothing known of them."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import slvr
from conftest import noise, run
from slvr.ingest.recipes.demo import Demo
from slvr.ingest.recipes.demo_sources import DemoSources
from slvr.model.checkpoint import checkpoints, read_checkpoint
from slvr.model.separators.learner import MixitLearner
from slvr.model.separators.load import untrained
from slvr.model.separators.mixit import mixit
from slvr.shards.audio import decode
from slvr.shards.read import ShardDirectory
from slvr.train.config import Mixing
from slvr.train.loop import train
from slvr.train.separation import level_db, varied
from slvr.train.separator_cli import SEPARATOR_RECIPES, configure_separator, from_command_line

MakeDirectory = Callable[..., ShardDirectory]
SMALL = {
    "separator.window_samples": 64,
    "separator.hop_samples": 16,
    "separator.bottleneck": 6,
    "separator.hidden": 8,
    "separator.dilations": 2,
    "separator.repeats": 1,
    "batch": 4,
    "clip_s": 0.1,
    "steps": 6,
    "lr": 1e-2,
    "log_every": 1,
    "checkpoint_every": 2,
    "workers": 0,
    "accelerator": "cpu",
    "gain_db": 5.0,
    "roll": True,
    "keep": "0,1",
}


def small(directory: ShardDirectory, **options: object):
    return configure_separator("separator", SMALL | {"shards": str(directory.path)} | options)


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_checkpoints_that_load_and_a_page(
    make_directory: MakeDirectory, tmp_path: Path
) -> None:
    directory, out = make_directory(), tmp_path / "run"
    config = small(directory, holdout=0.4, validate_every=3, steps=9, checkpoint_every=1)
    last = train(config, out)
    steps = [int(path.stem.removeprefix("step-")) for path in checkpoints(out)]
    assert steps == [0, 1, 7, 8, 9] and last.name == "step-00000009.safetensors"
    assert [row["step"] for row in table(out / "validation.csv")] == ["3", "6", "9"]
    first = slvr.load_separator(checkpoints(out)[0])
    assert first.fingerprint() != slvr.load_separator(last).fingerprint()
    assert slvr.load_separator(out, n_channels=2)(torch.zeros(1, 900)).shape == (1, 2, 900)
    assert json.loads((out / "run.json").read_text())["config"]["separator.hidden"] == 8
    page = (out / "channels.html").read_text()
    assert page.count("<audio") == page.count("<img") >= 5 and "channel 2" in page
    assert "in the separator" in (out / "report.html").read_text()
    with pytest.raises(ValueError, match="hidden 8, expected 9"):
        train(small(directory, init=str(out), **{"separator.hidden": 9}), tmp_path / "other")


def test_a_resumed_run_is_the_same_to_the_bit(
    make_directory: MakeDirectory, tmp_path: Path
) -> None:
    directory = make_directory()
    options = {"holdout": 0.4, "validate_every": 2}
    train(small(directory, **options), tmp_path / "whole")
    train(small(directory, **options), tmp_path / "cut")
    for path in checkpoints(tmp_path / "cut")[-2:]:
        path.unlink()
    train(small(directory, **options, resume=True), tmp_path / "cut")
    for name in ("log.csv", "validation.csv"):
        assert table(tmp_path / "whole" / name) == table(tmp_path / "cut" / name)
    whole, cut = (read_checkpoint(checkpoints(tmp_path / d)[-1])[0] for d in ("whole", "cut"))
    assert all(torch.equal(tensor, cut[name]) for name, tensor in whole.items())
    with pytest.raises(ValueError, match=r"separator\.hidden 8 there, 9 now"):
        train(small(directory, **options, resume=True, **{"separator.hidden": 9}), tmp_path / "cut")


def test_two_processes_learn_what_one_does(make_directory: MakeDirectory, tmp_path: Path) -> None:
    directory = make_directory()
    flags = [
        part
        for name, value in SMALL.items()
        if not isinstance(value, bool)
        for part in ("--" + name.replace("_", "-"), str(value))
    ]
    for devices in ("1", "2"):
        done = run(
            *("train", "separator", "--shards", str(directory.path), *flags, "--roll"),
            *("--devices", devices, "--out", str(tmp_path / devices)),
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
    one, two = (table(tmp_path / devices / "log.csv") for devices in ("1", "2"))
    for first, second in zip(one, two, strict=True):
        assert float(first["total"]) == pytest.approx(float(second["total"]), abs=1e-3)
        assert first["rejected"] == second["rejected"]


def test_silent_clips_are_left_out_and_counted() -> None:
    learner = MixitLearner(untrained(0, bottleneck=4, hidden=4, dilations=1, repeats=1))
    mixtures = torch.from_numpy(np.stack([[noise(2000, 0), noise(2000, 1)]] * 2) / 32768).float()
    mixtures[1, 1] = 0
    losses = learner(mixtures, torch.tensor([True, False]))
    expected = mixit(mixtures[:1], learner.separator(mixtures[:1].sum(1))).loss
    assert losses["total"].item() == pytest.approx(expected.item(), abs=1e-4)
    assert float(losses["rejected"]) == 1
    learner(mixtures, torch.tensor([False, False]))["total"].backward()
    assert int(learner.rejected) == 3
    assert all(p.grad is None or p.grad.isfinite().all() for p in learner.parameters())
    level = level_db(torch.tensor([[0, 0], [32767, -32767], [33, -33]], dtype=torch.int16))
    assert level.tolist() == pytest.approx([-120, 0, -60], abs=0.1)


def test_shares_of_processes_vary_as_the_whole() -> None:
    clips = torch.arange(40.0).view(4, 10)
    mixing = Mixing(gain_db=6.0, roll=True)
    whole = varied(clips, mixing, (1, 2), 0, 1)
    halves = [varied(clips[2 * r : 2 * r + 2], mixing, (1, 2), r, 2) for r in (0, 1)]
    assert torch.equal(whole, torch.cat(halves)) and not torch.equal(whole, clips)
    ratio = whole.sort().values[:, 1:] / clips.sort().values[:, 1:]
    assert torch.allclose(ratio, ratio[:, :1].expand_as(ratio))
    assert ((20 * ratio.log10()).abs() <= 6.001).all()
    assert torch.equal(varied(clips, Mixing(), 0, 0, 1), clips)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch": 5}, "--batch 5: give a multiple"),
        ({"mixture_of": 4}, "fewer than the 4 clips"),
        ({"clip_s": 0.003}, "shorter than the 64 samples of a window"),
        ({"separator.sample_rate_hz": 22_050}, "holds clips of 16000 Hz"),
        ({"silence_db": 3.0}, "--silence-db 3.0: out of range"),
        ({"keep": "1,x"}, "--keep 1,x: out of range"),
        ({"nothing": 1}, "--nothing: no such setting"),
        ({"separator.hop_samples": 65}, "separator.hop_samples 65: out of range"),
        ({"sources": "DATA", "sources_split": "train"}, "are no sources"),
    ],
)
def test_what_does_not_fit_is_a_sentence(
    make_directory: MakeDirectory, tmp_path: Path, options: dict, says: str
) -> None:
    directory = make_directory()
    options = {k: str(directory.path) if v == "DATA" else v for k, v in options.items()}
    with pytest.raises(ValueError, match=says):
        train(small(directory, **options), tmp_path / "run")


def test_flags_go_before_the_recipe() -> None:
    config = from_command_line(
        ["--shards", "x", "--recipe", "separator-demo", "--separator.n-channels", "4"]
    )
    assert (config.separator.config.n_channels, config.separator.config.hidden) == (4, 64)
    assert config.data.batch == 8 and config.output.kept_steps == {0, 100, 500}
    for name in SEPARATOR_RECIPES:
        assert configure_separator(name, {"shards": "x"}).recipe == name
    with pytest.raises(ValueError, match="unknown recipe 'x' of separators"):
        configure_separator("x")


def test_demo_sources_sum_to_their_mixtures(tmp_path: Path, monkeypatch) -> None:
    demo = Demo(n_train=4, n_per_class=1, two_sources=0.5, n_mixtures=2)
    plan = demo.plan(tmp_path)
    mixed = [clip for clip in plan.clips if "&" in clip.source.uri]
    assert [clip.split for clip in mixed] == ["train", "train", "mixtures", "mixtures"]

    class Made:
        manifest = type("M", (), {"recipe": "demo", "options": plan.options})
        fingerprint = "abc"

    monkeypatch.setattr("slvr.ingest.recipes.demo_sources.ShardDirectory.open", lambda path: Made())
    recipe = DemoSources("demo")
    sources = recipe.plan(tmp_path)
    assert sources.extra["derived_from"] == {"shards": "abc"}
    clip = min(mixed, key=lambda clip: clip.n_samples)
    parts = [each for each in sources.clips if each.attributes["of"] == clip.key]
    assert [each.key for each in parts] == [f"{clip.key}-c0", f"{clip.key}-c1"]
    whole = decode(demo.make(clip, "flac").audio).astype(int)
    made = [decode(recipe.make(each, "flac").audio).astype(int) for each in parts]
    assert np.array_equal(made[0] + made[1], whole)
    with pytest.raises(ValueError, match="none of its clips is a mixture"):
        Made.manifest.options = Demo(n_train=2, n_per_class=1).plan(tmp_path).options
        recipe.plan(tmp_path)
    with pytest.raises(ValueError, match="--two-sources 2"):
        Demo(two_sources=2).plan(tmp_path)


def test_improvement_is_of_the_mixtures_of_a_sources_directory(
    make_directory: MakeDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = make_directory(lengths_s=(0.3,))
    rows = directory.clips("train")
    rows["attributes"] = [{"of": f"m{i // 2}", "channel": i % 2} for i in range(len(rows))]
    monkeypatch.setattr(ShardDirectory, "clips", lambda self, split, only=None: pd.DataFrame(rows))
    config = small(
        directory, holdout=0.5, validate_every=3, sources=str(directory.path), sources_split="train"
    )
    train(config, tmp_path / "run")
    found = [
        float(row["sources.improvement"]) for row in table(tmp_path / "run" / "validation.csv")
    ]
    assert len(found) == 2 and all(abs(x) < 30 for x in found)
    assert "m0" in (tmp_path / "run" / "channels.html").read_text()
