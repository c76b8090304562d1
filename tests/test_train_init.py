import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conftest import run
from slvr.model.checkpoint import load_encoder, read_checkpoint
from slvr.model.multitask import MultiTask
from slvr.model.released import published_names
from slvr.pipeline.augmentations import DEFAULT, TimeMasking
from slvr.pipeline.views.chains import Views
from slvr.shards.read import ShardDirectory
from slvr.train.config import TrainConfig
from slvr.train.init import initialise
from slvr.train.loop import build_model, train

MakeDirectory = Callable[..., ShardDirectory]
SMALL = {"width": 4, "dim": 20, "clip_s": 0.2, "batch": 4, "workers": 0, "accelerator": "cpu"}
NAME = "AS_BAL_{}_trans_1_0_{}_2_3__100_5e-05_21022023-145537.pt"


def built(seed: int, views: Views = Views(), **options: object) -> MultiTask:  # noqa: B008
    torch.manual_seed(seed)
    return build_model(TrainConfig("x", **(SMALL | options)), views)


def publish(model: MultiTask, path: Path, *, backbone: bool = False) -> Path:
    """The file that the original code would have written of a model."""
    source = model.encoder if backbone else model
    names = published_names(source)
    torch.save({names[name]: tensor for name, tensor in source.state_dict().items()}, path)
    return path


def parts_equal(a: MultiTask, b: MultiTask) -> set[str]:
    """The parts of two models whose tensors all agree."""
    theirs = b.state_dict()
    same: dict[str, bool] = {}
    for name, tensor in a.state_dict().items():
        part = name.partition(".")[0]
        equal = tensor.shape == theirs[name].shape and torch.equal(tensor, theirs[name])
        same[part] = same.get(part, True) and equal
    return {part for part, equal in same.items() if equal}


@pytest.mark.parametrize("variant", ["none", "split", "bn", "series", "parallel"])
@pytest.mark.parametrize("contrastive", ["simclr", "simsiam"])
def test_a_published_joint_model_gives_encoder_and_both_heads(
    tmp_path: Path, contrastive: str, variant: str
) -> None:
    options = {"contrastive": contrastive, "variant": variant}
    published = built(0, **options)
    model = built(1, **options)
    said = initialise(model, publish(published, tmp_path / "joint.pt"))
    assert parts_equal(model, published) == {"encoder", "contrastive", "predictive"}
    assert said == f"weights of encoder, contrastive, predictive from {tmp_path / 'joint.pt'}"


def test_heads_that_the_file_lacks_or_that_predict_other_labels_start_anew(tmp_path: Path) -> None:
    published = built(0)
    backbone = publish(published, tmp_path / "backbone.pt", backbone=True)
    model = built(1)
    said = initialise(model, backbone)
    assert parts_equal(model, published) == {"encoder"}
    assert "; contrastive head anew; predictive head anew" in said

    more_labels = built(1, Views((*DEFAULT, TimeMasking("second_mask"))))
    said = initialise(more_labels, publish(published, tmp_path / "joint.pt"))
    assert "weights of encoder, contrastive from" in said and "predictive head anew" in said
    assert parts_equal(more_labels, published) == {"encoder", "contrastive"}

    alone = built(1, predictive="none", variant="none")
    said = initialise(alone, publish(built(0, variant="none"), tmp_path / "none.pt"))
    assert "predictive" not in said


@pytest.mark.parametrize(
    ("options", "part", "flags"),
    [
        ({"variant": "series"}, "encoder", "--contrastive simclr --variant series"),
        ({"contrastive": "simsiam"}, "contrastive", "--contrastive simsiam --variant parallel"),
    ],
)
def test_another_variant_or_contrastive_objective_is_refused_and_nothing_loaded(
    tmp_path: Path, options: dict[str, str], part: str, flags: str
) -> None:
    other = built(0, **options)
    named = NAME.format(options.get("contrastive", "simclr"), other.encoder.variant)
    for path in (publish(other, tmp_path / named), publish(other, tmp_path / "renamed.pt")):
        model, before = built(1), built(1)
        with pytest.raises(ValueError, match=rf"--init .*{part} weights do not fit: ") as error:
            initialise(model, path)
        message = str(error.value)
        assert "missing (" in message or "misshapen (" in message
        assert "unexpected (" in message
        assert parts_equal(model, before) == {"encoder", "contrastive", "predictive"}
        expected = f"its name says {flags}" if path.name == named else "its encoder is that of"
        assert expected in message


def test_a_run_of_ours_goes_on_elsewhere(make_directory: MakeDirectory, tmp_path: Path) -> None:
    directory = make_directory()
    base = TrainConfig(str(directory.path), **SMALL, steps=3, lr=1e-3, devices="1")
    checkpoint = train(base, tmp_path / "first")
    tensors, _ = read_checkpoint(checkpoint)
    for source in (checkpoint, tmp_path / "first"):
        model = built(5)
        assert f"from {checkpoint}" in initialise(model, source)
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, tensors[f"model.{name}"]), name

    with pytest.raises(ValueError, match=r"misshapen.*--variant parallel --dim 20 --width 4"):
        initialise(built(5, width=8), checkpoint)
    with pytest.raises(ValueError, match="no such checkpoint"):
        initialise(built(5), tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no such file"):
        initialise(built(5), tmp_path / "nowhere.pt")


def test_the_command_starts_from_the_file_says_so_and_resumes_from_its_own_checkpoint(
    make_directory: MakeDirectory, tmp_path: Path
) -> None:
    make_directory()
    first = publish(built(7), tmp_path / "first.pt")
    flags = [
        part
        for name, value in (SMALL | {"steps": 1, "lr": 1e-12, "weight_decay": 0}).items()
        for part in ("--" + name.replace("_", "-"), str(value))
    ]
    line = ("--shards", "data", *flags, "--init", "first.pt", "--out", "run", "--resume")
    done = run("train", *line, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "train: weights of encoder, contrastive, predictive from first.pt" in done.stderr
    assert json.loads((tmp_path / "run/run.json").read_text())["config"]["init"] == "first.pt"
    started = load_encoder(tmp_path / "run").encoder
    torch.testing.assert_close(started.conv1.weight, built(7).encoder.conv1.weight)

    first.unlink()  # not needed any more: the checkpoint goes before it
    again = run("train", *line, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "weights of" not in again.stderr
    wrong = run("train", *line[:-1], "--out", "other", cwd=tmp_path)
    assert wrong.returncode == 2 and "first.pt: no such file" in wrong.stderr
