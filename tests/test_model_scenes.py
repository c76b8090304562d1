"""The objective `scenes` against published numbers, a loop over pairs and closed forms."""

import json
import math
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile

from slvr.model.encoders.cnn14 import CNN14
from slvr.model.encoders.contract import Embedded
from slvr.model.learner import Head, Learner
from slvr.model.objectives import pairs
from slvr.model.objectives.losses import nt_xent
from slvr.model.objectives.pairs import coincidence_loss
from slvr.model.objectives.scenes import Scenes

FIXTURES = Path(__file__).parents[2] / "shared" / "fixtures"


def randn(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def stored(name):
    path = FIXTURES / "separation" / name
    if not path.exists():
        pytest.skip("the originals' numbers (shared/fixtures/separation) are not beside us")
    return np.load(path) if name.endswith(".npz") else json.loads(path.read_text())


def fill(module):
    sys.path.insert(0, str(FIXTURES))
    try:
        from fill import fill as by_name
    finally:
        sys.path.remove(str(FIXTURES))
    return by_name(module)


def near(found, expected, rel):
    expected = np.asarray(expected)
    assert np.abs(found.detach().numpy() - expected).max() < rel * np.abs(expected).max()


def test_names_are_the_ones_of_the_published_numbers():
    expected = stored("heads_keys.json")
    state = Scenes(128).state_dict()
    assert {key: list(tensor.shape) for key, tensor in state.items()} == expected


def test_similarity_equals_the_stored_numbers():
    numbers = stored("losses_ssep.npz")
    for name, n, seed in (("a", 8, 601), ("b", 8, 603), ("c", 12, 605)):
        z1 = randn(n, 128, seed=seed)
        z2 = z1 + randn(n, 128, seed=seed + 1)
        z1.requires_grad_()
        loss = nt_xent(z1, z2, float(numbers[f"ntxent_{name}_tau"]))
        assert loss.item() == pytest.approx(float(numbers[f"ntxent_{name}_loss"]), rel=1e-5)
        loss.backward()
        near(z1.grad, numbers[f"ntxent_{name}_grad_z1"], 1e-4)


def test_both_losses_equal_the_stored_numbers_with_gradients():
    numbers = stored("losses_ssep.npz")
    expected = {key.removeprefix("joint128_"): value for key, value in numbers.items()}
    one = fill(Scenes(128, temperature=float(expected["tau_lambda"][0]))).eval()
    h1 = randn(8, 128, seed=611)
    h = torch.stack([h1, 0.6 * h1 + 0.8 * randn(8, 128, seed=612)]).requires_grad_()
    for view, name in ((0, "z1"), (1, "z2")):
        near(one.similarity_head(h[view]), expected[name], 1e-5)
    pairs_of = torch.cat([h[0][:, None].expand(8, 8, 128), h[1].expand(8, 8, 128)], 2)
    near(one.coincidence_head(pairs_of)[..., 0], expected["pair_logits"], 1e-5)
    losses = one(Embedded(h), {})
    assert losses["similarity"].item() == pytest.approx(float(expected["sm"]), rel=1e-5)
    assert losses["coincidence"].item() == pytest.approx(float(expected["cp"]), rel=1e-5)
    total = losses["similarity"] + float(expected["tau_lambda"][1]) * losses["coincidence"]
    assert total.item() == pytest.approx(float(expected["total"]), rel=1e-5)
    total.backward()
    near(h.grad[0], expected["grad_h1"], 1e-4)
    near(h.grad[1], expected["grad_h2"], 1e-4)
    for name, parameter in one.named_parameters():
        norm = parameter.grad.double().norm().item()
        assert norm == pytest.approx(float(expected[f"gradnorm_{name}"]), rel=1e-4), name


@pytest.mark.parametrize(("how", "bn_views"), [("concat", "together"), ("separate", "separate")])
def test_a_whole_step_equals_the_stored_numbers(how, bn_views):
    numbers, norms = stored("joint_step.npz"), stored("joint_step_gradnorms.json")
    encoder = fill(CNN14(block_dropout=0, dropout=0))
    encoder.bn_views = bn_views
    learner = Learner(encoder, {"scenes": Head(fill(Scenes(128)), "all")}, ())
    x1 = randn(6, 1, 96, 64, seed=651)
    x2 = 0.5 * randn(6, 1, 96, 64, seed=652) + 0.8 * x1
    views = torch.stack([x1, x2]).mT
    h = learner.embed(views)
    for view, name in ((0, "h1"), (1, "h2")):
        near(h["all"].clips[view], numbers[f"{how}_{name}"], 1e-4)
    losses = learner.losses(h, {})
    for term, name in (("similarity", "sm"), ("coincidence", "cp")):
        expected = float(numbers[f"{how}_{name}"])
        assert losses[f"scenes.{term}"].item() == pytest.approx(expected, rel=1e-4)
    assert losses["total"].item() == pytest.approx(float(numbers[f"{how}_total"]), rel=1e-4)
    losses["total"].backward()
    found = {
        name.removeprefix("heads.scenes."): p.grad.double().norm().item()
        for name, p in learner.named_parameters()
    }
    assert math.hypot(*found.values()) == pytest.approx(
        float(numbers[f"{how}_total_gradnorm"]), rel=2e-3
    )
    expected = norms[how]
    assert found.keys() == expected.keys()
    for name, norm in expected.items():
        assert found[name] == pytest.approx(norm, rel=2e-3, abs=1e-6), name


def by_pairs(rows, columns, weight, bias, first=0):
    """The loss from its definition, pair after pair."""
    n, total = len(columns), 0.0
    for i, j in product(range(len(rows)), range(n)):
        a = weight @ (rows[i] + columns[j]).clamp(min=0) + bias
        own = j == first + i
        total = total - (F.logsigmoid(a) if own else F.logsigmoid(-a) / (n - 1))
    return total / len(rows)


def operands(n_rows, n_columns, width, seed=0):
    shapes = ((n_rows, width), (n_columns, width), (width,), ())
    return [randn(*s, seed=seed + i).double().requires_grad_() for i, s in enumerate(shapes)]


@pytest.mark.parametrize(("n_rows", "n_columns", "first"), [(7, 7, 0), (3, 9, 6), (2, 2, 0)])
@pytest.mark.parametrize("values", [1, 2 * 7 * 5, 2**22])
def test_coincidence_is_the_sum_over_all_pairs(monkeypatch, n_rows, n_columns, first, values):
    monkeypatch.setattr(pairs, "VALUES", values)
    ours, theirs = operands(n_rows, n_columns, 5), operands(n_rows, n_columns, 5)
    found = coincidence_loss(*ours, first)
    expected = by_pairs(*theirs, first)
    torch.testing.assert_close(found, expected)
    (3 * found).backward()
    (3 * expected).backward()
    for x, y in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x.grad, y.grad)


def test_coincidence_without_an_opinion_is_2_ln_2():
    rows, columns, weight, bias = (x.detach() for x in operands(6, 6, 4))
    found = coincidence_loss(rows, columns, 0 * weight, 0 * bias)
    assert found.item() == pytest.approx(2 * math.log(2))


def test_coincidence_asks_whether_the_second_is_a_channel_of_the_first():
    torch.manual_seed(0)
    one, h = Scenes(12).eval(), randn(2, 6, 12, seed=1)
    there, back = (one(Embedded(x), {})["coincidence"].item() for x in (h, h.flip(0)))
    assert there != pytest.approx(back, rel=1e-3)


def test_similarity_of_orthonormal_pairs_has_a_closed_form():
    z = torch.eye(5, 8)
    expected = math.log(math.exp(1 / 0.1) + 2 * 5 - 2) - 1 / 0.1
    assert nt_xent(z, z.clone(), 0.1).item() == pytest.approx(expected, abs=1e-6)


def allocated(work):
    """Bytes that are allocated in all, and at most at a time, beyond what was there."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        work()
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return sum(e.nbytes() for e in events if e.nbytes() > 0), most


def test_512_clips_need_less_than_200_mb_for_loss_and_gradients():
    torch.manual_seed(0)
    one, h = Scenes(128), randn(2, 512, 128, seed=2).requires_grad_()
    whole, most = allocated(lambda: sum(one(Embedded(h), {}).values()).backward())
    assert most < 100e6 and whole < 200e6


def test_stays_float32_under_autocast():
    torch.manual_seed(0)
    one, h = Scenes(16), randn(2, 8, 16, seed=3)
    expected = one(Embedded(h), {})["coincidence"]
    with torch.autocast("cpu", torch.bfloat16):
        found = one(Embedded(h), {})["coincidence"]
    assert found.dtype == torch.float32 and torch.equal(found, expected)
    low = Scenes(16).bfloat16()
    assert low(Embedded(h.bfloat16()), {})["coincidence"].dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"temperature": 0.0}, "more than 0"),
        ({"width": 0}, "1 or more"),
        ({"projection": 0}, "1 or"),
    ],
)
def test_what_cannot_be_is_refused(options, why):
    with pytest.raises(ValueError, match=why):
        Scenes.Config(**options)


def made():
    torch.manual_seed(0)
    return Scenes(6, width=10, projection=4).double(), randn(2, 8, 6, seed=4).double()


def as_one_of_two(rank, folder):
    """Half of the batch in one of two processes: losses, and gradients as DDP would take them."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.set_num_threads(1)
    one, h = made()
    mine = h[:, 4 * rank : 4 * rank + 4].clone().requires_grad_()
    losses = one(Embedded(mine), {})
    sum(losses.values()).backward()
    held = one.eval()(Embedded(mine.detach()), {})["coincidence"]
    torch.save(
        (
            {name: loss.detach() for name, loss in losses.items()},
            mine.grad,
            [p.grad for p in one.parameters()],
            held.detach(),
        ),
        f"{folder}/{rank}.pt",
    )
    dist.destroy_process_group()


def test_two_processes_are_one_with_the_whole_batch(tmp_path):
    torch.multiprocessing.spawn(as_one_of_two, (tmp_path,), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    one, h = made()
    h.requires_grad_()
    losses = one(Embedded(h), {})
    sum(losses.values()).backward()
    for name, loss in losses.items():
        torch.testing.assert_close((found[0][0][name] + found[1][0][name]) / 2, loss.detach())
    # the loss of the whole batch is the mean over the processes
    torch.testing.assert_close(torch.cat([found[0][1], found[1][1]], 1) / 2, h.grad)
    for first, second, p in zip(found[0][2], found[1][2], one.parameters(), strict=True):
        torch.testing.assert_close((first + second) / 2, p.grad)
    one.eval()
    for rank in (0, 1):  # validation is that of one process
        own = one(Embedded(h[:, 4 * rank : 4 * rank + 4]), {})["coincidence"]
        torch.testing.assert_close(found[rank][3], own.detach())
