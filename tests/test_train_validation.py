import math
from collections.abc import Callable
from itertools import islice

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from sklearn.metrics import average_precision_score

from conftest import configured as configured_anywhere
from slvr.model.encoders.resnet18 import ResNet18
from slvr.model.learner import Head, Learner
from slvr.model.objectives.augself import AugSelf
from slvr.model.objectives.geometry import geometry
from slvr.model.objectives.mlap import MLAP
from slvr.model.objectives.simclr import SimCLR
from slvr.pipeline.frontends.mtslvr import MTSLVR
from slvr.pipeline.stage import Stage
from slvr.pipeline.views.chains import Chains
from slvr.pipeline.views.contract import Known
from slvr.shards.read import ShardDirectory
from slvr.train.config import Data
from slvr.train.stream import Stream
from slvr.train.validation import EarlyStop, Validation, is_held_out, validate
from strangers.mine import MyEncoder, Two

VIEWS = Chains()
STAGE = Stage(VIEWS, MTSLVR())


def views_of(clips: int) -> tuple[torch.Tensor, Known]:
    plan = VIEWS.sample(clips, int(torch.randint(1000, ())))
    return torch.randn(2, clips, 3, 32, 33), VIEWS.known(plan)


def two_tasks() -> Learner:
    """Both tasks of MT-SLVR, in a small network."""
    torch.manual_seed(0)
    encoder = ResNet18("parallel", dim=16, width=4)
    heads = {
        "simclr": Head(SimCLR(8), "contrastive"),
        "mlap": Head(MLAP(8, VIEWS.columns), "predictive"),
    }
    return Learner(encoder, heads, VIEWS.knows)


def test_geometry_of_embeddings_that_fill_the_sphere() -> None:
    """Random unit vectors: distance 2 between strangers, so uniformity -4; spread 1."""
    torch.manual_seed(0)
    h = torch.randn(400, 300)
    found = geometry(h, 3 * h)
    assert found["alignment"] == pytest.approx(0, abs=1e-6)
    assert found["uniformity"] == pytest.approx(-4, abs=0.1)
    assert found["spread"] == pytest.approx(1, abs=0.02)
    assert geometry(h, -h)["alignment"] == pytest.approx(4, abs=1e-5)


def test_geometry_of_collapsed_embeddings() -> None:
    h = torch.ones(50, 30) + 1e-4 * torch.randn(50, 30)
    found = geometry(h, h)
    assert found["spread"] < 0.01 and found["uniformity"] == pytest.approx(0, abs=1e-3)


def test_validation_means_the_losses_and_leaves_the_model_alone() -> None:
    model = two_tasks()
    batches = [views_of(6) for _ in range(3)]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = validate(model, batches)
    assert model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    model.eval()
    with torch.no_grad():
        losses = [model(*batch) for batch in batches]
        embedded = [model.encoder(x, "predictive") for views, _ in batches for x in views]
        logits = [model.heads["mlap"].head(h) for h in embedded]
        contrastive = [[model.encoder(x, "contrastive") for x in views] for views, _ in batches]
    assert list(found)[:3] == ["total", "simclr.nt_xent", "mlap.bce"] == list(losses[0])
    for name in losses[0]:
        expected = np.mean([float(loss[name]) for loss in losses])
        assert found[name] == pytest.approx(expected, rel=1e-5)
    truth = torch.cat([known["labels"] for _, known in batches for _ in range(2)])
    for k, name in enumerate(VIEWS.columns):
        expected = average_precision_score(truth[:, k], torch.cat(logits)[:, k])
        assert found[f"mlap.ap_{name}"] == pytest.approx(expected)
    # of all clips at once
    for name, value in geometry(*(torch.cat(h) for h in zip(*contrastive, strict=True))).items():
        assert found[f"simclr.{name}"] == pytest.approx(value, rel=1e-4)


def test_each_predictive_objective_of_several_is_measured() -> None:
    torch.manual_seed(0)
    encoder = ResNet18("split", dim=16, width=4)
    mlap, augself = MLAP(8, VIEWS.columns), AugSelf(8, VIEWS.quantities)
    heads = {"mlap": Head(mlap, "predictive"), "augself": Head(augself, "predictive")}
    model = Learner(encoder, heads, VIEWS.knows)
    batches = [views_of(40)]
    found = validate(model, batches)
    assert found["mlap.bce"] + found["augself.mse"] == pytest.approx(found["total"], rel=1e-5)
    kinds = {f"mlap.ap_{name}" for name in VIEWS.columns}
    kinds |= {f"augself.r2_{name}" for name in VIEWS.quantities}
    assert found.keys() == {"total", "mlap.bce", "augself.mse"} | kinds

    torch.nn.init.zeros_(augself.head.layer3.weight)
    torch.nn.init.zeros_(augself.head.layer3.bias)
    found = validate(model, batches)
    assert all(found[f"augself.r2_{name}"] == 0 for name in VIEWS.quantities)
    views, known = batches[0]
    right = known | {"differences": torch.zeros_like(known["differences"]) + 0.5}
    augself.head.layer3.bias.data.fill_(math.atanh(0.5))  # right one way round, wrong the other
    measured = validate(model, [(views, right)])
    expected = pytest.approx(1 - (0 + 1) / (0.25 + 0.25))
    assert measured["augself.r2_time_shift.shift"] == expected
    never = known | {"labels": torch.zeros_like(known["labels"])}
    assert validate(model, [(views, never)]).keys() == {"total", "mlap.bce", "augself.mse"}


def test_frames_of_three_views_are_measured_over_all_clips() -> None:
    torch.manual_seed(0)
    head = Head(Two(6, scale=1.0), "all", {"a": 1, "b": 0.5})
    model = Learner(MyEncoder(6, n_mels=64), {"two": head}, {"pitch"}, n_views=3)
    batches = [(20 * torch.randn(3, 10, 1, 64, 16), {"pitch": torch.randn(10)}) for _ in range(3)]
    found = validate(model, batches)
    views = torch.cat([views for views, _ in batches], dim=1)
    known = {"pitch": torch.cat([known["pitch"] for _, known in batches])}
    with torch.no_grad():
        h = model.embed(views)
        assert h["all"].frames.shape == (3, 30, 4, 6)
        expected = {name: float(loss) for name, loss in model.losses(h, known).items()}
    expected |= model.measures(h, known)
    assert list(found) == ["total", "two.a", "two.b", "two.right_way"]
    assert found == pytest.approx(expected, rel=1e-5)


def test_early_stop_counts_from_the_last_progress() -> None:
    stop = EarlyStop()
    told = [stop.update(loss, delta=0.1) for loss in (3.0, 2.0, 1.95, 2.5, 1.8, 1.79)]
    assert told == [True, True, False, False, True, False]
    assert stop == EarlyStop(best=1.8, waited=1) and not math.isinf(stop.best)


MakeDirectory = Callable[..., ShardDirectory]
CPU = torch.device("cpu")


def configured(directory: ShardDirectory, **options: object) -> Data:
    settings = {"clip_s": 0.2, "batch": 4, "workers": 0}
    return configured_anywhere(directory.location, **(settings | options)).data


def sounds(batches: object) -> list[bytes]:
    """Each clip of some batches (B, T) as bytes."""
    return [row.numpy().tobytes() for batch in batches for row in batch]


def seen(validation: Validation) -> list[bytes]:
    """The clips that a validation takes."""
    return sounds(validation.batches(lambda pcm, seed, cut: pcm))


@pytest.mark.parametrize("resident", [True, False])
def test_held_out_clips_are_validated_on_and_never_trained_on(
    make_directory: MakeDirectory, resident: bool
) -> None:
    directory = make_directory(n_clips=40, lengths_s=(0.2,))
    options = {"holdout": 0.3, "resident": resident}
    validation = Validation(configured(directory, **options, batch=100), directory, CPU)
    held = seen(validation)
    rest = 40 - len(held)
    fabric = Fabric(accelerator="cpu", devices=1)
    stream = Stream(configured(directory, **options, batch=2), directory, fabric)
    trained = sounds(batch.pcm for batch in islice(stream.batches(0), rest))  # two epochs
    dataset = directory.dataset("train")
    assert len(set(held)) == len(held) > 5 and len(set(trained)) == rest
    assert set(held) | set(trained) == {dataset[i].tobytes() for i in range(len(dataset))}
    assert validation.said == f"validation on {len(held)} of 40 clips of split 'train'"


def test_what_is_held_out_depends_on_key_seed_and_share_alone() -> None:
    keys = [f"clip_{i}" for i in range(20_550)]
    held = {seed: {k for k in keys if is_held_out(k, hold(0.3, seed))} for seed in (0, 1)}
    # binomial: 6,165 expected, standard deviation 66
    assert all(abs(len(chosen) - 6_165) < 264 for chosen in held.values())
    assert len(held[0] & held[1]) == pytest.approx(0.09 * len(keys), rel=0.1)
    assert held[0] < {key for key in keys if is_held_out(key, hold(0.5, 0))}


def hold(share: float, seed: int) -> Data:
    return Data(shards="x", holdout=share, seed=seed)


def test_a_validation_split_is_exactly_its_clips(make_directory: MakeDirectory) -> None:
    directory = make_directory(split="validation", n_clips=8, lengths_s=(0.2,))
    config = configured(directory, validation_split="validation")
    dataset = directory.dataset("validation")
    validation = Validation(config, directory, CPU)
    expected = sorted(dataset[i].tobytes() for i in range(8))
    assert sorted(seen(validation)) == sorted(seen(validation)) == expected


def test_fewer_clips_than_a_batch_are_one_batch(make_directory: MakeDirectory) -> None:
    directory = make_directory(n_clips=9)
    config = configured(directory, holdout=0.4, batch=100)
    batches = list(Validation(config, directory, CPU).batches(STAGE))
    n_held = sum(is_held_out(key, config) for key in directory.clips("train")["key"])
    assert [views.shape[:2] for views, _ in batches] == [(2, n_held)]
    found = validate(two_tasks(), batches)
    assert all(math.isfinite(value) for value in found.values()) and "mlap.ap_fade" in found


def test_what_cannot_be_held_out_is_a_sentence(make_directory: MakeDirectory) -> None:
    directory = make_directory(n_clips=6)
    with pytest.raises(ValueError, match=r"[01] of 6 clips of split 'train'.*larger --holdout"):
        Validation(configured(directory, holdout=1e-6), directory, CPU)
    fabric = Fabric(accelerator="cpu", devices=1)
    with pytest.raises(ValueError, match=r"all 6 clips of split 'train' are left out"):
        Stream(configured(directory, holdout=1 - 1e-6), directory, fabric)
    remote = ShardDirectory.open(f"file://{directory.path}")
    with pytest.raises(ValueError, match="remote shards are read from end to end"):
        Stream(configured(remote, holdout=0.3), remote, fabric)
    with pytest.raises(ValueError, match="--loader dali is read from end to end"):
        Stream(configured(directory, holdout=0.3, loader="dali"), directory, fabric)
    with pytest.raises(ValueError, match="exclude each other"):
        configured(directory, holdout=0.3, validation_split="validation")
    with pytest.raises(ValueError, match=r"--holdout 1\.5: out of range"):
        configured(directory, holdout=1.5)


def test_weights_of_half_precision_are_validated_in_float32() -> None:
    model = two_tasks()
    batches = [views_of(6)]
    found, rounded = validate(model, batches), validate(model.bfloat16(), batches)
    assert rounded == pytest.approx(found, rel=0.1, abs=0.1) and rounded != found
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
