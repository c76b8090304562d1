"""NT-Xent and SimSiam against slow numpy, closed forms and the numbers of the original."""

from pathlib import Path

import numpy as np
import pytest
import torch

from slvr.model.objectives.losses import nt_xent, simsiam

FIXTURE = Path(__file__).parents[2] / "shared" / "fixtures" / "losses.npz"
needs_fixture = pytest.mark.skipif(
    not FIXTURE.exists(), reason="the original implementation's numbers are not in this clone"
)


def randn(seed, *shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def slow_nt_xent(z1, z2, temperature):
    z = np.concatenate([z1, z2])
    n = len(z1)
    cosine = [[a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for b in z] for a in z]
    total = 0.0
    for i in range(2 * n):
        others = sum(np.exp(cosine[i][k] / temperature) for k in range(2 * n) if k != i)
        partner = i + n if i < n else i - n
        total -= np.log(np.exp(cosine[i][partner] / temperature) / others)
    return total / (2 * n)


@pytest.mark.parametrize("temperature", [0.07, 0.5, 2.0])
@pytest.mark.parametrize("clips", [1, 2, 7])
def test_nt_xent_is_equation_1_of_simclr(clips, temperature):
    z1, z2 = (randn(seed, clips, 5, dtype=torch.float64) for seed in (0, 1))
    expected = slow_nt_xent(z1.numpy(), z2.numpy(), temperature)
    assert nt_xent(z1, z2, temperature).item() == pytest.approx(expected, rel=1e-12, abs=1e-14)


def test_nt_xent_of_equal_embeddings_is_the_log_of_the_number_of_others():
    z = torch.ones(6, 3, dtype=torch.float64)
    assert nt_xent(z, z, 0.07).item() == pytest.approx(np.log(11), rel=1e-12)


def test_nt_xent_of_orthogonal_clips_in_closed_form():
    z = torch.eye(4, dtype=torch.float64)
    expected = np.log(1 + 6 * np.exp(-1 / 0.3))
    assert nt_xent(z, 5 * z, 0.3).item() == pytest.approx(expected, rel=1e-12)


def test_nt_xent_ignores_norms_the_order_of_clips_and_of_views():
    z1, z2 = (randn(seed, 6, 4, dtype=torch.float64) for seed in (0, 1))
    loss = nt_xent(z1, z2, 0.07)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    torch.testing.assert_close(nt_xent(3 * z1, 0.1 * z2, 0.07), loss)
    torch.testing.assert_close(nt_xent(z1[order], z2[order], 0.07), loss)
    torch.testing.assert_close(nt_xent(z2, z1, 0.07), loss)
    assert abs(nt_xent(z1, z2[order], 0.07) - loss) > 0.1


def test_nt_xent_keeps_nothing_as_large_as_every_pair_times_every_value():
    sizes = []

    def record(tensor):
        sizes.append(tensor.numel())
        return tensor

    z1, z2 = (randn(seed, 16, 64).requires_grad_() for seed in (0, 1))
    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        nt_xent(z1, z2, 0.07).backward()
    assert max(sizes) == 32 * 64  # the embeddings; all pairs are 32 * 32


def test_nt_xent_gradient():
    z1, z2 = (randn(seed, 3, 4, dtype=torch.float64).requires_grad_() for seed in (0, 1))
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.5), (z1, z2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nt_xent_is_computed_in_float32_under_autocast(dtype):
    z1, z2 = (randn(seed, 16, 64, dtype=dtype).requires_grad_() for seed in (0, 1))
    expected = nt_xent(z1.float(), z2.float(), 0.07)
    with torch.autocast("cpu", torch.bfloat16):
        loss = nt_xent(z1, z2, 0.07)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert z1.grad.dtype == dtype


def test_nt_xent_over_one_process_is_the_plain_one():
    z1, z2 = (randn(seed, 4, 8) for seed in (0, 1))
    assert torch.equal(nt_xent(z1, z2, 0.07, over_ranks=True), nt_xent(z1, z2, 0.07))


def test_simsiam_is_the_mean_negative_cosine_with_the_other_view():
    p1, p2, z1, z2 = (randn(seed, 5, 3, dtype=torch.float64) for seed in range(4))

    def cosine(a, b):
        pairs = zip(a, b, strict=True)
        return np.mean([x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in pairs])

    expected = -(cosine(p1.numpy(), z2.numpy()) + cosine(p2.numpy(), z1.numpy())) / 2
    assert simsiam(p1, p2, z1, z2).item() == pytest.approx(expected, rel=1e-12)
    assert simsiam(p1, p2, 2 * p2, 3 * p1).item() == pytest.approx(-1, rel=1e-12)


def test_simsiam_gives_the_projections_no_gradient():
    p1, p2, z1, z2 = (randn(seed, 5, 3).requires_grad_() for seed in range(4))
    simsiam(p1, p2, z1, z2).backward()
    assert z1.grad is None
    assert z2.grad is None
    assert p1.grad.norm() > 0
    assert p2.grad.norm() > 0


@needs_fixture
def test_nt_xent_equals_the_original():
    with np.load(FIXTURE) as original:
        z1, z2 = (randn(int(seed), 16, 256) for seed in original["ntxent_seeds"])
        temperature = float(original["ntxent_temperature"])
        assert nt_xent(z1, z2, temperature).item() == pytest.approx(original["ntxent"], rel=1e-6)
        exact = nt_xent(z1.double(), z2.double(), temperature).item()
        assert exact == pytest.approx(original["ntxent_float64"], rel=1e-12)
        alike = nt_xent(z1, 0.9 * z1 + 0.1 * z2, temperature).item()
        assert alike == pytest.approx(original["ntxent_correlated"], abs=1e-7)


@needs_fixture
def test_simsiam_equals_the_original():
    with np.load(FIXTURE) as original:
        seeds = original["simsiam_seeds_p1_p2_z1_z2"]
        p1, p2, z1, z2 = (randn(int(seed), 16, 2048) for seed in seeds)
        assert simsiam(p1, p2, z1, z2).item() == pytest.approx(original["simsiam_sym"], rel=1e-5)
        alike = simsiam(z2 + 0.5 * p1, z1 + 0.5 * p2, z1, z2).item()
        assert alike == pytest.approx(original["simsiam_sym_correlated"], rel=1e-6)
