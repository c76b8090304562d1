"""Plans made ahead by a thread: the same as on the spot, and never another batch's."""

import threading
from dataclasses import replace
from unittest import mock

import pytest
import torch

from slvr.pipeline import blocks, stage
from slvr.pipeline.ahead import Ahead
from slvr.pipeline.frontends.logmel import LogMel
from slvr.pipeline.fused.schedule import schedule
from slvr.pipeline.stage import Stage
from slvr.pipeline.views.chains import Chains


class Counting(Chains):
    """Chains that note which thread draws which seed."""

    def sample(self, n, seed, device="cpu"):
        self.__dict__.setdefault("drawn", []).append((seed, threading.current_thread().name))
        return super().sample(n, seed, device)


def pcm(n=3, n_samples=4000):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(-9000, 9000, (n, n_samples), generator=generator, dtype=torch.int16)


@pytest.fixture
def by_thread(monkeypatch):
    """The CPU stands for a device, whose plans are made ahead."""
    monkeypatch.setattr(stage, "may_look", lambda device: False)


def test_what_was_begun_is_taken_once_and_only_under_its_key():
    ahead = Ahead()
    ahead.begin("a", lambda: "by the thread")
    assert ahead.made("a", lambda: "here") == "by the thread"
    assert ahead.made("a", lambda: "here") == "here"
    ahead.begin("a", lambda: "by the thread")
    assert ahead.made("b", lambda: "here") == "here"
    assert ahead.made("a", lambda: "here") == "here"


def test_an_error_of_the_thread_is_raised_where_the_plan_is_wanted():
    ahead = Ahead()
    ahead.begin("a", lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        ahead.made("a", lambda: "here")


def test_images_and_labels_are_those_of_a_plan_made_on_the_spot(by_thread):
    views, batch = Counting(), pcm()
    views.drawn.clear()
    ahead, plain = Stage(views, LogMel()), Stage(Chains(), LogMel())
    for step in range(4):
        images, known = ahead(batch, (7, step))
        if step != 2:
            ahead.begin(batch, (7, step + 1))
        expected, labels = plain(batch, (7, step))
        assert torch.equal(images, expected)
        assert all(torch.equal(known[name], labels[name]) for name in labels)
    threads = {seed[1]: name.startswith("plan-ahead") for seed, name in views.drawn[:4]}
    assert threads == {0: False, 1: True, 2: True, 3: False}


@pytest.mark.parametrize("other", [{"seed": 2}, {"n": 2}, {"n_samples": 3000}, {"rank": 1}])
def test_another_batch_gets_a_plan_of_its_own(by_thread, other):
    made = Stage(Chains(), LogMel(), world=2)
    made.begin(pcm(), (0, 1))
    asked = replace(made, rank=other.get("rank", 0))
    batch = pcm(other.get("n", 3), other.get("n_samples", 4000))
    seed = (0, other.get("seed", 1))
    images, _ = asked(batch, seed)
    expected, _ = Stage(Chains(), LogMel(), rank=asked.rank, world=2)(batch, seed)
    assert torch.equal(images, expected)


def test_on_the_cpu_no_thread_is_started():
    made = Stage(Chains(), LogMel())
    made.begin(pcm(), 1)
    assert made.ahead._begun is None and blocks.may_look(torch.device("cpu"))


def test_a_schedule_made_ahead_is_that_of_the_spot():
    """What launches read is the same, number by number, whoever made it."""
    pytest.importorskip("triton")
    from slvr.pipeline.fused import views as fused

    chains = Chains()
    plan = chains.sample(20, 3)
    known = chains.known(plan)
    cpu = torch.device("cpu")
    made = fused.made_ready(plan, chains.augmentations, 16_000, cpu, known)
    steps = schedule(plan, list(chains.augmentations.values()), 16_000)
    assert torch.equal(made.noise[0], torch.from_numpy(steps.seeds))
    for flush, there in zip(steps.flushes, made.flushes, strict=True):
        host = [
            flush.codes,
            flush.operands,
            flush.jobs,
            *(x for pair in flush.before for x in pair),
        ]
        assert all(torch.equal(torch.from_numpy(a), b) for a, b in zip(host, there, strict=True))
    for name, values in known.items():
        assert torch.equal(made.known[name], values)
    arrived = mock.Mock(wraps=made)
    ready = replace(plan, ready=arrived)
    assert chains.known(ready) is arrived.known and arrived.arrive.called
    assert ready.rows(0, 5).ready is None, "a share of it needs a schedule of its own"
