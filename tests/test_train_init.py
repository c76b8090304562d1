import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conftest import configured, run
from slvr.command.named import stored
from slvr.model.checkpoint import load_model, read_checkpoint
from slvr.model.encoders.registry import ENCODERS
from slvr.model.encoders.resnet18 import ResNet18
from slvr.model.learner import Learner
from slvr.model.released import published_names
from slvr.pipeline.augmentations import DEFAULT, TimeMasking
from slvr.pipeline.views.chains import Chains
from slvr.shards.read import ShardDirectory
from slvr.train.build import build_model, build_stage
from slvr.train.init import initialise
from slvr.train.loop import train

MakeDirectory = Callable[..., ShardDirectory]
SMALL = {
    "encoder__width": 4,
    "encoder__dim": 20,
    "clip_s": 0.2,
    "batch": 4,
    "workers": 0,
    "accelerator": "cpu",
}
NAME = "AS_BAL_{}_trans_1_0_{}_2_3__100_5e-05_21022023-145537.pt"


def built(
    seed: int,
    views: Chains | None = None,
    recipe: str = "mtslvr-simclr-parallel",
    **options: object,
) -> Learner:
    torch.manual_seed(seed)
    config = configured(recipe=recipe, **(SMALL | options))
    stage = build_stage(config.parts, 0.2, "published", torch.device("cpu"))
    return build_model(config.parts, dataclasses.replace(stage, views=views or stage.views))


def publish(model: Learner, path: Path, *, backbone: bool = False) -> Path:
    """The file that the original code would have written of a model."""
    source = model.encoder if backbone else model
    names = published_names(source)
    torch.save({names[name]: tensor for name, tensor in source.state_dict().items()}, path)
    return path


def parts_equal(a: Learner, b: Learner) -> set[str]:
    """The parts of two models whose tensors all agree."""
    theirs = b.state_dict()
    same: dict[str, bool] = {}
    for name, tensor in a.state_dict().items():
        part = name.removeprefix("heads.").partition(".")[0]
        equal = tensor.shape == theirs[name].shape and torch.equal(tensor, theirs[name])
        same[part] = same.get(part, True) and equal
    return {part for part, equal in same.items() if equal}


@pytest.mark.parametrize("variant", ["none", "split", "bn", "series", "parallel"])
@pytest.mark.parametrize("contrastive", ["simclr", "simsiam"])
def test_a_published_joint_model_gives_encoder_and_both_heads(
    tmp_path: Path, contrastive: str, variant: str
) -> None:
    recipe = f"mtslvr-{contrastive}-{variant}"
    published = built(0, recipe=recipe)
    model = built(1, recipe=recipe)
    said = initialise(model, publish(published, tmp_path / "joint.pt"))
    assert parts_equal(model, published) == {"encoder", contrastive, "mlap"}
    assert said == f"weights of encoder, {contrastive}, mlap from {tmp_path / 'joint.pt'}"


def test_heads_that_the_file_lacks_or_that_predict_other_labels_start_anew(tmp_path: Path) -> None:
    published = built(0)
    backbone = publish(published, tmp_path / "backbone.pt", backbone=True)
    model = built(1)
    said = initialise(model, backbone)
    assert parts_equal(model, published) == {"encoder"}
    assert "; simclr head anew; mlap head anew" in said

    more_labels = built(1, Chains((*DEFAULT, TimeMasking("second_mask"))))
    said = initialise(more_labels, publish(published, tmp_path / "joint.pt"))
    assert "weights of encoder, simclr from" in said and "mlap head anew" in said
    assert parts_equal(more_labels, published) == {"encoder", "simclr"}

    alone = built(1, recipe="simclr")
    joint = built(0, recipe="mtslvr-simclr-none")
    said = initialise(alone, publish(joint, tmp_path / "none.pt"))
    assert parts_equal(alone, joint) == {"encoder", "simclr"}
    assert said == f"weights of encoder, simclr from {tmp_path / 'none.pt'}"


@pytest.mark.parametrize(
    ("contrastive", "variant", "part"),
    [("simclr", "series", "encoder"), ("simsiam", "parallel", "simclr")],
)
def test_another_variant_or_contrastive_objective_is_refused_and_nothing_loaded(
    tmp_path: Path, contrastive: str, variant: str, part: str
) -> None:
    other = built(0, recipe=f"mtslvr-{contrastive}-{variant}")
    named = NAME.format(contrastive, variant)
    for path in (publish(other, tmp_path / named), publish(other, tmp_path / "renamed.pt")):
        model, before = built(1), built(1)
        with pytest.raises(ValueError, match=rf"--init .*{part} weights do not fit: ") as error:
            initialise(model, path)
        message = str(error.value)
        assert "missing (" in message or "misshapen (" in message
        assert "unexpected (" in message
        assert parts_equal(model, before) == {"encoder", "simclr", "mlap"}
        by_name = f"its name says {contrastive} and --encoder.variant {variant}"
        expected = by_name if path.name == named else "its encoder is that of"
        assert expected in message


def test_a_run_of_ours_goes_on_elsewhere(make_directory: MakeDirectory, tmp_path: Path) -> None:
    directory = make_directory()
    base = configured(directory.path, **SMALL, steps=3, lr=1e-3)
    checkpoint = train(base, tmp_path / "first")
    tensors, _ = read_checkpoint(checkpoint)
    for source in (checkpoint, tmp_path / "first"):
        model = built(5)
        assert f"from {checkpoint}" in initialise(model, source)
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, tensors[f"model.{name}"]), name

    with pytest.raises(ValueError, match=r"misshapen.*resnet18 with .*=parallel dim=20 width=4"):
        initialise(built(5, encoder__width=8), checkpoint)
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
        for part in ("--" + name.replace("__", ".").replace("_", "-"), str(value))
    ]
    line = ("--shards", "data", *flags, "--init", "first.pt", "--out", "run", "--resume")
    done = run("train", *line, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "train: weights of encoder, simclr, mlap from first.pt" in done.stderr
    assert json.loads((tmp_path / "run/run.json").read_text())["config"]["init"] == "first.pt"
    started = load_model(
        tmp_path / "run", lambda name, where: stored(name, ENCODERS, (), where)
    ).encoder
    assert isinstance(started, ResNet18)
    torch.testing.assert_close(started.conv1.weight, built(7).encoder.conv1.weight)

    first.unlink()  # not needed any more: the checkpoint goes before it
    again = run("train", *line, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "weights of" not in again.stderr
    wrong = run("train", *line[:-1], "--out", "other", cwd=tmp_path)
    assert wrong.returncode == 2 and "first.pt: no such file" in wrong.stderr
