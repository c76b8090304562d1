"""Chains: what is drawn, what is done, and that labels, plan and output tell the same story."""

import dataclasses
import math
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from scipy import stats

from slvr.pipeline import blocks
from slvr.pipeline.augmentations import DEFAULT, Fade, TimeMasking, TimeShift
from slvr.pipeline.frontends.mtslvr import MTSLVR
from slvr.pipeline.upload import packed, upload
from slvr.pipeline.views.chain_plan import ChainPlan
from slvr.pipeline.views.chains import Chains
from slvr.pipeline.views.contract import Waves

NAMES = tuple(augmentation.name for augmentation in DEFAULT)
N_DRAWS = 20_000
CPU = torch.device("cpu")


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


@dataclass(frozen=True)
class Append:
    """Multiplies by ten and adds a digit: the output spells the chain."""

    digit: int

    @property
    def name(self):
        return f"append_{self.digit}"

    def sample(self, n, generator, device):
        return {"unused": torch.rand(n, 2, generator=generator, device=device)}

    def apply(self, x, params):
        assert params["unused"].shape == (len(x), 2)
        return 10 * x + self.digit


SPELLERS = [Append(digit) for digit in range(1, 5)]


@pytest.fixture(scope="module")
def many():
    return Chains().sample(N_DRAWS, seed=0)


# What is drawn


def test_the_label_columns_are_the_published_ones():
    published = "pitch_shift fade white_noise mixed_noise time_stretch time_masking time_shift"
    assert tuple(published.split()) == NAMES


def test_chain_lengths_are_uniform_from_one_to_seven(many):
    counts = (many.order >= 0).sum(1).bincount(minlength=8)
    assert counts[0] == 0 and stats.chisquare(counts[1:].numpy()).pvalue > 1e-3


def test_each_position_takes_each_augmentation_equally_often(many):
    for position in many.order.T:
        counts = position[position >= 0].bincount(minlength=7)
        assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_all_orders_of_three_are_equally_often():
    order = Chains([Fade(), TimeMasking(), TimeShift()], min_ops=3).sample(N_DRAWS, seed=0).order
    counts = (order * torch.tensor([9, 3, 1])).sum(1).unique(return_counts=True)[1]
    assert len(counts) == 6 and stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_no_augmentation_comes_twice_and_chains_have_no_gaps(many):
    chosen = many.order >= 0
    assert (chosen.int().diff(dim=1) <= 0).all()
    for index in range(7):
        assert ((many.order == index).sum(1) <= 1).all()


def test_the_views_draw_their_parameters_apart(many):
    for params in many.params.values():
        for value in params.values():
            first, second = value.double()
            assert stats.ks_2samp(first, second).pvalue > 1e-3
            assert abs(torch.corrcoef(torch.stack((first, second)))[0, 1]) < 0.03


def test_a_seed_decides_everything():
    first, again, other = (Chains().sample(50, seed=s) for s in ((3, 17), (3, 17), (3, 18)))
    assert first.to_json() == again.to_json() != other.to_json()
    assert not torch.equal(first.order, other.order)


def test_a_seed_draws_what_it_always_drew():
    """Draws of the code before chains had a configuration: old plans stay repeatable."""
    views = Chains.build(Chains.Config(), Waves(8000))
    plan = views.sample(4, seed=(7, 3))
    chains = [[6], [3, 1, 5, 4, 2], [6, 0, 4, 1], [2, 4, 6, 5, 0, 3]]
    assert [[i for i in order if i >= 0] for order in plan.order.tolist()] == chains
    drawn = {
        ("pitch_shift", "semitones"): (-12.0, -7.72627, -11.58941, -0.41059),
        ("fade", "fade_in"): (0.36990, 0.05181, 0.38934, 0.19818),
        ("white_noise", "snr_db"): (18.41657, 9.46085, 18.04052, 12.90746),
        ("mixed_noise", "noise_seed"): (1137113593, 947165898, 1635339982, 1528090284),
        ("time_stretch", "rate"): (1.04, 1.2, 0.5, 0.78),
        ("time_masking", "position"): (0.57468, 0.81514, 0.74153, 0.51868),
        ("time_shift", "shift"): (-0.02468, 0.17869, -0.42946, -0.29671),
    }
    for (name, key), values in drawn.items():
        assert plan.params[name][key][0].tolist() == pytest.approx(values, abs=1e-5), (name, key)
    known = views.known(plan)
    assert known["labels"].tolist() == [[float(i in chain) for i in range(7)] for chain in chains]
    differences = (-0.160964, 0.014082, -0.506452, 0.326824, 0.204370, 0.278864)
    differences += (-0.367020, -0.237467, -0.320219, 0.348412, -0.388811)
    assert known["differences"][0].tolist() == pytest.approx(differences, abs=1e-5)
    loud = views.apply(noise(4, 8000), plan).square().mean(-1).sqrt()
    assert loud[0].tolist() == pytest.approx((0.100412, 0.092341, 0.082754, 0.101537), rel=1e-3)
    assert loud[1].tolist() == pytest.approx((0.100412, 0.065367, 0.077023, 0.102973), rel=1e-3)


def test_the_configuration_of_nothing_is_the_published_one():
    views = Chains.build(Chains.Config(), Waves(8000))
    assert tuple(views.augmentations.values()) == DEFAULT
    assert (views.min_ops, views.max_ops) == (1, 7)


@pytest.mark.parametrize("name", NAMES)
def test_each_of_the_seven_can_be_left_out(name):
    views = Chains.build(Chains.Config(without=(name,)), Waves(8000))
    assert views.columns == tuple(n for n in NAMES if n != name)
    labels = views.known(views.sample(100, seed=0))["labels"]
    assert labels.shape == (100, 6) and labels.sum(1).max() == 6
    assert not any(quantity.startswith(name) for quantity in views.quantities)


def test_lengths_of_chains_are_configured():
    views = Chains.build(Chains.Config(min_ops=2, max_ops=3), Waves(8000))
    assert set(views.sample(100, seed=0).labels.sum(1).tolist()) == {2, 3}


RANGES = {
    "pitch_shift.semitones": ({"pitch_grid": "continuous", "pitch_semitones": 2.0}, -2, 2),
    "fade.fade_in": ({"fade_longest": 0.1}, 0, 0.1),
    "fade.fade_out": ({"fade_longest": 0.1}, 0, 0.1),
    "white_noise.snr_db": ({"noise_snr_min_db": 10.0, "noise_snr_max_db": 20.0}, 10, 20),
    "mixed_noise.snr_db": ({"noise_snr_min_db": 10.0, "noise_snr_max_db": 20.0}, 10, 20),
    "white_noise.f_decay": (
        {"white_noise_f_decay_min": -0.5, "white_noise_f_decay_max": 0.5},
        -0.5,
        0.5,
    ),
    "mixed_noise.f_decay": ({"mixed_noise_f_decay": 1.0}, -1, 1),
    "time_stretch.rate": ({"stretch_min_rate": 0.9, "stretch_max_rate": 1.2}, 0.9, 1.2),
    "time_masking.length": ({"mask_longest": 0.5}, 0, 0.5),
    "time_shift.shift": ({"shift_furthest": 0.1}, -0.1, 0.1),
}


@pytest.mark.parametrize("parameter", RANGES)
def test_a_range_is_configured_and_differences_span_it(parameter):
    options, low, high = RANGES[parameter]
    views = Chains.build(Chains.Config(**options), Waves(8000))
    plan = views.sample(2000, seed=0)
    name, _, key = parameter.partition(".")
    drawn = plan.params[name][key]
    reach = high - low
    assert low - 1e-6 <= drawn.min() < low + 0.01 * reach
    assert high - 0.01 * reach < drawn.max() <= high + 1e-6
    columns = [i for i, column in enumerate(views.quantities) if column.startswith(f"{name}.")]
    widest = views.known(plan)["differences"][:, columns].abs().amax(0)
    assert (widest <= 1 + 1e-5).all() and (widest > 0.9).all()
    others = [n for n in NAMES if n != name and not ("noise" in n and "noise" in name)]
    default = Chains().sample(2000, seed=0)
    for other in others:
        assert all(torch.equal(v, default.params[other][k]) for k, v in plan.params[other].items())


def test_the_published_ratios_can_be_narrowed():
    views = Chains.build(Chains.Config(pitch_semitones=4.0), Waves(8000))
    plan = views.sample(400, seed=0)
    semitones = plan.params["pitch_shift"]["semitones"].unique().tolist()
    assert semitones == pytest.approx([-3.86314, -0.41059, 0.41059, 3.86314], abs=1e-4)
    assert views.known(plan)["differences"][:, 0].abs().max() == pytest.approx(1)


def test_a_range_of_one_value_has_no_differences():
    options = {"noise_snr_min_db": 10.0, "noise_snr_max_db": 10.0, "mixed_noise_f_decay": 0.0}
    config = Chains.Config(**options, stretch_min_rate=1.1, stretch_max_rate=1.1)
    views = Chains.build(config, Waves(8000))
    found = views.known(views.sample(50, seed=0))["differences"]
    fixed = ("white_noise.snr_db", "mixed_noise.snr_db", "mixed_noise.f_decay")
    for column in (*fixed, "time_stretch.log_rate"):
        assert (found[:, list(views.quantities).index(column)] == 0).all()
    assert found.isfinite().all()


def test_sampling_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Chains().sample(10, seed=1)
    assert torch.equal(torch.rand(3), expected)


def test_differences_are_those_of_the_plan_clip_by_clip():
    """By hand, from what a person reads of the plan; one range wide is 1."""

    def by_hand(name, first, second):
        less = {key: first[key] - second[key] for key in first}
        if name.endswith("noise"):
            f_range = {"white_noise": 1, "mixed_noise": 4}[name]
            return {"snr_db": less["snr_db"] / 27, "f_decay": less["f_decay"] / f_range}
        if name == "time_masking":
            start = (x["position"] * (1 - x["length"]) for x in (first, second))
            return {"length": less["length"] / 0.125, "start": next(start) - next(start)}
        return {
            "pitch_shift": lambda: {"semitones": less["semitones"] / 24},
            "fade": lambda: {key: less[key] / 0.5 for key in ("fade_in", "fade_out")},
            "time_stretch": lambda: {"log_rate": math.log(first["rate"] / second["rate"], 3)},
            "time_shift": lambda: {"shift": 2 * ((less["shift"] + 0.5) % 1 - 0.5)},
        }[name]()

    views = Chains()
    plan = views.sample(200, seed=2)
    found = views.differences(plan)
    columns = list(views.quantities)
    for clip in range(200):
        steps = plan.describe(clip)
        expected = {
            f"{step.name}.{key}": value
            for step in steps
            for key, value in by_hand(step.name, *step.params).items()
        }
        counted = {q for q, label in views.quantities.items() if plan.labels[clip, label]}
        assert counted == set(expected)
        for name, value in expected.items():
            assert found[clip, columns.index(name)] == pytest.approx(value, abs=1e-5), name
    assert found.abs().max() <= 1 + 1e-6


def test_differences_of_traded_places_have_the_other_sign():
    views = Chains()
    plan = views.sample(50, seed=3)
    traded = {
        name: {key: value.flip(0) for key, value in params.items()}
        for name, params in plan.params.items()
    }
    back = views.differences(dataclasses.replace(plan, params=traded))
    torch.testing.assert_close(back, -views.differences(plan))


def test_an_augmentation_that_cannot_compare_draws_has_a_label_only():
    views = Chains([*SPELLERS, TimeShift()], min_ops=1)
    assert views.quantities == {"time_shift.shift": 4}
    alone = Chains(SPELLERS)
    assert alone.differences(alone.sample(3, seed=0)).shape == (3, 0)


# What is done


def test_labels_and_output_spell_the_plan():
    views = Chains(SPELLERS, min_ops=0)
    plan = views.sample(64, seed=1)
    out = views.apply(torch.zeros(64, 2), plan)
    for clip in range(64):
        digits = [SPELLERS[i].digit for i in plan.order[clip].tolist() if i >= 0]
        spelled = int("".join(map(str, digits)) or 0)
        assert (out[:, clip] == spelled).all()
        assert plan.labels[clip].tolist() == [float(s.digit in digits) for s in SPELLERS]
        assert [step.name for step in plan.describe(clip)] == [f"append_{d}" for d in digits]


@pytest.mark.parametrize("n_samples", [1600, 8000])
def test_the_cpu_computes_in_blocks_of_rows_and_nothing_else_changes(monkeypatch, n_samples):
    views, waves, front_end = Chains(), noise(7, n_samples), MTSLVR()
    plan = views.sample(7, seed=2)
    whole = views.apply(waves, plan)
    images = front_end(whole.flatten(0, 1))
    for module in ("slvr.pipeline.views.chains", "slvr.pipeline.frontends.mel"):
        monkeypatch.setattr(f"{module}.block_rows", partial(blocks.block_rows, cpu_samples=4800))
    # One chain may magnify rounding: a vocoder goes on from the phases of bins that are silent.
    assert (views.apply(waves, plan) - whole).norm() < 1e-3 * whole.norm()
    assert torch.allclose(front_end(whole.flatten(0, 1))[:, 0], images[:, 0], atol=1e-3)
    assert blocks.block_rows(waves, 4800) == {1600: 3, 8000: 1}[n_samples]


def test_clips_that_wait_for_the_same_augmentation_take_it_together():
    """One call for each position and augmentation would make up to 49."""
    plan = Chains().sample(100, seed=0)
    groups = plan.groups()
    assert len(groups) < 36
    assert sum(len(rows) for _, rows in groups) == 2 * (plan.order >= 0).sum()
    (group,) = Chains([Fade()]).sample(100, seed=0).groups()
    assert group[0] == "fade" and group[1].tolist() == list(range(200))


@pytest.mark.parametrize("seed", range(5))
def test_what_is_held_back_comes_once_and_twice_and_every_chain_in_its_order(seed):
    plan = Chains().sample(100, seed=seed)
    groups = plan.groups(last=(0, 4))
    slow = [name for name, _ in groups if name in ("pitch_shift", "time_stretch")]
    assert slow == ["pitch_shift", "time_stretch", "pitch_shift"]
    done = [[] for _ in range(200)]
    for name, rows in groups:
        for row in rows.tolist():
            done[row].append(NAMES.index(name))
    assert done == 2 * [[i for i in chain if i >= 0] for chain in plan.order.tolist()]


def test_a_plan_is_the_same_on_every_device():
    plan = Chains().sample(20, seed=(3, 17), device="meta")
    assert plan.to_json() == Chains().sample(20, seed=(3, 17)).to_json()
    assert plan.labels.device.type == "meta" and plan.device.type == "meta"


def test_many_small_tensors_travel_in_one_piece():
    """The host stands for a device, whose copy would be as this one."""
    tensors = [torch.arange(3), torch.rand(2, 5), torch.zeros(0), torch.ones(1, dtype=torch.int32)]
    there = packed(tensors, CPU)
    assert all(
        torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(tensors, there, strict=True)
    )
    assert len({x.untyped_storage().data_ptr() for x in there}) == 1
    assert upload(tensors, CPU)[0] is tensors[0]


def test_a_batch_of_257():
    views, waves = Chains(), noise(257, 1600)
    plan = views.sample(257, seed=0)
    out = views.apply(waves, plan)
    assert out.shape == (2, 257, 1600) and out.isfinite().all() and plan.labels.shape == (257, 7)


@pytest.mark.parametrize("n", [1, 9])
def test_batched_views_are_the_chains_applied_clip_by_clip(n):
    views, waves = Chains(), noise(n, 8000)
    plan = views.sample(n, seed=2)
    out = views.apply(waves, plan)
    assert out.shape == (2, n, 8000) and plan.labels.shape == (n, 7)
    for view in range(2):
        for clip in range(n):
            x = waves[[clip]]
            for step in plan.order[clip][plan.order[clip] >= 0].tolist():
                params = {k: v[view, [clip]] for k, v in plan.params[NAMES[step]].items()}
                x = DEFAULT[step].apply(x, params)
            assert torch.allclose(out[view, [clip]], x, atol=1e-4)


def test_a_plan_replays_and_survives_json_to_the_bit():
    views, waves = Chains(), noise(6, 4000)
    plan = views.sample(6, seed=4)
    stored = ChainPlan.from_json(plan.to_json())
    assert stored.to_json() == plan.to_json()
    out = views.apply(waves, plan)
    assert torch.equal(out, views.apply(waves, plan))
    assert torch.equal(out, views.apply(waves, stored))
    assert torch.equal(stored.labels, plan.labels)


def test_empty_chains_are_the_identity():
    views, waves = Chains(min_ops=0, max_ops=0), noise(3, 1600)
    plan = views.sample(3, seed=0)
    assert torch.equal(views.apply(waves, plan), torch.stack((waves, waves)))
    assert (plan.labels == 0).all() and plan.describe(0) == []


def test_the_waves_stay_and_keep_their_dtype():
    views, waves = Chains(), noise(4, 1600).bfloat16()
    before = waves.clone()
    out = views.apply(waves, views.sample(4, seed=0))
    assert torch.equal(waves, before)
    assert out.dtype == torch.bfloat16 and out.isfinite().all()


def test_describe_names_the_parameters_of_both_views():
    views = Chains([TimeShift()])
    plan = views.sample(1, seed=0)
    (step,) = plan.describe(0)
    assert step.name == "time_shift"
    expected = plan.params["time_shift"]["shift"][:, 0].tolist()
    assert [params["shift"] for params in step.params] == expected
    assert expected[0] != expected[1]


# Mistakes


def test_two_augmentations_of_one_name_are_refused():
    with pytest.raises(ValueError, match="names must differ"):
        Chains([Fade(), Fade()])


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"without": ("flip", "fade")}, r"no augmentation flip to leave out; expected some of pit"),
        ({"without": NAMES}, r"got min_ops 1, max_ops 0"),
        ({"min_ops": 8}, r"max_ops <= 7 augmentations, got min_ops 8"),
        ({"pitch_grid": "chromatic"}, r"got 'chromatic'"),
        ({"pitch_semitones": 0.0}, r"pitch_shift, widest in semitones: expected more than 0"),
        ({"pitch_semitones": 0.2}, r"none of the published ratios is within 0\.2 semitones"),
        ({"fade_longest": 0.6}, r"fade, longest: expected more than 0 and at most 0\.5, got 0\.6"),
        ({"noise_snr_min_db": 40.0}, r"white_noise, .* got 40 to 30"),
        ({"white_noise_f_decay_min": 1.0}, r"white_noise, decay: .* got 1 to 0"),
        ({"mixed_noise_f_decay": -1.0}, r"mixed_noise, decay: .* got 1 to -1"),
        ({"stretch_min_rate": 0.0}, r"time_stretch, rate: expected 0\.01 <= .* got 0 to 1\.5"),
        ({"mask_longest": math.nan}, r"time_masking, longest: .* got nan"),
        ({"shift_furthest": 0.7}, r"time_shift, furthest: .* at most 0\.5"),
    ],
)
def test_a_configuration_that_cannot_be_is_a_sentence(options, why):
    with pytest.raises(ValueError, match=why):
        Chains.build(Chains.Config(**options), Waves(8000))


@pytest.mark.parametrize("limits", [(-1, 1), (2, 1), (1, 3)])
def test_impossible_chain_lengths_are_refused(limits):
    with pytest.raises(ValueError, match="min_ops"):
        Chains([Fade(), TimeShift()], *limits)


def test_a_plan_for_other_clips_or_another_chain_is_refused():
    views = Chains()
    with pytest.raises(ValueError, match="plan of 3 clips"):
        views.apply(noise(4, 1600), views.sample(3, seed=0))
    with pytest.raises(ValueError, match="the plan was sampled for"):
        views.apply(noise(3, 1600), Chains([Fade()]).sample(3, seed=0))
