"""Crops and the shifted anchor: pitch judged by tones, level and edges by laws."""

import dataclasses
import math
from fractions import Fraction

import pytest
import torch

from slvr.pipeline.augmentations.two_grids import HOPS
from slvr.pipeline.frontends.logmel import LogMel
from slvr.pipeline.views.contract import Waves
from slvr.pipeline.views.crops import CropPlan, Crops

RATE, CROP = 16_000, 15_200
SHIFTS = torch.tensor([-0.2, -0.13, -0.05, 0.0, 0.04, 0.11, 0.2])


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


def tones(hz, seconds=3.0):
    """(n, T) one sine a row, from a phase of its own."""
    t = torch.arange(round(seconds * RATE), dtype=torch.float64) / RATE
    phase = torch.arange(len(hz))[:, None]
    return (0.3 * torch.sin(2 * math.pi * torch.tensor(hz)[:, None] * t + phase)).float()


def plan_of(maker, shifts, seed=0):
    """A drawn plan with these shifts instead of its own."""
    drawn = maker.sample(len(shifts), seed)
    octaves = torch.log2(1 + shifts.double())
    semitones = (octaves if maker.ratio == "code" else 12 * octaves).float()
    return dataclasses.replace(drawn, shift=shifts, semitones=semitones)


def heard_hz(wave):
    """The frequency of a tone: the vertex of a parabola through the loudest bins, in dB."""
    spectrum = torch.fft.rfft(wave.double() * torch.hann_window(len(wave))).abs().log()
    k = int(spectrum.argmax())
    a, b, c = spectrum[k - 1 : k + 2].tolist()
    return (k + 0.5 * (a - c) / (a - 2 * b + c)) * RATE / len(wave)


def level_db(waves):
    return 10 * torch.log10(waves.double().square().mean(-1))


@pytest.mark.parametrize("ratio", ["paper", "code"])
@pytest.mark.parametrize("hz", [220.0, 1000.0, 3100.0])
def test_every_frequency_is_multiplied_by_the_ratio(hz, ratio):
    maker = Crops(CROP, ratio=ratio)
    plan = plan_of(maker, SHIFTS)
    anchor, _, shifted = maker.apply(tones([hz] * len(SHIFTS)), plan)
    for p, before, after in zip(SHIFTS.tolist(), anchor, shifted, strict=True):
        expected = 12 * math.log2(1 + p) / (1 if ratio == "paper" else 12)
        assert abs(12 * math.log2(heard_hz(before) / hz)) < 0.01
        assert abs(12 * math.log2(heard_hz(after) / hz) - expected) < 0.03


def test_the_public_code_shifts_by_a_quarter_of_a_semitone():
    semitones = [plan_of(Crops(CROP, ratio="code"), SHIFTS).semitones[i].item() for i in (0, -1)]
    assert semitones == pytest.approx([-0.322, 0.263], abs=5e-4)
    semitones = [plan_of(Crops(CROP), SHIFTS).semitones[i].item() for i in (0, -1)]
    assert semitones == pytest.approx([-3.863, 3.156], abs=5e-4)


def sounds(n, seconds=3.0):
    """Rows of noise, clicks, tones that swell, and noise near the end of the band."""
    t = torch.arange(round(seconds * RATE)) / RATE
    clicks = torch.zeros(n, len(t))
    clicks[:, ::1777] = 0.5
    swelling = tones([500.0 + 70 * i for i in range(n)]) * (1 + torch.sin(9 * t))
    spectrum = torch.fft.rfft(noise(n, len(t), seed=5))
    spectrum[:, : int(0.85 * spectrum.shape[1])] = 0
    return {
        "noise": noise(n, len(t)),
        "clicks": clicks,
        "swelling": swelling,
        "high": torch.fft.irfft(spectrum, n=len(t)),
    }


@pytest.mark.parametrize("kind", ["noise", "clicks", "swelling"])
def test_the_shift_cannot_be_read_from_the_level(kind):
    maker = Crops(CROP)
    plan = plan_of(maker, SHIFTS)
    anchor, _, shifted = maker.apply(sounds(len(SHIFTS))[kind], plan)
    assert (level_db(shifted) - level_db(anchor)).abs().max() < 1e-3
    assert torch.equal(maker.apply(torch.zeros(7, 48_000), plan)[2], torch.zeros(7, CROP))


def test_what_leaves_the_band_is_made_up_for_up_to_6_db():
    maker = Crops(CROP)
    plan = plan_of(maker, SHIFTS)
    anchor, _, shifted = maker.apply(sounds(len(SHIFTS))["high"], plan)
    difference = level_db(shifted) - level_db(anchor)
    assert difference[:4].abs().max() < 1e-3 and difference.max() < 1e-3
    assert shifted.isfinite().all() and shifted.abs().max() < 2


def edges_db(waves, part=320):
    """Levels of the first and the last 20 ms against that of all, (2, n)."""
    return torch.stack([level_db(waves[:, :part]), level_db(waves[:, -part:])]) - level_db(waves)


def test_the_edges_are_as_the_middle():
    waves = tones([300.0 + 150 * i for i in range(len(SHIFTS))])
    with_margin, without = Crops(CROP), Crops(CROP, 0)
    found = edges_db(with_margin.apply(waves, plan_of(with_margin, SHIFTS))[2])
    assert found.abs().max() < 0.5
    bare = edges_db(without.apply(waves, plan_of(without, SHIFTS))[2])
    assert bare.abs().max() > 1.5, "what the margin is for"


def test_a_clip_of_one_crop_is_mirrored_at_its_ends():
    maker = Crops(CROP)
    waves = tones([300.0 + 150 * i for i in range(len(SHIFTS))])[:, :CROP]
    anchor, positive, shifted = maker.apply(waves, plan_of(maker, SHIFTS))
    assert torch.equal(anchor, waves)
    torch.testing.assert_close(positive, waves, atol=0.01, rtol=0)
    assert edges_db(shifted).abs().max() < 3
    assert (level_db(shifted) - level_db(anchor)).abs().max() < 1e-3


def test_events_stay_where_they_are():
    """Frames of the anchor and of the shifted anchor are of the same time."""
    maker = Crops(CROP, pitch_grid="continuous")
    plan = plan_of(maker, SHIFTS)
    waves = torch.zeros(len(SHIFTS), 48_000)
    burst = noise(400, seed=3)
    starts = (plan.anchor * (48_000 - CROP + 1)).long()
    for row, start in zip(waves, starts.tolist(), strict=True):
        row[start + 8000 : start + 8400] = burst
    anchor, _, shifted = maker.apply(waves, plan)
    t = torch.arange(CROP)
    for before, after in zip(anchor, shifted, strict=True):
        middles = [float((x.square() * t).sum() / x.square().sum()) for x in (before, after)]
        assert abs(middles[0] - middles[1]) < 0.01 * RATE


def test_views_are_pieces_of_the_clip_and_the_positive_has_a_little_noise():
    maker = Crops(CROP, noise=0.01)
    waves = noise(40, 40_000)
    plan = maker.sample(40, seed=1)
    anchor, positive, _ = maker.apply(waves, plan)
    pieces = waves.unfold(1, CROP, 1)
    spare, apart = 40_000 - CROP + 1, 0
    for i in range(40):
        places = [int(place[i] * spare) for place in (plan.anchor, plan.positive)]
        assert torch.equal(anchor[i], pieces[i, places[0]])
        left = positive[i] - pieces[i, places[1]]
        assert left.std().item() == pytest.approx(0.01, rel=0.01)
        assert abs(left.mean()) < 4 * 0.01 / CROP**0.5
        apart += places[0] != places[1]
    assert apart > 35
    for place in (plan.anchor, plan.positive):
        assert place.min() < 0.15 and place.max() > 0.85


def test_shifts_are_uniform_and_known():
    maker = Crops(CROP, widest=0.3)
    plan = maker.sample(4000, seed=2)
    shift = maker.known(plan)["shift"]
    assert torch.equal(shift, plan.shift) and shift.abs().max() <= 0.3
    quarters = torch.histc(shift, 4, -0.3, 0.3)
    assert (quarters - 1000).abs().max() < 150


def test_the_published_set_goes_through_frame_grids_in_the_same_call():
    maker = Crops(CROP, pitch_grid="published", widest=0.25)
    plan = maker.sample(60, seed=3)
    allowed = {float(ratio) for ratio in HOPS if abs(ratio - 1) <= Fraction(1, 4)}
    drawn = {round(1 + p, 6) for p in plan.shift.tolist()}
    assert drawn == {round(ratio, 6) for ratio in allowed} and len(drawn) == 5
    _, _, shifted = maker.apply(tones([700.0] * 60), plan)
    for p, after in zip(plan.shift.tolist(), shifted, strict=True):
        assert abs(12 * math.log2(heard_hz(after) / (700 * (1 + p)))) < 0.03


def test_two_views_without_a_shift():
    three, two = Crops(CROP), Crops(CROP, pitch=False)
    waves = noise(5, 30_000)
    plan = two.sample(5, seed=4)
    assert two.n_views == 2 and not two.knows and two.known(plan) == {}
    made = two.apply(waves, plan)
    assert torch.equal(made, three.apply(waves, three.sample(5, seed=4))[:2])
    assert [len(step.params) for step in plan.describe(0)] == [2, 2]
    assert CropPlan.from_json(plan.to_json()).describe(3) == plan.describe(3)


def test_a_crop_is_96_frames_of_the_published_front_end():
    maker = Crops.build(Crops.Config(), Waves(n_samples=160_000))
    made = maker.apply(noise(2, 160_000), maker.sample(2, seed=0))
    assert made.shape == (3, 2, CROP)
    assert LogMel()(made.flatten(0, 1)).shape == (6, 1, 64, 96)


def test_bfloat16_stays():
    maker, waves = Crops(CROP), noise(3, 20_000)
    plan = maker.sample(3, seed=5)
    made = maker.apply(waves.bfloat16(), plan)
    assert made.dtype == torch.bfloat16
    torch.testing.assert_close(made[0].float(), maker.apply(waves, plan)[0], atol=2e-3, rtol=1e-2)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"crop_s": 1.5}, "a crop of 1.5 s does not fit into a clip of 1 s; give a shorter"),
        ({"noise": -1.0}, "expected a crop of 1 or more"),
        ({"widest": 0.9}, "a widest shift above 0 to 0.75"),
        ({"pitch_grid": "published", "widest": 0.01}, "none of the published ratios is within"),
    ],
)
def test_what_cannot_be_is_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Crops.build(Crops.Config(**options), Waves(n_samples=RATE))


def test_a_plan_for_other_clips_is_refused():
    maker = Crops(CROP)
    with pytest.raises(ValueError, match=r"expected waves \(3, 15200 or more\)"):
        maker.apply(noise(2, 20_000), maker.sample(3, seed=0))
