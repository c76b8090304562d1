"""Norms treat each view as a pass of its own, and several processes as one batch."""

from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from torch import nn

from slvr.model.encoders.resnet18 import TASKS, VARIANTS, ResNet18
from slvr.model.norms import Passes, ViewNorm, synchronise
from slvr.model.objectives.simsiam import SimSiam

N_CLIPS = 6


def norm_and_views(n_views, shape):
    torch.manual_seed(0)
    norm = ViewNorm(shape[1]).double()
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    return norm, torch.randn(n_views, *shape, dtype=torch.float64)


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5, 6)])
@pytest.mark.parametrize("rounds", [1, 2, 3])
@pytest.mark.parametrize("n_views", [1, 2, 3])
def test_a_call_is_its_passes(n_views, rounds, shape):
    ours, views = norm_and_views(n_views, shape)
    plain = {2: nn.BatchNorm1d, 4: nn.BatchNorm2d}[len(shape)](shape[1]).double()
    plain.load_state_dict(ours.state_dict())
    out = ours(views.flatten(0, 1), Passes(n_views, rounds)).unflatten(0, (n_views, -1))
    for _ in range(rounds):
        expected = torch.stack([plain(view) for view in views])
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), buffer, rtol=0, atol=1e-12)
    ours.eval()
    plain.eval()
    torch.testing.assert_close(ours(views[0]), plain(views[0]), rtol=0, atol=1e-12)


def test_synchronising_keeps_the_parameters_and_their_names():
    model = nn.ModuleList([ResNet18("series", 12, 8), SimSiam(6, 16, 8)])
    before = model.state_dict(keep_vars=True)
    synchronise(model.eval())
    after = model.state_dict(keep_vars=True)
    assert list(before) == list(after)
    assert all(before[name] is after[name] for name in before)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert len(norms) == sum(name.endswith("running_mean") for name in before)
    assert all(isinstance(norm, ViewNorm) and norm.synchronised for norm in norms)
    assert not any(norm.training for norm in norms)


def synchronised_model(variant):
    torch.manual_seed(0)
    encoder = ResNet18(variant, 12, 4)
    head = nn.Sequential(nn.Linear(encoder.dims["contrastive"], 5), nn.BatchNorm1d(5), nn.ReLU())
    model = nn.ModuleDict({"encoder": encoder, "head": head}).double()
    synchronise(model)
    return model


def train_once(model, rows):
    """Outputs, gradients and buffers after one step's backward pass on these rows of the batch."""
    generator = torch.Generator().manual_seed(1)
    views = torch.randn(2, N_CLIPS, 3, 32, 40, generator=generator, dtype=torch.float64)
    embedded = model["encoder"].embed(views[:, rows], TASKS)
    out = torch.stack([model["head"](h) for task in TASKS for h in embedded[task].clips], dim=1)
    out.square().sum((1, 2)).mean().backward()
    values = {"outputs": out.detach()}
    values |= {f"gradient of {name}": p.grad for name, p in model.named_parameters()}
    return values | dict(model.named_buffers())


def as_one_of_two(rank, folder):
    """Half of the batch in one of two processes, which write what they got with each variant."""
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    torch.set_num_threads(1)
    rows = slice(rank * N_CLIPS // 2, (rank + 1) * N_CLIPS // 2)
    for variant in VARIANTS:
        torch.save(train_once(synchronised_model(variant), rows), f"{folder}/{variant}-{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Folder with what both of two processes got."""
    folder = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.spawn(as_one_of_two, (folder,), nprocs=2)
    return folder


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_processes_are_one_with_their_batches(variant, written):
    expected = train_once(synchronised_model(variant), slice(None))
    first, second = (torch.load(written / f"{variant}-{rank}.pt") for rank in range(2))
    for name, value in expected.items():
        if name == "outputs":
            found = torch.cat([first[name], second[name]])
        elif name.startswith("gradient"):
            found = (first[name] + second[name]) / 2  # the mean that DDP takes
        else:
            assert torch.equal(first[name], second[name]), name
            found = first[name]
        torch.testing.assert_close(found, value, rtol=0, atol=1e-10, msg=name)
