"""A learner sums its heads; each sees the embedding of its task, and what does not fit is named."""

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slvr.model.encoders.contract import Embedded, Encoder
from slvr.model.encoders.resnet18 import VARIANTS, ResNet18
from slvr.model.learner import Head, Learner
from slvr.model.objectives.contract import Objective
from slvr.model.objectives.mlap import MLAP
from slvr.model.objectives.simclr import SimCLR
from slvr.model.objectives.simsiam import SimSiam

COLUMNS = ("a", "b", "c", "d", "e", "f", "g")
KNOWS = ("labels", "differences")
HEADS = {"simclr": "contrastive", "mlap": "predictive"}


def build(variant="parallel", names=tuple(HEADS), **weights):
    torch.manual_seed(0)
    encoder = ResNet18(variant, dim=16, width=8)
    made = {
        "simclr": SimCLR(encoder.dims["contrastive"]),
        "mlap": MLAP(encoder.dims["predictive"], COLUMNS),
    }
    heads = {name: Head(made[name], HEADS[name], weights.get(name, {})) for name in names}
    return Learner(encoder, heads, KNOWS)


def batch(n_views=2):
    generator = torch.Generator().manual_seed(1)
    views = torch.randn(n_views, 4, 3, 32, 33, generator=generator)
    labels = torch.randint(0, 2, (4, 7), generator=generator).float()
    return views, {"labels": labels, "differences": torch.zeros(4, 0)}


def batches_seen(module):
    return {int(n) for key, n in module.state_dict().items() if "num_batches_tracked" in key}


@pytest.mark.parametrize("variant", VARIANTS)
def test_total_is_the_weighted_sum_of_the_terms(variant):
    model = build(variant, mlap={"bce": 0.25})
    losses = model(*batch())
    expected = losses["simclr.nt_xent"] + 0.25 * losses["mlap.bce"]
    torch.testing.assert_close(losses["total"], expected)
    losses["total"].backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_the_columns_are_the_losses_in_their_order():
    model = build()
    assert model.columns == ("total", "simclr.nt_xent", "mlap.bce") == tuple(model(*batch()))
    assert build(names=("mlap", "simclr")).columns == ("total", "mlap.bce", "simclr.nt_xent")
    assert {name.partition(".")[0] for name in model.state_dict()} == {"encoder", "heads"}
    heads = {name.split(".")[1] for name in model.state_dict() if name.startswith("heads")}
    assert heads == {"simclr", "mlap"}
    assert model.needs("simclr") == frozenset() and model.needs("mlap") == {"labels"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_objective_sees_the_embeddings_of_its_task(variant):
    model = build(variant)
    model.eval()
    views, known = batch()
    losses = model(views, known)
    for name, task in HEADS.items():
        h = Embedded(torch.stack([model.encoder(x, task) for x in views]))
        ((term, expected),) = model.heads[name](h, known).items()
        torch.testing.assert_close(losses[f"{name}.{term}"], expected)


@pytest.mark.parametrize("name", HEADS)
def test_a_baseline_runs_its_own_task_only(name):
    both, one = build(), build(names=(name,))
    weights = {key: x for key, x in both.state_dict().items() if key in one.state_dict()}
    one.load_state_dict(weights)
    assert one.trained_tasks == (HEADS[name],)
    losses, expected = one(*batch()), both(*batch())
    (column,) = set(losses) - {"total"}
    torch.testing.assert_close(losses["total"], expected[column])
    torch.testing.assert_close(losses[column], expected[column])
    trained = 0 if name == "simclr" else 1
    assert batches_seen(one.encoder.end_norms[trained]) == {2}
    assert batches_seen(one.encoder.end_norms[1 - trained]) == {0}


def test_a_baseline_is_weighted_too():
    losses = build(names=("mlap",), mlap={"bce": 0.5})(*batch())
    torch.testing.assert_close(losses["total"], 0.5 * losses["mlap.bce"])


def test_views_have_batch_statistics_of_their_own():
    model = build()
    views, known = batch()
    apart = model(views, known)["simclr.nt_xent"]
    louder = torch.stack([views[0], 10 * views[1] + 3])  # the first norm takes it out again
    torch.testing.assert_close(model(louder, known)["simclr.nt_xent"], apart, rtol=0.2, atol=0)


def test_any_objective_fits_any_task():
    encoder = ResNet18("split", dim=16, width=8)
    heads = {
        "simsiam": Head(SimSiam(8, width=16, bottleneck=4), "contrastive"),
        "simclr": Head(SimCLR(8), "predictive"),
        "mlap": Head(MLAP(16, COLUMNS), "all"),
    }
    model = Learner(encoder, heads, KNOWS)
    assert model.trained_tasks == ("contrastive", "predictive", "all")
    assert torch.isfinite(model(*batch())["total"])


def test_two_objectives_on_one_task_share_its_embedding():
    encoder = ResNet18("split", dim=16, width=8)
    heads = {"simclr": Head(SimCLR(8), "predictive"), "mlap": Head(MLAP(8, COLUMNS), "predictive")}
    model = Learner(encoder, heads, KNOWS)
    h = model.embed(batch()[0])
    assert tuple(h) == model.trained_tasks == ("predictive",)
    assert batches_seen(encoder) == {2}


def test_measures_have_the_name_of_their_head():
    model = build().eval()
    views, known = batch()
    found = model.measures(model.embed(views), known)
    geometry = {"simclr.alignment", "simclr.uniformity", "simclr.spread"}
    shown = {f"mlap.ap_{c}" for c, on in zip(COLUMNS, known["labels"].any(0), strict=True) if on}
    assert found.keys() == geometry | shown


def test_a_model_without_objectives_is_refused():
    with pytest.raises(ValueError, match="nothing to train"):
        build(names=())


class Framed(Encoder):
    """Means of bands, over all frames and over pairs of them; one task."""

    NAME = "framed"
    tasks = ("all",)
    frame_stride = 2

    @dataclass(frozen=True)
    class Config:
        dim: int = 6

    def __init__(self, dim=6):
        super().__init__()
        self.dims = {"all": dim}
        self.bands = nn.LazyLinear(dim)
        self.norm = nn.BatchNorm1d(dim)

    @classmethod
    def build(cls, config, images):
        return cls(config.dim)

    def shape(self):
        return dict(self.dims)

    def forward(self, x, task):
        return self.frames(x, task)[0]

    def frames(self, x, task):
        bands = self.norm(self.bands(x.mean(1).mT).mT)
        return bands.mean(2), F.avg_pool1d(bands, 2).mT


class Shift(Objective):
    """The shift between two views, from clips and from frames by the same weights."""

    NAME = "shift"
    terms = ("clip", "frame")
    needs = frozenset({"shift"})
    uses_frames = True

    @dataclass(frozen=True)
    class Config:
        pass

    def __init__(self, dim):
        super().__init__()
        self.place = nn.Linear(dim, 1)

    @classmethod
    def build(cls, config, given):
        return cls(given.dim)

    def forward(self, h, known):
        moved = [x[1] - x[0] for x in (self.place(h.clips), self.place(h.frames).mean(2))]
        losses = [(d[:, 0] - known["shift"]).square().mean() for d in moved]
        return dict(zip(self.terms, losses, strict=True))


def shifts(**weights):
    torch.manual_seed(0)
    encoder = Framed()
    encoder(torch.randn(2, 3, 32, 8), "all")
    return Learner(encoder, {"mine": Head(Shift(6), "all", weights)}, ("shift",))


def test_terms_that_share_weights_are_one_objective():
    views, known = batch()[0], {"shift": torch.tensor([-1.0, 0.0, 0.5, 2.0])}
    gradients = []
    for weights in ({"clip": 1.0, "frame": 0.0}, {"clip": 0.0}, {"clip": 3.0, "frame": 0.5}):
        model = shifts(**weights)
        losses = model(views, known)
        assert model.columns == tuple(losses) == ("total", "mine.clip", "mine.frame")
        expected = sum(weights.get(term, 1) * losses[f"mine.{term}"] for term in Shift.terms)
        torch.testing.assert_close(losses["total"], expected)
        losses["total"].backward()
        gradients.append(model.heads["mine"].place.weight.grad)
    torch.testing.assert_close(gradients[2], 3 * gradients[0] + 0.5 * gradients[1])


@pytest.mark.parametrize("bn_views", ["separate", "together"])
def test_frames_of_each_view_reach_the_objective(bn_views):
    model = shifts()
    model.encoder.bn_views = bn_views
    views = batch(n_views=3)[0]
    before = int(model.encoder.norm.num_batches_tracked)
    h = model.embed(views)["all"]
    assert h.clips.shape == (3, 4, 6) and h.frames.shape == (3, 4, 16, 6)
    passes = list(views) if bn_views == "separate" else [views.flatten(0, 1)]
    assert int(model.encoder.norm.num_batches_tracked) == before + len(passes)
    found = [model.encoder.frames(x, "all") for x in passes]
    torch.testing.assert_close(h.clips.flatten(0, 1), torch.cat([clips for clips, _ in found]))
    torch.testing.assert_close(h.frames.flatten(0, 1), torch.cat([frames for _, frames in found]))


def refusal(heads, knows=KNOWS, encoder=None):
    with pytest.raises(ValueError) as error:
        Learner(encoder or ResNet18("split", 16, 8), heads, knows)
    return str(error.value)


def test_what_the_views_do_not_know_is_refused_by_name():
    told = refusal({"mine": Head(Shift(6), "all")}, encoder=Framed())
    assert "objective mine needs shift, which these views do not know" in told
    assert "they know differences, labels" in told and "--objectives" in told
    assert "they know nothing" in refusal({"mlap": Head(MLAP(8, COLUMNS), "predictive")}, ())


def test_frames_that_the_encoder_has_not_are_refused_by_name():
    told = refusal({"mine": Head(Shift(6), "all")}, ("shift",))
    assert "objective mine looks at frames, and encoder resnet18 gives none" in told
    with pytest.raises(TypeError, match="resnet18 has no frames"):
        ResNet18("split", 16, 8).frames(torch.zeros(1, 3, 32, 33), "all")


def test_a_task_that_the_encoder_has_not_is_refused_by_name():
    told = refusal({"simclr": Head(SimCLR(6), "contrastive")}, encoder=Framed())
    assert "objective simclr: encoder framed has no task 'contrastive'" in told
    assert "simclr@TASK with one of all" in told


def test_a_weight_of_no_term_is_refused_by_name():
    told = refusal({"simclr": Head(SimCLR(8), "contrastive", {"nt_xent": 1.0, "bce": 2.0})})
    assert "objective simclr has no term bce to weigh; its terms are nt_xent" in told
