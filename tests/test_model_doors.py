"""What every encoder and every objective of the registries keeps, whatever is in them.

A new one is tested here by its line in the registry; an objective that needs to know something new
also has an example of it in `KNOWN`.
"""

import dataclasses
import inspect
import itertools
import json
import math
import subprocess
import sys
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import torch
from torch import nn

from slvr.command.named import loaded
from slvr.model.encoders.contract import Embedded, Encoder, Images
from slvr.model.encoders.registry import ENCODERS
from slvr.model.objectives.contract import Given, Objective
from slvr.model.objectives.registry import OBJECTIVES

REGISTRIES = {"ENCODERS": ENCODERS, "OBJECTIVES": OBJECTIVES}
DOORS = [(where, name) for where, registry in REGISTRIES.items() for name in registry]
DIM, CLIPS, FRAMES = 12, 6, 5
QUANTITIES = {"a.x": 0, "b.x": 1, "b.y": 1}
GIVEN = Given(DIM, ("a", "b", "c"), QUANTITIES)


def entry(where, name):
    return loaded(REGISTRIES[where][name], where)


@pytest.mark.parametrize(("where", "name"), DOORS)
def test_an_entry_has_the_name_and_the_kind_of_its_registry(where, name):
    found = entry(where, name)
    assert issubclass(found, {"ENCODERS": Encoder, "OBJECTIVES": Objective}[where])
    assert name == found.NAME
    assert dataclasses.is_dataclass(found.Config) and found.Config.__dataclass_params__.frozen
    assert found.Config() == found.Config(), "every option has a default"


TOLD = """
import dataclasses, inspect, json, sys, typing
from slvr.command.named import config_of
from slvr.model.{module}.registry import {where}

for name in {where}:
    config = config_of(name, {where}, "--x")
    hints = typing.get_type_hints(config)
    fields = [[f.name, repr(f.default), str(hints[f.name])] for f in dataclasses.fields(config)]
    print(json.dumps([name, fields, config.__doc__, inspect.getsource(config), repr(config())]))
heavy = [name for name in ("torch", "numpy", "sklearn") if name in sys.modules]
assert not heavy, heavy
"""


@pytest.mark.parametrize("where", REGISTRIES)
def test_options_are_known_without_loading_torch(where):
    code = TOLD.format(where=where, module=where.lower())
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [name for name, *_ in lines] == list(REGISTRIES[where])
    for name, *told in lines:
        config = entry(where, name).Config
        hints = get_type_hints(config)
        fields = [[f.name, repr(f.default), str(hints[f.name])] for f in dataclasses.fields(config)]
        assert told == [fields, config.__doc__, inspect.getsource(config), repr(config())]


def configs(name):
    """The default an eighth as wide, and what each switch and choice of its fields gives instead.

    What is kept does not depend on widths, and double precision is slow.
    """
    config = entry("ENCODERS", name).Config
    wide = {k: v for k, v in dataclasses.asdict(config()).items() if type(v) is int and v >= 64}
    narrow = {field: value // 16 * 2 for field, value in wide.items()}
    if isinstance(getattr(config(), "width", None), float):  # a multiplier of all channels
        narrow["width"] = config().width / 8
    default = config(**narrow)
    yield default
    for field, kind in get_type_hints(config).items():
        choices = (False, True) if kind is bool else get_args(kind)
        if kind is bool or get_origin(kind) is Literal:
            for choice in choices:
                if choice != getattr(default, field):
                    yield dataclasses.replace(default, **{field: choice})


every_encoder = pytest.mark.parametrize(
    ("name", "config"),
    [
        pytest.param(name, config, id=f"{name}-{i}")
        for name in ENCODERS
        for i, config in enumerate(configs(name))
    ],
)


def encoder(name, config, seed=0):
    """In training mode, in float64, every weight and statistic off its neutral value; no dropout.

    Random draws would come in another order in a batch of all views.
    """
    torch.manual_seed(seed)
    made = entry("ENCODERS", name).build(config, Images()).double()
    with torch.no_grad():
        for tensor in made.state_dict().values():
            if tensor.ndim == 1:
                tensor.add_(0.1 * torch.rand_like(tensor))
    for module in made.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return made


def images(*shape):
    generator = torch.Generator().manual_seed(1)
    channels, bands, _ = Images()
    return torch.randn(*shape, channels, bands, 63, generator=generator, dtype=torch.float64)


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def assert_same_state(found, expected):
    assert found.state_dict().keys() == expected.state_dict().keys()
    for key, tensor in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[key], tensor, rtol=1e-9, atol=1e-9, msg=key)


@every_encoder
def test_dims_are_those_of_the_embeddings_and_all_has_them_side_by_side(name, config):
    one = encoder(name, config).eval()
    assert set(one.dims) >= {*one.tasks, "all"}
    assert one.dims["all"] == sum(one.dims[task] for task in one.tasks)
    x = images(2)
    found = {task: one(x, task) for task in one.dims}
    assert {task: tuple(h.shape) for task, h in found.items()} == {
        task: (2, dim) for task, dim in one.dims.items()
    }
    assert_close(torch.cat([found[task] for task in one.tasks], dim=1), found["all"])
    with pytest.raises(ValueError, match=r"'none such'.*all"):
        one(x, "none such")


@every_encoder
@pytest.mark.parametrize("n_views", [2, 3])
def test_embedding_views_is_a_pass_of_each_for_task_after_task(name, config, n_views):
    found, apart = encoder(name, config), encoder(name, config)
    views = images(n_views, 3)
    assert found.bn_views == "separate"
    embedded = found.embed(views, found.tasks)
    assert tuple(embedded) == found.tasks
    for task in apart.tasks:
        assert_close(embedded[task].clips, torch.stack([apart(x, task) for x in views]))
    assert_same_state(found, apart)


@every_encoder
def test_views_together_are_one_pass(name, config):
    found, apart = encoder(name, config), encoder(name, config)
    views = images(2, 3)
    found.bn_views = "together"
    embedded = found.embed(views, found.tasks)
    for task in apart.tasks:
        assert_close(embedded[task].clips.flatten(0, 1), apart(views.flatten(0, 1), task))
    assert_same_state(found, apart)


@every_encoder
def test_frames_are_there_where_a_stride_is(name, config):
    one = encoder(name, config).eval()
    task, views = one.tasks[0], images(2, 2)
    h = one.embed(views, [task])[task]
    if one.frame_stride is None:
        assert h.frames is None
        with pytest.raises(TypeError, match=name):
            one.frames(views[0], task)
    else:
        n_frames = views.shape[-1] / one.frame_stride
        assert h.frames.shape[:2] == (2, 2) and h.frames.ndim == 4
        assert math.floor(n_frames) <= h.frames.shape[2] <= math.ceil(n_frames)
        for view, clips, frames in zip(views, *h, strict=True):
            assert_close(one.frames(view, task), (clips, frames))
            assert_close(one(view, task), clips)


@every_encoder
def test_its_shape_makes_the_same_network(name, config):
    one = encoder(name, config).eval()
    shape = json.loads(json.dumps(one.shape()))
    assert shape == one.shape()
    again = type(one)(**shape).double().eval()
    again.load_state_dict(one.state_dict())
    x = images(2)
    assert_close(again(x, "all"), one(x, "all"))
    assert again.shape() == shape and again.dims == one.dims and again.tasks == one.tasks


@every_encoder
def test_untrained_is_a_function_of_shape_and_seed_alone(name, config, monkeypatch):
    def refused(seed):
        raise AssertionError("reseeds the GPUs of the whole process")

    one = encoder(name, config)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", refused)
    made = []
    for global_seed, seed in ((1, 5), (2, 5), (2, 6)):
        torch.default_generator.manual_seed(global_seed)
        before = torch.get_rng_state()
        made.append(one.untrained(seed))
        assert torch.equal(torch.get_rng_state(), before)
    first, again, other = (network.state_dict() for network in made)
    assert made[0].shape() == one.shape() and first.keys() == one.state_dict().keys()
    assert all(torch.equal(tensor, again[key]) for key, tensor in first.items())
    matrices = [key for key, tensor in first.items() if tensor.ndim > 1]
    assert not any(torch.equal(first[key], other[key]) for key in matrices)
    assert all(not tensor.any() for key, tensor in first.items() if "batches_tracked" in key)


@every_encoder
def test_folded_is_a_frozen_copy_with_the_same_embeddings(name, config):
    one = encoder(name, config)
    before = {key: tensor.clone() for key, tensor in one.state_dict().items()}
    fast = one.folded()
    assert one.training and not fast.training
    assert not any(p.requires_grad for p in fast.parameters())
    assert all(torch.equal(tensor, before[key]) for key, tensor in one.state_dict().items())
    one.eval()
    x = images(2)
    for task in one.dims:
        assert_close(fast(x, task), one(x, task))


class Recorded(dict):
    """Knowledge that remembers what was asked for."""

    def __init__(self, known):
        super().__init__(known)
        self.read = set()

    def __getitem__(self, key):
        self.read.add(key)
        return super().__getitem__(key)

    def __contains__(self, key):
        return self[key] is not None

    def get(self, key, default=None):
        self.read.add(key)
        return super().get(key, default)

    def all(self, *_):
        raise AssertionError("reads whatever is known, and not only what it needs")

    keys = values = items = __iter__ = pop = all


def knowledge():
    generator = torch.Generator().manual_seed(2)
    labels = torch.randint(0, 2, (CLIPS, len(GIVEN.columns)), generator=generator).float()
    differences = 2 * torch.rand(CLIPS, len(QUANTITIES), generator=generator) - 1
    shift = 0.4 * torch.rand(CLIPS, generator=generator) - 0.2
    return {"labels": labels, "differences": differences, "shift": shift}


KNOWN = knowledge()


def objective(name):
    found = entry("OBJECTIVES", name)
    torch.manual_seed(0)
    return found.build(found.Config(), GIVEN)


def views(n=2):
    generator = torch.Generator().manual_seed(3)
    return Embedded(
        torch.randn(n, CLIPS, DIM, generator=generator).requires_grad_(),
        torch.randn(n, CLIPS, FRAMES, DIM, generator=generator).requires_grad_(),
    )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_losses_are_the_terms_finite_scalars_with_gradients(name):
    one = objective(name)
    h = views(one.n_views)
    losses = one(h, KNOWN)
    assert tuple(losses) == one.terms and len(set(one.terms)) == len(one.terms) > 0
    assert all(loss.shape == () and torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    looked_at = [x.grad for x in h if x.grad is not None]
    assert (h.frames.grad is not None) == one.uses_frames
    for gradient in (*looked_at, *(p.grad for p in one.parameters())):
        assert gradient is not None and torch.isfinite(gradient).all()
    for view in range(one.n_views):
        assert sum(float(gradient[view].norm()) for gradient in looked_at) > 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_term_has_gradients(name):
    for term in objective(name).terms:
        one = objective(name)
        h = views(one.n_views)
        one(h, KNOWN)[term].backward()
        assert sum(float(x.grad.norm()) for x in h if x.grad is not None) > 0, term


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_it_needs_is_what_it_reads(name):
    one, known = objective(name), Recorded(KNOWN)
    assert one.needs <= set(KNOWN), "an example of what it needs belongs into KNOWN"
    one(views(one.n_views), known)
    assert known.read == one.needs
    with torch.no_grad():
        one.measures(views(one.n_views), known)
    assert known.read == one.needs


@torch.no_grad()
@pytest.mark.parametrize("name", OBJECTIVES)
def test_measures_are_numbers_that_leave_it_as_it_was(name):
    one = objective(name).eval()
    before = {key: tensor.clone() for key, tensor in one.state_dict().items()}
    found = one.measures(views(one.n_views), KNOWN)
    assert all(type(key) is str for key in found)
    assert all(type(value) is float and math.isfinite(value) for value in found.values())
    assert not set(found) & set(one.terms), "a column of the log has one meaning"
    assert all(torch.equal(tensor, before[key]) for key, tensor in one.state_dict().items())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_same_seed_same_weights(name):
    first, again = objective(name).state_dict(), objective(name).state_dict()
    assert first.keys() == again.keys()
    assert all(torch.equal(tensor, again[key]) for key, tensor in first.items())


@pytest.mark.parametrize(("first", "second"), [*itertools.combinations(OBJECTIVES, 2)])
def test_objectives_do_not_write_on_what_others_read(first, second):
    h, known = views(3), {key: tensor.clone() for key, tensor in KNOWN.items()}
    expected = objective(second)(h, known)
    objective(first)(h, known)
    assert all(torch.equal(tensor, KNOWN[key]) for key, tensor in known.items())
    again = objective(second)(h, known)
    assert all(torch.equal(again[term], loss) for term, loss in expected.items())
