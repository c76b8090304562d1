import csv
import json
import os
import re
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from conftest import command, configured, described, run, write_directory
from slvr.command.named import stored
from slvr.model.checkpoint import (
    LoadedModel,
    checkpoint_name,
    checkpoints,
    load_model,
    read_checkpoint,
)
from slvr.model.encoders.registry import ENCODERS
from slvr.pipeline.normalise import to_float
from slvr.shards.read import ShardDirectory
from slvr.shards.rows import read_rows
from slvr.shards.write import finish
from slvr.train.build import build_model, build_stage
from slvr.train.config import TrainConfig
from slvr.train.fault import explain
from slvr.train.loop import train
from slvr.train.recipes import RECIPES
from slvr.train.state import Checkpoints
from slvr.train.validation import EarlyStop

MakeDirectory = Callable[..., ShardDirectory]
SMALL = {
    "encoder__width": 4,
    "encoder__dim": 20,
    "clip_s": 0.2,
    "batch": 8,
    "steps": 12,
    "lr": 1e-3,
    "log_every": 1,
    "checkpoint_every": 5,
    "workers": 0,
    "accelerator": "cpu",
    "devices": "1",
}
FLAGS = [
    part
    for name, value in SMALL.items()
    for part in ("--" + name.replace("__", ".").replace("_", "-"), str(value))
]
CPU = torch.device("cpu")


def small(directory: ShardDirectory, **options: object) -> TrainConfig:
    return configured(directory.path, **(SMALL | options))


def loaded(path: Path) -> LoadedModel:
    return load_model(path, lambda name, where: stored(name, ENCODERS, (), where))


def losses(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open() as file:
        return list(csv.DictReader(file))


def weights(out: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(checkpoints(out)[-1])[0]


def assert_same_run(a: Path, b: Path) -> None:
    assert losses(a) == losses(b)
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


@pytest.mark.parametrize(
    "recipe", [name for name, each in RECIPES.items() if each.views == "chains"]
)
def test_every_recipe_builds_the_heads_that_it_names(recipe: str) -> None:
    parts = configured(recipe=recipe).parts
    stage = build_stage(parts, 0.2, "published", CPU)
    with torch.device("meta"):
        model = build_model(parts, stage)
    said = {"demo": "mtslvr-simclr-parallel", "predictive": "mlap"}.get(recipe, recipe)
    words = said.replace("mtslvr-augself", "mlap-augself").replace("mtslvr", "mlap").split("-")
    assert set(model.heads) == set(words) & {"simclr", "simsiam", "mlap", "augself"}
    alone = len(model.heads) == 1
    assert model.trained_tasks == (("all",) if alone else ("contrastive", "predictive"))
    assert model.encoder.shape()["variant"] == ("none" if alone else words[-1])


@pytest.mark.parametrize(
    ("contrastive", "variant"),
    [("simclr", "parallel"), ("simsiam", "bn"), ("simclr", "series"), (None, "none")],
)
def test_losses_fall_on_data_that_can_be_learnt(
    make_directory: MakeDirectory, tmp_path: Path, contrastive: str | None, variant: str
) -> None:
    directory = make_directory()
    heads = [*([f"{contrastive}@contrastive"] if contrastive else []), "mlap@predictive"]
    options = {"objectives__heads": heads, "encoder__variant": variant, "steps": 100}
    # oneDNN of torch 2.13 writes beyond the weight gradient of the shortcut's strided 1x1
    # convolution where it has at most 4 input channels
    options |= {"encoder__width": 8} if variant == "none" else {}
    config = small(directory, **options, log_every=1)
    train(config, tmp_path / "run")
    total = [float(row["total"]) for row in losses(tmp_path / "run")]
    assert len(total) == 100
    assert sum(total[-30:]) < sum(total[:30])


def test_same_seed_same_run_another_seed_another(
    make_directory: MakeDirectory, tmp_path: Path
) -> None:
    directory = make_directory()
    for name, options in {"a": {}, "b": {"workers": 1}, "c": {"seed": 1}}.items():
        train(small(directory, **options), tmp_path / name)
    assert_same_run(tmp_path / "a", tmp_path / "b")
    assert losses(tmp_path / "a") != losses(tmp_path / "c")


def test_what_a_run_leaves_behind(make_directory: MakeDirectory, tmp_path: Path) -> None:
    directory = make_directory()
    last = train(small(directory, steps=23), tmp_path / "run")
    assert last.name == "step-00000023.safetensors"
    assert [path.name[5:13] for path in checkpoints(tmp_path / "run")] == [
        "00000015",
        "00000020",
        "00000023",
    ]
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["config"]["steps"] == 23 and record["config"]["seed"] == 0
    assert record["datasets"] == {str(directory.path): directory.fingerprint}
    assert "torch" in record["packages"]
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))
    model = loaded(tmp_path / "run")
    assert model.config == record["config"] and model.config["encoder.variant"] == "parallel"
    assert model.encoder.dims["all"] == 20
    assert (model.front_end.name, model.normalisation, model.step) == ("mtslvr", "published", 23)
    rows = losses(tmp_path / "run")
    assert [row["step"] for row in rows] == [str(i) for i in range(1, 24)]
    for row in rows:
        total = float(row["simclr.nt_xent"]) + float(row["mlap.bce"])
        assert total == pytest.approx(float(row["total"]), rel=1e-6)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle_resume_repeats_the_uninterrupted_run(
    make_directory: MakeDirectory, tmp_path: Path, number: signal.Signals
) -> None:
    directory = make_directory()
    line = ("--shards", str(directory.path), *FLAGS, "--steps", "60", "--resume")
    done = run("train", *line, "--out", "whole", cwd=tmp_path)
    assert done.returncode == 0, done.stderr

    process = subprocess.Popen(
        command("train", *line, "--out", "broken"), cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    end_s = time.monotonic() + 100
    while len(checkpoints(tmp_path / "broken")) < 2:
        assert time.monotonic() < end_s and process.poll() is None
        time.sleep(0.002)
    os.kill(process.pid, number)
    _, stderr = process.communicate(timeout=60)
    newest = checkpoints(tmp_path / "broken")[-1].name
    assert newest < "step-00000060.safetensors"
    if number != signal.SIGKILL:
        assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
        assert f"is saved in broken/{newest}; add --resume" in stderr
        assert "Traceback" not in stderr
    done = run("train", *line, "--out", "broken", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    make_directory: MakeDirectory, tmp_path: Path
) -> None:
    directory = make_directory()
    train(small(directory), tmp_path / "whole")
    train(small(directory), tmp_path / "run")
    newest = checkpoints(tmp_path / "run")[-1]
    newest.write_bytes(newest.read_bytes()[:-10])
    with pytest.warns(UserWarning, match=r"step-00000012.*going back to the one before"):
        train(small(directory, resume=True), tmp_path / "run")
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_a_finished_run_stays_as_it_is(make_directory: MakeDirectory, tmp_path: Path) -> None:
    directory = make_directory()
    first = train(small(directory), tmp_path / "run")
    content = first.read_bytes()
    again = train(small(directory, resume=True), tmp_path / "run")
    assert again == first and first.read_bytes() == content
    assert len(losses(tmp_path / "run")) == 12


def test_foreign_folders_and_other_configurations_are_refused(
    make_directory: MakeDirectory, tmp_path: Path
) -> None:
    directory = make_directory()
    out = tmp_path / "run"
    train(small(directory), out)
    with pytest.raises(ValueError, match=r"holds a run already.*--resume"):
        train(small(directory), out)
    with pytest.raises(ValueError, match=r"encoder\.variant 'parallel' there, 'series' now"):
        train(small(directory, resume=True, encoder__variant="series"), out)
    other = make_directory("other", n_clips=9)
    with pytest.raises(ValueError, match="another data set"):
        train(small(other, resume=True), out)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    with pytest.raises(ValueError, match="exists and holds no run"):
        train(small(directory), tmp_path / "thesis")
    with pytest.raises(ValueError, match="is a file"):
        train(small(directory), tmp_path / "thesis" / "chapter.tex")
    with pytest.raises(ValueError, match="no split 'dev'"):
        train(small(directory, split="dev"), tmp_path / "new")
    assert len(losses(out)) == 12


def test_a_batch_that_cannot_be_shared_out_is_refused_before_anything_is_written(
    make_directory: MakeDirectory, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="--batch 8: cannot be shared out to 3 processes"):
        train(small(make_directory(), devices="3"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def assert_finite(out: Path) -> None:
    for path in checkpoints(out):
        for name, tensor in read_checkpoint(path)[0].items():
            assert tensor.isfinite().all(), f"{path}: {name}"


def test_a_run_that_diverges_names_step_clips_and_the_last_good_checkpoint(
    make_directory: MakeDirectory, tmp_path: Path
) -> None:
    """Also between two log entries: a faulty step is noted by itself, and never saved."""
    directory, out = make_directory(), tmp_path / "run"
    config = small(directory, lr=1e30, schedule="constant", log_every=12, checkpoint_every=1)
    with pytest.raises(ValueError, match=r"step \d+ .*not finite.*try a smaller --lr") as raised:
        train(config, out)
    assert "last good checkpoint: " in str(raised.value) or "no checkpoint" in str(raised.value)
    assert_finite(out)


@pytest.mark.parametrize(
    ("faulty", "said"),
    [
        ([True, False, True], r"of 2 of its clips \(a\): leave"),
        ([False, False, False], r"the features of its clips are \(a, b\), so it diverged"),
    ],
)
def test_clips_are_named_once(tmp_path: Path, faulty: list[bool], said: str) -> None:
    alone = SimpleNamespace(gather=lambda part: [part])
    finite = ~torch.tensor(faulty)
    assert re.search(said, str(explain(tmp_path, 6, ("a", "b", "a"), finite, alone)))


def test_what_is_not_finite_is_not_saved(make_directory: MakeDirectory, tmp_path: Path) -> None:
    """The loss may still be finite where the step after it is not."""
    directory, out = make_directory(), tmp_path / "run"
    config = small(directory)
    last = train(config, out)
    stage = build_stage(config.parts, config.data.clip_s, "published", CPU)
    model = build_model(config.parts, stage)
    optimiser = torch.optim.Adam(model.parameters())
    with torch.no_grad():
        model.encoder.conv1.weight[0, 0, 0, 0] = torch.inf
    kept = Checkpoints(out, config, directory)
    with pytest.raises(ValueError, match=rf"step 13 1 of .*conv1.weight.*checkpoint: {last}"):
        kept.save(13, model, {}, optimiser, EarlyStop())
    assert checkpoints(out)[-1] == last


def test_a_clip_whose_features_are_not_finite_is_named(
    make_directory: MakeDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, out = make_directory(n_clips=24, lengths_s=(0.2,)), tmp_path / "run"
    poisoned = torch.from_numpy(directory.dataset("train")[5])
    key = directory.clips("train")["key"][5]

    def poison(pcm: torch.Tensor) -> torch.Tensor:
        itself = (pcm == poisoned).all(1, keepdim=True)
        return torch.where(itself, torch.nan, to_float(pcm))

    monkeypatch.setattr("slvr.pipeline.stage.to_float", poison)
    expected = rf"step (\d+) is not finite; nor are the features of 1 of its clips \({key}\)"
    with pytest.raises(ValueError, match=expected) as raised:
        train(small(directory, steps=30, log_every=30, checkpoint_every=1), out)
    fault = re.search(expected, str(raised.value))
    assert fault is not None
    newest = out / checkpoint_name(int(fault[1]) - 1)
    assert checkpoints(out)[-1] == newest
    assert str(raised.value).endswith(f"; last good checkpoint: {newest}")
    assert_finite(out)


def write_splits(path: Path) -> ShardDirectory:
    """A training and a validation split in one directory."""
    write_directory(path, split="train")
    write_directory(path / "other", split="validation", n_clips=10, first=100)
    rows, infos = [], []
    for part in (path, path / "other"):
        found = ShardDirectory.open(part)
        rows += read_rows(part / "clips.parquet")
        infos += found.manifest.shards
    for file in (path / "other").glob("validation*"):
        file.rename(path / file.name)
    rows = [row for row in rows if row.clip.status == "ok"]
    finish(path, rows, infos, described(path.name, labels=found.manifest.labels))
    return ShardDirectory.open(path)


def test_validation_keeps_the_best_and_stops_early(tmp_path: Path) -> None:
    directory = write_splits(tmp_path / "data")
    options = {
        "validation_split": "validation",
        "validate_every": 4,
        "patience": 2,
        "min_delta": 1e9,  # after the first nothing is progress
        "steps": 40,
    }
    train(small(directory, **options), tmp_path / "run")
    with (tmp_path / "run" / "validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["4", "8", "12"]
    geometry = {f"simclr.{name}" for name in ("nt_xent", "alignment", "uniformity", "spread")}
    assert {"total", "mlap.bce", "mlap.ap_fade"} | geometry <= rows[0].keys()
    assert len(losses(tmp_path / "run")) == 12
    assert loaded(tmp_path / "run").step == 4  # the best one
    assert checkpoints(tmp_path / "run")[-1].name == "step-00000012.safetensors"
    again = train(small(directory, **options, resume=True), tmp_path / "run")
    assert again.name == "step-00000012.safetensors"  # it stays stopped

    train(small(directory, **options | {"steps": 7}), tmp_path / "short")
    steps = small(directory, **options, resume=True)
    with pytest.raises(ValueError, match="steps 7 there, 40 now"):
        train(steps, tmp_path / "short")


def test_a_resumed_run_validates_as_the_uninterrupted_one(tmp_path: Path) -> None:
    directory = write_splits(tmp_path / "data")
    options = {"validation_split": "validation", "validate_every": 3}
    train(small(directory, **options), tmp_path / "whole")
    train(small(directory, **options), tmp_path / "run")
    newest = checkpoints(tmp_path / "run")[-1]
    newest.unlink()
    train(small(directory, **options, resume=True), tmp_path / "run")
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    first, second = (tmp_path / name / "validation.csv" for name in ("whole", "run"))
    assert first.read_text() == second.read_text()


def test_a_full_disk_is_a_sentence_and_keeps_what_there_is(
    make_directory: MakeDirectory, tmp_path: Path
) -> None:
    """A limit on file sizes fails writes as a full disk does."""
    directory = make_directory()
    line = ("--shards", str(directory.path), *FLAGS, "--out", "run", "--resume")
    assert run("train", *line, cwd=tmp_path).returncode == 0
    kept = {path: path.read_bytes() for path in checkpoints(tmp_path / "run")}
    limit_bytes = len(next(iter(kept.values()))) // 2

    def limit_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    full = run("train", *line, "--out", "other", cwd=tmp_path, preexec_fn=limit_files)
    assert full.returncode == 1, full.stderr
    assert "finished work is kept: make room" in full.stderr and "Traceback" not in full.stderr
    assert not list((tmp_path / "other").glob("*step*"))
    assert kept == {path: path.read_bytes() for path in checkpoints(tmp_path / "run")}
    assert run("train", *line, "--out", "other", cwd=tmp_path).returncode == 0
    assert_same_run(tmp_path / "run", tmp_path / "other")
