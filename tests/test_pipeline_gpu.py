"""What needs a CUDA device: the same results as on the CPU, and no waiting for the device.

Uses torch and numpy alone, so that it also runs where little else is installed; see
tests/benchmarks/gpu.sh.
"""

import pytest
import torch

from slvr.pipeline.augmentations import DEFAULT, PitchShift
from slvr.pipeline.frontends.mtslvr import MTSLVR
from slvr.pipeline.views.chain_plan import ChainPlan
from slvr.pipeline.views.chains import Chains

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CPU = torch.device("cpu")
ALL = (*DEFAULT, PitchShift(grid="continuous"))
each = pytest.mark.parametrize(
    "augmentation", ALL, ids=[a.name for a in DEFAULT] + ["continuous_pitch"]
)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


def relative_error(ours, reference):
    return ((ours.cpu() - reference).norm() / reference.norm()).item()


@each
def test_augmentations_equal_the_cpu(augmentation):
    x = noise(8, 32_000)
    params = augmentation.sample(8, torch.Generator().manual_seed(0), CPU)
    expected = augmentation.apply(x, params)
    if not isinstance(augmentation, PitchShift):  # which chooses by them, on the host
        params = {k: v.cuda() for k, v in params.items()}
    assert relative_error(augmentation.apply(x.cuda(), params), expected) < 1e-3


def test_views_and_labels_of_a_stored_plan_equal_the_cpu():
    views, waves = Chains(), noise(32, 32_000)
    plan = views.sample(32, seed=1)
    there = ChainPlan.from_json(plan.to_json(), "cuda")
    assert torch.equal(there.labels.cpu(), plan.labels)
    assert relative_error(views.apply(waves.cuda(), there), views.apply(waves, plan)) < 1e-3


def test_plans_do_not_depend_on_the_device():
    views = Chains()
    plan = views.sample(50, seed=(3, 17), device="cuda")
    assert plan.to_json() == views.sample(50, seed=(3, 17)).to_json()
    known, expected = (views.known(p) for p in (plan, views.sample(50, seed=(3, 17))))
    assert all(
        known[name].is_cuda and torch.equal(known[name].cpu(), expected[name]) for name in expected
    )


def test_the_same_bits_twice_and_a_row_alone():
    views, waves = Chains(), noise(6, 32_000).cuda()
    plan = views.sample(6, seed=0, device="cuda")
    out = views.apply(waves, plan)
    assert torch.equal(out, views.apply(waves, plan))
    params = {
        name: {key: value[:, 2:3] for key, value in values.items()}
        for name, values in plan.params.items()
    }
    alone = views.apply(waves[2:3], ChainPlan(plan.names, plan.order[2:3], params, plan.device))
    assert relative_error(alone[:, 0], out[:, 2].cpu()) < 1e-4


def test_bfloat16():
    views, waves = Chains(), noise(8, 16_000).bfloat16().cuda()
    out = views.apply(waves, views.sample(8, seed=0, device="cuda"))
    assert out.dtype == torch.bfloat16 and out.isfinite().all()


def test_nothing_waits_for_the_device():
    views, front_end = Chains(), MTSLVR().cuda()
    waves = noise(8, 16_000).cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        plan = views.sample(8, seed=0, device="cuda")
        images = front_end(views.apply(waves, plan).flatten(0, 1))
        labels = plan.labels
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert images.shape == (16, 3, 128, 32) and labels.is_cuda


def test_the_front_end_equals_the_cpu():
    front_end, waves = MTSLVR(), noise(8, 32_000)
    expected = front_end(waves)
    ours = front_end.cuda()(waves.cuda()).cpu()
    assert relative_error(ours[:, 0], expected[:, 0]) < 1e-3
    z, z_expected = (
        torch.polar(10 ** (image[:, 1] / 10), image[:, 2]) for image in (ours, expected)
    )
    assert ((z - z_expected).norm() / z_expected.norm()).item() < 1e-3


def test_the_front_end_under_autocast_stays_float32():
    front_end, waves = MTSLVR().cuda(), noise(4, 16_000).cuda()
    with torch.autocast("cuda", torch.bfloat16):
        image = front_end(waves)
    assert image.dtype == torch.float32 and torch.equal(image, front_end(waves))
