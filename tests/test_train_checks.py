"""What a part of the user's own does wrong is said at once, by its name."""

import pytest
import torch
from torch import nn

from conftest import configured
from slvr.model.encoders.contract import Encoder
from slvr.model.learner import Head, Learner
from slvr.model.objectives.contract import Objective
from slvr.pipeline.frontends.logmel import LogMel
from slvr.pipeline.stage import Stage
from slvr.pipeline.views.chains import Chains
from slvr.train.build import _check_shape, build_model, build_stage

VIEWS = torch.zeros(2, 4, 3, 8, 5)
ONE = torch.ones(())


class Net(Encoder):
    """(B, 3, F, L) -> (B, gives), whatever `dims` says."""

    NAME = "net"
    tasks = ("all",)

    def __init__(self, says=4, gives=4):
        super().__init__()
        self.dims, self.gives = {"all": says}, gives
        self.layer = nn.Linear(3, gives)

    @classmethod
    def build(cls, config, images):
        return cls()

    def shape(self):
        return {"says": self.dims["all"], "gives": self.gives}

    def forward(self, x, task):
        return self.layer(x.mean((2, 3)))


class Given(Objective):
    """Gives what it was made with."""

    NAME = "given"
    terms = ("a", "b")

    def __init__(self, **losses):
        super().__init__()
        self.given = losses

    @classmethod
    def build(cls, config, given):
        return cls()

    def forward(self, h, known):
        return self.given


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ({"a": ONE}, r"give given\.a, and declare given\.a, given\.b"),
        ({"a": ONE, "z": ONE}, r"give given\.a, given\.z, and declare"),
        ({}, "give no terms"),
        ({"a": ONE, "b": torch.ones(4)}, r"given\.b: gives \(4,\), expected the mean loss"),
        ({"a": ONE, "b": 1.0}, r"given\.b: gives float, expected the mean loss"),
    ],
)
def test_terms_are_those_that_are_declared_and_scalars(losses, said):
    model = Learner(Net(), {"given": Head(Given(**losses), "all")}, ())
    with pytest.raises(ValueError, match=said):
        model(VIEWS, {})


def test_embeddings_are_of_the_size_that_is_declared():
    model = Learner(Net(says=6), {"given": Head(Given(a=ONE, b=ONE), "all")}, ())
    said = r"encoder net: gives \(2, 4, 4\) for task 'all'.*expected .* = \(2, 4, 6\)"
    with pytest.raises(ValueError, match=said):
        model(VIEWS, {})


class Bad(Chains):
    """Makes or knows some rows alone."""

    NAME = "bad"
    made_rows = known_rows = 4

    def apply(self, waves, plan):
        return super().apply(waves, plan)[:, : self.made_rows]

    def known(self, plan):
        return {name: rows[: self.known_rows] for name, rows in super().known(plan).items()}


def test_views_are_of_every_clip_and_so_is_what_is_known():
    pcm = torch.ones(4, 4000, dtype=torch.int16)
    short, ignorant, liar = Bad(), Bad(), Bad()
    short.made_rows, ignorant.known_rows = 1, 1
    liar.knows = frozenset({"labels", "differences", "pitch"})
    for views, said in (
        (short, r"--views bad: gives \(2, 1, 4000\) for 4 clips"),
        (ignorant, "--views bad: knows .* of 4 clips, expected a row a clip"),
        (liar, "expected a row a clip of differences, labels, pitch"),
    ):
        with pytest.raises(ValueError, match=said):
            Stage(views, LogMel())(pcm, 0)


class Forgetful(Net):
    """Its shape makes a network of another size."""

    def shape(self):
        return {"says": 4, "gives": 5}


class Untold(Net):
    """Its shape is no plain value."""

    def shape(self):
        return {"says": torch.ones(1)}


def test_an_encoder_that_no_checkpoint_could_bring_back_is_refused_before_training():
    for encoder, said in (
        (Forgetful(), "makes another network"),
        (Untold(), "makes no network: .*give plain values"),
    ):
        with pytest.raises(ValueError, match=said):
            _check_shape(encoder, "./mine.py:Net")
    nameless = Net()
    nameless.tasks = "all"
    with pytest.raises(ValueError, match="a tuple"):
        _check_shape(nameless, "./mine.py:Net")
    sound, state = Net(), torch.get_rng_state()
    _check_shape(sound, "./mine.py:Net")
    assert torch.equal(state, torch.get_rng_state())


def test_what_the_user_s_build_raises_names_the_class(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_net.py").write_text(
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True)\n"
        "class Config: pass\n"
        "class Raises:\n"
        "    NAME, Config, embed = 'own', Config, None\n"
        "    @classmethod\n"
        "    def build(cls, config, images): return {}['size']\n"
        "class Nothing(Raises):\n"
        "    @classmethod\n"
        "    def build(cls, config, images): return None\n"
    )
    for name, said in (
        ("Raises", "cannot be built: KeyError: 'size'"),
        ("Nothing", "build gives a NoneType, expected a subclass of slvr.model.encoders"),
    ):
        heads = ["simclr"]
        parts = configured(encoder__name=f"./own_net.py:{name}", objectives__heads=heads).parts
        with pytest.raises(ValueError, match=rf"--encoder ./own_net.py:{name}: {said}"):
            build_model(parts, build_stage(parts, 1.0, "published", torch.device("cpu")))
