import csv
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conftest import configured
from gpu_device import DEVICE, needs_gpu
from slvr.model.checkpoint import checkpoints, read_checkpoint
from slvr.pipeline.frontends.mtslvr import MTSLVR
from slvr.shards.read import ShardDirectory
from slvr.train.cli import main
from slvr.train.compilation import compiled_front_end
from slvr.train.config import TrainConfig
from slvr.train.loop import train

MakeDirectory = Callable[..., ShardDirectory]


def small(directory: ShardDirectory, **options: object) -> TrainConfig:
    settings = {"encoder__width": 4, "encoder__dim": 20, "clip_s": 0.2, "batch": 4, "steps": 4}
    fixed = {"accelerator": "cpu", "devices": "1", "lr": 1e-5, "schedule": "constant"}
    return configured(directory.path, **(settings | fixed | {"log_every": 1} | options))


def losses(out: Path) -> list[float]:
    with (out / "log.csv").open() as file:
        return [float(row["total"]) for row in csv.DictReader(file)]


def assert_compiled_equals_plain(
    directory: ShardDirectory, path: Path, tolerance: float = 1e-4, **options: object
) -> None:
    """Same losses, weights and running statistics, under the same names."""
    train(small(directory, **options), path / "plain")
    train(small(directory, **options, compile=True), path / "compiled")
    assert losses(path / "compiled") == pytest.approx(losses(path / "plain"), abs=tolerance)
    plain, compiled = (
        read_checkpoint(checkpoints(path / name)[-1])[0] for name in ("plain", "compiled")
    )
    assert plain.keys() == compiled.keys()
    for name, tensor in plain.items():
        if name.startswith("model."):
            torch.testing.assert_close(compiled[name], tensor, rtol=1e-3, atol=tolerance, msg=name)


@pytest.mark.slow
def test_a_compiled_step_gives_the_same_losses_and_names(
    make_directory: MakeDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced and differentiated as one graph; what becomes of it in C++ is the next test."""
    compile_any, asked = torch.compile, []

    def trace(model: torch.nn.Module, **options: object) -> object:
        asked.append(options)
        return compile_any(model, backend="aot_eager", fullgraph=True, dynamic=False)

    monkeypatch.setattr("slvr.train.compilation.torch.compile", trace)
    assert_compiled_equals_plain(make_directory(), tmp_path)
    assert asked[0] == {"mode": "default", "dynamic": False}


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_a_step_compiled_to_cpp_gives_the_same_losses_and_names(
    make_directory: MakeDirectory, tmp_path: Path
) -> None:
    # the smallest: minutes all the same
    options = {"objectives__heads": ["mlap@predictive"], "encoder__variant": "none"}
    options["encoder__width"] = 8  # see test_losses_fall_on_data_that_can_be_learnt
    assert_compiled_equals_plain(make_directory(), tmp_path, **options)


@needs_gpu
@pytest.mark.parametrize("variant", ["none", "series", "parallel"])
def test_cuda_graphs_give_the_same_losses_and_names(
    make_directory: MakeDirectory, tmp_path: Path, variant: str
) -> None:
    if DEVICE.type == "cpu":
        pytest.skip("the C++ compiler takes minutes: a test of its own does this")
    options = {"accelerator": DEVICE.type, "encoder__variant": variant, "steps": 12}
    # convolutions round to TF32, in kernels that may differ
    assert_compiled_equals_plain(make_directory(), tmp_path, tolerance=5e-3, **options)
    with (tmp_path / "compiled" / "throughput.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert all(float(row["gpu_memory_bytes"]) > 0 for row in rows)


def test_the_front_end_is_compiled_on_a_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(torch, "compile", lambda module, **options: asked.append(options) or module)
    front_end = MTSLVR()
    assert compiled_front_end(front_end, torch.device("cpu")) is front_end and not asked
    assert compiled_front_end(front_end, torch.device("cuda")) is front_end
    assert asked == [{"dynamic": False}]  # no CUDA graph: its input lies elsewhere at each step


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, "expandable_segments:True"),
        ({"PYTORCH_ALLOC_CONF": "backend:native"}, "backend:native"),
        ({"PYTORCH_CUDA_ALLOC_CONF": "backend:native"}, None),
    ],
)
def test_memory_of_a_gpu_grows_in_place_unless_the_user_has_said_how(
    monkeypatch: pytest.MonkeyPatch, own: dict[str, str], expected: str | None
) -> None:
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
        monkeypatch.setenv(name, "")  # put back as it was when the test ends
        monkeypatch.delenv(name)
        if name in own:
            monkeypatch.setenv(name, own[name])
    with pytest.raises(SystemExit):
        main(["--no-such-option"])
    assert os.environ.get("PYTORCH_ALLOC_CONF") == expected


def test_without_a_compiler_it_is_a_sentence(
    make_directory: MakeDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match="there is no no-such-compiler; install a C"):
        train(small(make_directory(), compile=True), tmp_path / "run")
