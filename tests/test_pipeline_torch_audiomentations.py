"""torch-audiomentations' transforms in our chains, ours in its `Compose`."""

import random
import warnings
from functools import partial

import numpy as np
import pytest
import torch

from slvr.command.named import loaded
from slvr.pipeline.augmentations import DEFAULT, PitchShift, TimeShift
from slvr.pipeline.augmentations.torch_audiomentations import (
    TorchAudiomentation,
    Transform,
)
from slvr.pipeline.augmentations.torch_audiomentations import augmentation_from as from_line
from slvr.pipeline.views.chain_plan import ChainPlan
from slvr.pipeline.views.chains import Chains
from slvr.pipeline.views.contract import Waves

# isort: split
import torch_audiomentations as ta

augmentation_from = partial(from_line, load=loaded)
PREFIX = "torch_audiomentations."
# Every transform of the library that keeps a mono clip's length and needs no files.
LINES = [
    PREFIX + line
    for line in (
        "AddColoredNoise",
        "BandPassFilter",
        "BandStopFilter",
        "Gain",
        "HighPassFilter",
        "Identity",
        "LowPassFilter",
        "PeakNormalization",
        "PitchShift(sample_rate=16000, min_transpose_semitones=-1, max_transpose_semitones=1)",
        "PolarityInversion",
        "Shift",
        "TimeInversion",
    )
]
foreign = pytest.mark.parametrize("line", LINES)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


def only(line):
    return Chains([augmentation_from(line)])


@foreign
def test_one_line_adds_a_label_column_and_replays_through_json(line):
    views = Chains([*DEFAULT, augmentation_from(line)], min_ops=8)
    plan = views.sample(2, seed=3)
    assert plan.names[-1] == line and plan.labels.shape == (2, 8)
    waves = noise(2, 8000)
    out = views.apply(waves, plan)
    assert out.isfinite().all()
    random.seed(1)
    torch.manual_seed(1)
    np.random.seed(1)
    again = views.apply(waves, ChainPlan.from_json(plan.to_json()))
    assert torch.equal(out, again)


@foreign
def test_a_row_depends_on_itself_alone(line):
    views, waves = only(line), noise(3, 8000)
    plan = views.sample(3, seed=0)
    together = views.apply(waves, plan)
    (augmentation,) = views.augmentations.values()
    for clip in range(3):
        params = {k: v[0, [clip]] for k, v in plan.params[line].items()}
        assert torch.equal(together[0, [clip]], augmentation.apply(waves[[clip]], params))


def test_parameters_that_the_clip_does_not_decide_are_in_the_plan():
    views, waves = only(PREFIX + "Gain(min_gain_in_db=-12, max_gain_in_db=-6)"), noise(4, 8000)
    plan = views.sample(4, seed=0)
    factors = plan.params[plan.names[0]]["gain_factors"]
    assert factors.shape == (2, 4, 1, 1) and factors.unique().numel() == 8
    assert (factors > 10 ** (-12 / 20)).all() and (factors < 10 ** (-6 / 20)).all()
    assert torch.allclose(views.apply(waves, plan), waves * factors[..., 0])
    plan.params[plan.names[0]]["gain_factors"].fill_(2)
    assert torch.allclose(views.apply(waves, plan)[0], 2 * waves), "the plan decides"


def test_parameters_that_the_clip_decides_follow_from_a_seed_in_the_plan():
    for line in (PREFIX + "PeakNormalization", PREFIX + "Shift"):
        plan = only(line).sample(2, seed=0)
        assert list(plan.params[line]) == ["seed"]
    views, waves = only(PREFIX + "PeakNormalization"), noise(2, 8000)
    out = views.apply(waves, views.sample(2, seed=0))
    assert torch.allclose(out.abs().amax(-1), torch.ones(2, 2))


def test_what_the_library_does_is_what_is_done():
    line = PREFIX + "PolarityInversion"
    waves = noise(2, 800)
    views = only(line)
    assert torch.equal(views.apply(waves, views.sample(2, seed=0))[1], -waves)


def test_the_generators_of_the_process_and_the_given_transform_stay():
    states = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].copy()
    given = ta.AddColoredNoise(p=0.25, output_type="dict")
    views = Chains([TorchAudiomentation("noise", given)])
    views.apply(noise(2, 800), views.sample(2, seed=0))
    assert given.p == 0.25 and given.transform_parameters == {}
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])
    assert (np.random.get_state()[1] == states[2]).all()


def test_bfloat16_stays():
    views = only(PREFIX + "LowPassFilter")
    waves = noise(2, 8000).bfloat16()
    assert views.apply(waves, views.sample(2, seed=0)).dtype == torch.bfloat16


@pytest.mark.parametrize("between", ".:")
def test_our_own_augmentations_are_named_likewise(between):
    line = f"slvr.pipeline.augmentations{between}PitchShift(grid='continuous', name='wide')"
    assert augmentation_from(line) == PitchShift("continuous", "wide")


OWN = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Louder:
    times: float = 2.0
    name: str = "louder"

    def sample(self, n, generator, device):
        return {}

    def apply(self, x, params):
        return self.times * x
"""


def test_a_class_in_a_file_of_ones_own_joins_the_chains(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    lines = ("./own.py:Louder", "./own.py:Louder(times=0.5, name='softer')")
    config = Chains.Config(extra=lines, min_ops=9)
    views = Chains.build(config, Waves(800, load=loaded))
    assert views.columns == (*(a.name for a in DEFAULT), "louder", "softer")
    assert views.sample(1, seed=0).labels.tolist() == [[1.0] * 9]
    assert views.augmentations["softer"].times == 0.5


def test_without_a_way_to_load_them_extras_are_refused():
    with pytest.raises(ValueError, match=r"own\.py:Louder: classes are not loaded by name here"):
        Chains.build(Chains.Config(extra=("./own.py:Louder",)), Waves(800))


def test_no_warning_about_the_librarys_output_type():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        augmentation_from(PREFIX + "Gain")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("Gain", "expected package.Class"),
        ("torch_audiomentations.Gain(3)", "options must be given by name"),
        ("torch_audiomentations.Gain(min_gain_in_db=open('x'))", "malformed node"),
        ("torch_audiomentations.Gain(", "was never closed"),
    ],
)
def test_a_line_that_cannot_be_used_is_one_sentence(line, why):
    with pytest.raises(ValueError, match=r"augmentation .*expected package\.Class") as caught:
        augmentation_from(line)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("torch_audiomentations.Loudness", "no attribute 'Loudness'; give package.module:Class"),
        ("no_such_package.Gain", "No module named 'no_such_package'; give package.module:Class"),
        ("./nowhere.py:Gain", "No such file"),
        ("torch_audiomentations.Gain(loud=3)", "unexpected keyword argument 'loud'; give other"),
        ("torch.nn.Identity", "nor an object with name, sample and apply"),
    ],
)
def test_what_is_named_and_cannot_be_made_is_one_sentence(line, why):
    with pytest.raises(ValueError, match=r"augmentation ") as caught:
        augmentation_from(line)
    assert why in str(caught.value)


# The other way


@pytest.mark.parametrize("augmentation", DEFAULT, ids=[a.name for a in DEFAULT])
@pytest.mark.parametrize("mode", ["per_example", "per_channel"])
def test_ours_join_its_compose(augmentation, mode):
    chain = ta.Compose(
        [
            Transform(augmentation, mode=mode, p=1.0),
            ta.PolarityInversion(p=1.0, output_type="dict"),
        ],
        output_type="dict",
    )
    x = noise(3, 2, 8000)
    torch.manual_seed(0)
    out = chain(x, sample_rate=16_000).samples
    assert out.shape == x.shape and out.isfinite().all()
    torch.manual_seed(0)
    assert torch.equal(out, chain(x, sample_rate=16_000).samples)
    assert not torch.equal(out, chain(x, sample_rate=16_000).samples)
    chain.freeze_parameters()
    assert torch.equal(chain(x, sample_rate=16_000).samples, chain(x, sample_rate=16_000).samples)


def test_channels_share_parameters_where_the_library_says_so():
    x = noise(4, 1, 1000).expand(4, 2, 1000)
    torch.manual_seed(0)
    left, right = Transform(TimeShift(), p=1.0)(x).samples.unbind(1)
    assert torch.equal(left, right)
    left, right = Transform(TimeShift(), mode="per_channel", p=1.0)(x).samples.unbind(1)
    assert not torch.equal(left, right)


def test_ours_keep_to_the_given_probability():
    x = noise(400, 1, 100)
    torch.manual_seed(0)
    changed = (Transform(TimeShift(), p=0.3)(x).samples != x).flatten(1).any(1)
    assert 80 < changed.sum() < 160
    assert torch.equal(Transform(TimeShift(), p=0.0)(x).samples, x)
