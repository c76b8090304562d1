"""What needs a CUDA device: the same results as on the CPU, and no waiting for the device.

The CPU looks at numbers where a device must not: such branches change roundings, a difference of
1e-7 can move an onset, and from there a row's phases are others, as good and 4 to 10% apart. So
like is compared with like, the CPU taking the device's branches and both the same onsets; and where
a whole chain runs freely, rows are counted.
"""

from contextlib import contextmanager, nullcontext

import pytest
import torch

from gpu_device import DEVICE, NEEDS_GPU
from slvr.pipeline import blocks
from slvr.pipeline.augmentations import DEFAULT, PitchShift, vocoder
from slvr.pipeline.frontends.mtslvr import MTSLVR
from slvr.pipeline.stage import Stage
from slvr.pipeline.views.chain_plan import ChainPlan
from slvr.pipeline.views.chains import Chains

pytestmark = NEEDS_GPU
CPU = torch.device("cpu")
ALL = (*DEFAULT, PitchShift(grid="continuous"))
each = pytest.mark.parametrize(
    "augmentation", ALL, ids=[a.name for a in DEFAULT] + ["continuous_pitch"]
)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


def errors_of_rows(ours, reference):
    """Relative error of each row of (..., T)."""
    difference = (ours.cpu() - reference).norm(dim=-1) / reference.norm(dim=-1).clamp(min=1e-9)
    return difference.flatten()


def relative_error(ours, reference):
    return ((ours.cpu() - reference).norm() / reference.norm()).item()


@pytest.fixture
def same_choices(monkeypatch):
    """The CPU takes the branches of a device; `same_choices()`: and what follows its choices.

    Those are the onsets that phases are taken from, and the place of an event between frames, of
    which a hundred-thousandth turns the phases of the highest bins by a hundredth.
    """
    monkeypatch.setattr(blocks, "may_look", lambda device: False)
    chosen = {"_anchors": [], "_event": []}

    def recorded(name):
        choose = getattr(vocoder, name)

        def record(loudness):
            chosen[name].append(choose(loudness))
            return chosen[name][-1]

        return record

    def replayed(name):
        return lambda loudness: chosen[name].pop(0).to(loudness.device)

    def replay():
        for name in chosen:
            monkeypatch.setattr(vocoder, name, replayed(name))

    for name in chosen:
        monkeypatch.setattr(vocoder, name, recorded(name))
    yield replay
    assert not any(chosen.values())


@each
@pytest.mark.parametrize("seed", [0, 1])
def test_augmentations_equal_the_cpu(augmentation, seed, same_choices):
    x = noise(32, 32_000, seed=seed)
    params = augmentation.sample(32, torch.Generator().manual_seed(seed), CPU)
    expected = augmentation.apply(x, params)
    same_choices()
    if not isinstance(augmentation, PitchShift):  # which chooses by them, on the host
        params = {name: values.to(DEVICE) for name, values in params.items()}
    ours = augmentation.apply(x.to(DEVICE), params)
    assert errors_of_rows(ours, expected).max() < 1e-3


@pytest.mark.parametrize("fused", [False, True])
def test_views_and_labels_of_a_stored_plan_equal_the_cpu(fused):
    views, waves = Chains(fused=fused), noise(32, 32_000)
    plan = views.sample(32, seed=1)
    there = ChainPlan.from_json(plan.to_json(), DEVICE)
    assert torch.equal(there.labels.cpu(), plan.labels)
    error = errors_of_rows(views.apply(waves.to(DEVICE), there), views.apply(waves, plan))
    assert error.median() < 1e-3
    assert error.quantile(0.8) < 0.05  # of the rest an onset is another


def test_plans_do_not_depend_on_the_device():
    views = Chains()
    plan, expected = (views.sample(50, seed=(3, 17), device=d) for d in (DEVICE, "cpu"))
    assert plan.to_json() == expected.to_json()
    known = views.known(expected)
    for name, values in views.known(plan).items():
        assert values.device.type == DEVICE.type and torch.equal(values.cpu(), known[name])


def test_the_same_bits_twice():
    views, waves = Chains(), noise(6, 32_000).to(DEVICE)
    plan = views.sample(6, seed=0, device=DEVICE)
    assert torch.equal(views.apply(waves, plan), views.apply(waves, plan))


@each
def test_a_row_alone(augmentation):
    x = noise(6, 32_000).to(DEVICE)
    params = augmentation.sample(6, torch.Generator().manual_seed(0), CPU)
    if not isinstance(augmentation, PitchShift):
        params = {name: values.to(DEVICE) for name, values in params.items()}
    together = augmentation.apply(x, params).cpu()
    alone = [augmentation.apply(x[i : i + 1], rows_of(params, i)) for i in range(6)]
    # one row may find another onset: FFTs of other batches round otherwise
    assert errors_of_rows(torch.cat(alone), together).sort().values[-2] < 1e-3


def rows_of(params, i):
    return {name: values[i : i + 1] for name, values in params.items()}


def test_bfloat16():
    views, waves = Chains(), noise(8, 16_000).bfloat16().to(DEVICE)
    out = views.apply(waves, views.sample(8, seed=0, device=DEVICE))
    assert out.dtype == torch.bfloat16 and out.isfinite().all()


@contextmanager
def no_waiting():
    """An operation that makes the host wait for the device raises."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_nothing_waits_for_the_device():
    views, front_end = Chains(), MTSLVR().to(DEVICE)
    waves = noise(8, 16_000).to(DEVICE)
    with no_waiting() if DEVICE.type == "cuda" else nullcontext():
        plan = views.sample(8, seed=0, device=DEVICE)
        images = front_end(views.apply(waves, plan).flatten(0, 1))
        labels = plan.labels
    assert images.shape == (16, 3, 128, 32) and labels.device.type == DEVICE.type


@pytest.mark.parametrize("fused", [False, True])
def test_the_front_end_equals_the_cpu(fused):
    front_end, waves = MTSLVR(), noise(8, 32_000)
    expected = front_end(waves)
    front_end.fused = fused
    ours = front_end.to(DEVICE)(waves.to(DEVICE)).cpu()
    assert relative_error(ours[:, 0], expected[:, 0]) < 1e-3
    z, z_expected = (
        torch.polar(10 ** (image[:, 1] / 10), image[:, 2]) for image in (ours, expected)
    )
    assert ((z - z_expected).norm() / z_expected.norm()).item() < 1e-3


def test_a_plan_made_ahead_gives_the_same_bits():
    ahead, plain = (Stage(Chains(), MTSLVR().to(DEVICE)) for _ in range(2))
    pcm = (9000 * noise(6, 16_000)).short().to(DEVICE)
    for step in range(4):
        images, known = ahead(pcm, (0, step))
        ahead.begin(pcm, (0, step + 1))
        expected, labels = plain(pcm, (0, step))
        assert torch.equal(images, expected)
        assert all(torch.equal(known[name], labels[name]) for name in labels)


def test_the_front_end_under_autocast_stays_float32():
    front_end, waves = MTSLVR().to(DEVICE), noise(4, 16_000).to(DEVICE)
    with torch.autocast(DEVICE.type, torch.bfloat16):
        image = front_end(waves)
    assert image.dtype == torch.float32 and torch.equal(image, front_end(waves))


def test_the_compiled_front_end_equals_the_plain_one():
    front_end, waves = MTSLVR().to(DEVICE), noise(4, 16_000).to(DEVICE)
    front_end.fused = False
    plain, compiled = front_end(waves), torch.compile(front_end, dynamic=False)(waves)
    assert (compiled[:, :2] - plain[:, :2]).abs().max() < 0.1  # dB, in spectral zeros
    assert relative_error(compiled[:, 0], plain[:, 0].cpu()) < 1e-4
