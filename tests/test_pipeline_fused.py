"""Views in few kernels: the schedule, the kernels beside torch's path, and what they compile to."""

import os
import subprocess
import sys
from contextlib import nullcontext
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).parent / "benchmarks"))  # for counting.py

from slvr.pipeline.augmentations import DEFAULT, Fade, PitchShift, TimeShift, TimeStretch
from slvr.pipeline.frontends.bank import Bands
from slvr.pipeline.frontends.mtslvr import MTSLVR
from slvr.pipeline.fused import can_run, stages
from slvr.pipeline.fused.schedule import (
    GAIN,
    NOISE,
    WRAP,
    can_fuse,
    schedule,
)
from slvr.pipeline.views.chains import Chains
from slvr.pipeline.views.contract import Waves

HERE = Path(__file__).parent
CLIP_SAMPLES = 160_000
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="needs the extra fused")
on_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    needs_triton,
]


def scheduled(n, seed, chains=None, n_samples=CLIP_SAMPLES):
    chains = chains or Chains()
    plan = chains.sample(n, seed)
    steps = schedule(plan, list(chains.augmentations.values()), n_samples)
    return plan, steps, stages.vocoder_stages(steps, n_samples)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


# The schedule


@pytest.mark.parametrize("seed", range(3))
def test_programs_and_stages_together_are_the_chains(seed):
    plan, steps, _ = scheduled(50, seed)
    assert [is_pitch for is_pitch, _ in steps.vocodings] == [True, False, True]
    assert len(steps.flushes) == 4
    done = [[] for _ in range(100)]
    place = {row: row % 50 for row in range(100)}
    for i, flush in enumerate(steps.flushes):
        for program, n, source, target in flush.jobs.tolist():
            (row,) = [r for r, at in place.items() if at == source and (r % 50 == source or i)][:1]
            if i == 3:  # the last goes into the views, every row once
                row = target
            elif source < 50:
                row = target - 50
            done[row] += flush.codes[program, :n].tolist()
            place[row] = target
        if i < 3:
            is_pitch, vocoding = steps.vocodings[i]
            for source, target in zip(vocoding.sources, vocoding.targets, strict=True):
                row = (target - 50) % 100
                assert place[row] == source and target >= 50
                place[row] = target
                done[row].append("pitch" if is_pitch else "stretch")
    assert sorted(place.values()) == list(range(100))
    codes = {"fade": 1, "time_masking": 2, "time_shift": 3, "white_noise": 4, "mixed_noise": 4}
    codes |= {"pitch_shift": "pitch", "time_stretch": "stretch"}
    for row, operations in enumerate(done):
        chain = [codes[step.name] for step in plan.describe(row % 50)]
        assert [o for o in operations if o not in (GAIN, WRAP)] == chain
        for before, after in pairwise(operations):
            assert before not in ("pitch", "stretch") or after == GAIN


def test_levels_are_known_before_they_are_used():
    _, steps, _ = scheduled(100, 0)
    known = set()
    for i, flush in enumerate(steps.flushes):
        for jobs, which in flush.before:
            for (program, n, *_), noise_row in zip(jobs.tolist(), which.tolist(), strict=True):
                assert flush.codes[program, n] == NOISE
                assert flush.operands[program, n, 0] == flush.operands[program, n, 1] == noise_row
                used = flush.operands[program, :n, :2][flush.codes[program, :n] == NOISE]
                assert set(used[:, 1].tolist()) <= known
                assert noise_row not in known
            known |= set(which.tolist())
        used = flush.operands[flush.codes == NOISE][:, 1]
        used = np.append(used, flush.operands[flush.codes == GAIN][:, 0])
        assert set(used.tolist()) <= known
        if i < 3:
            vocoding = steps.vocodings[i][1]
            known |= {vocoding.first_level + j for j in range(len(vocoding.sources))}
    n_noises = int((steps.ratios > 0).sum())
    assert len(known) == n_noises + sum(len(v.sources) for _, v in steps.vocodings)
    assert max(known) < steps.n_levels and len(steps.seeds) % 16 == 0


def test_few_plans_of_ffts():
    """cuFFT makes a plan for each length and number of transforms, which takes milliseconds."""
    plans = set()
    for seed in range(150):
        _, steps, vocoders = scheduled(100, (0, seed))
        plans |= {plan for stage in vocoders for plan in stage.plans()}
        plans.add(("noise", CLIP_SAMPLES // 2, len(steps.seeds)))
    assert len(plans) <= 40


def test_frames_lie_side_by_side_in_their_tensors():
    _, _, vocoders = scheduled(60, 1)
    for stage in vocoders:
        rows = stage.rows
        spans = [
            (stages.AT_FRAMES, stages.FRAME, stages.N_SOURCE, 1, stage.frames),
            (stages.AT_MADE, stages.MADE, stages.N_MADE, 2, stage.made),
        ]
        for at, length, count, per_number, groups in spans:
            begin = rows[:, at]
            end = begin + rows[:, length] * rows[:, count] // per_number
            order = np.argsort(begin)
            assert (begin[order][1:] >= end[order][:-1]).all()
            assert end.max() <= sum(n * k for n, k in groups) // per_number


def test_only_chains_of_the_seven_kinds_are_fused():
    assert can_fuse(Chains().augmentations)
    assert can_fuse(Chains([Fade(), Fade("again"), TimeShift()]).augmentations)
    assert not can_fuse(Chains([PitchShift("continuous")]).augmentations)
    assert not can_fuse(Chains([TimeStretch(), TimeStretch("again")]).augmentations)

    class Other(Fade):
        pass

    assert not can_fuse(Chains([Other()]).augmentations)


def test_where_kernels_cannot_run_torch_does():
    waves, fused = noise(3, 1600), Chains.build(Chains.Config(fused=True), Waves(1600))
    assert fused.fused and not can_run(waves)
    plan = fused.sample(3, seed=0)
    assert torch.equal(fused.apply(waves, plan), Chains().apply(waves, plan))


# The kernels


@needs_triton
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=on_gpu)])
def test_the_kernels_equal_torch_on_the_same_numbers(device):
    """To 1e-6, a kernel after the other; on the CPU by Triton's interpreter."""
    run = subprocess.run(
        [sys.executable, HERE / "fused_checks.py", device],
        capture_output=True,
        text=True,
        env={**os.environ, "TRITON_INTERPRET": "1" if device == "cpu" else "0"},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    names = ["down", "up", "stretch", "noise", "front-end", "programs", "bfloat16", "all"]
    assert run.stdout.split() == [word for name in names for word in (name, "equal")]


@needs_triton
def test_the_kernels_compile_for_an_h100_without_one(tmp_path):
    run = subprocess.run(
        [sys.executable, HERE / "fused_for_sm90.py"],
        capture_output=True,
        text=True,
        env={**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.splitlines()) == 14, run.stdout


class Launches:
    """In a kernel's place: counts, and does nothing."""

    total = 0

    def __getitem__(self, grid):
        assert all(n > 0 for n in grid)
        return self

    def __call__(self, *args, **kwargs):
        Launches.total += 1


@needs_triton
def test_launches_of_a_step_by_counting_them(monkeypatch):
    """Kernels of ours where they are launched, torch's by the counter; tensors hold nothing."""
    from counting import CUDA, Count, fake_cuda

    from slvr.pipeline.fused import chain_kernels, front_end, launches, mel_kernels, views
    from slvr.pipeline.fused import vocoder_kernels as vocoder

    for module in (chain_kernels, vocoder, mel_kernels):
        for name in ("run_programs", "find_noise_levels", "colour_noise", "frame_rows"):
            monkeypatch.setattr(module, name, Launches(), raising=False)
        for name in ("frame_energies", "find_anchors", "vocode", "overlap_add", "find_levels"):
            monkeypatch.setattr(module, name, Launches(), raising=False)
        for name in ("frame_reflected", "mel_images"):
            monkeypatch.setattr(module, name, Launches(), raising=False)
    monkeypatch.setattr(launches, "_addresses", lambda tensors: [])
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    chains, made = Chains(), MTSLVR()
    for seed in range(5):
        with fake_cuda():
            plan = chains.sample(100, seed)
            with Count("cuda") as upload:
                known = chains.known(plan)
                ready = views.made_ready(plan, chains.augmentations, CLIP_SAMPLES, CUDA, known)
            waves = torch.empty(100, CLIP_SAMPLES, device=CUDA)
            Launches.total = 0
            with Count("cuda") as count:
                out = views.fused_views(waves, plan, chains.augmentations, ready=ready)
            assert out.shape == (2, 100, CLIP_SAMPLES) and out.device == CUDA
            assert (upload.uploads, upload.kernels) == (1, 0), "all numbers in one copy"
            assert count.waits == count.uploads == 0, "all of it was uploaded before"
            assert Launches.total + count.kernels <= 70, (Launches.total, count.kernels)
            bands = Bands(*(made.get_buffer(f"bands_{name}").to(CUDA) for name in Bands._fields))
            Launches.total = 0
            with Count("cuda") as count:
                images = front_end.images(out.flatten(0, 1), 1024, 512, bands, 3)
            assert images.shape == (200, 3, 128, 313)
            assert (Launches.total, count.kernels) == (2, 1)


# On a device


def relative_error(ours, reference):
    return ((ours - reference).norm(dim=-1) / reference.norm(dim=-1)).max().item()


class TestOnADevice:
    pytestmark = on_gpu

    @pytest.mark.parametrize("name", [augmentation.name for augmentation in DEFAULT])
    @pytest.mark.parametrize("n_samples", [16_001, 160_000])
    def test_each_augmentation_equals_torchs(self, name, n_samples):
        chosen = [a for a in DEFAULT if a.name == name]
        fused, by_torch = (Chains(chosen, fused=fused) for fused in (True, False))
        waves, plan = noise(8, n_samples).cuda(), fused.sample(8, 0, "cuda")
        # Phases of weak bins magnify rounding, as between torch's own devices.
        limit = 5e-3 if name in ("pitch_shift", "time_stretch") else 1e-6
        assert relative_error(fused.apply(waves, plan), by_torch.apply(waves, plan)) < limit

    def test_chains_equal_torchs(self):
        waves, fused = noise(32, 32_000).cuda(), Chains(fused=True)
        plan = fused.sample(32, 1, "cuda")
        ours, theirs = fused.apply(waves, plan), Chains().apply(waves, plan)
        assert ((ours - theirs).norm() / theirs.norm()).item() < 5e-3

    def test_the_same_bits_twice_and_a_row_alone(self):
        waves, fused = noise(20, 32_000).cuda(), Chains(fused=True)
        plan = fused.sample(20, 1, "cuda")
        ours = fused.apply(waves, plan)
        assert torch.equal(ours, fused.apply(waves, plan))
        for clip in (0, 7, 19):
            alone = fused.apply(waves[clip : clip + 1], plan.rows(clip, clip + 1))
            assert relative_error(alone[:, 0], ours[:, clip]) < 1e-3

    def test_nothing_waits_for_the_device(self):
        waves, fused = noise(20, 32_000).cuda(), Chains(fused=True)
        fused.apply(waves, fused.sample(20, 0, "cuda"))  # compiles and makes plans
        torch.cuda.set_sync_debug_mode("error")
        try:
            out = fused.apply(waves, fused.sample(20, 1, "cuda"))
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert out.isfinite().all()

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_difficult_clips(self, dtype):
        silence, dc = torch.zeros(16_000), torch.ones(16_000)
        impulse = torch.zeros(16_000).index_fill(0, torch.tensor([5000]), 1)
        waves = torch.stack((silence, dc, impulse, 1e-30 * dc, noise(16_000)))
        waves = waves.to("cuda", dtype)
        for seed in range(5):
            fused = Chains(min_ops=7, fused=True)
            out = fused.apply(waves, fused.sample(5, seed, "cuda"))
            assert out.dtype == dtype and out.isfinite().all() and out.abs().max() < 100
            assert (out[:, 0] == 0).all(), "silence must stay silent"

    def test_few_kernels(self):
        waves, fused = noise(100, 160_000).cuda(), Chains(fused=True)
        plan = fused.sample(100, 0, "cuda")
        fused.apply(waves, plan)
        torch.cuda.synchronize()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
            fused.apply(waves, plan)
            torch.cuda.synchronize()
        # a name of the runtime's is what the host called
        launches = sum(e.count for e in profiler.key_averages() if e.self_device_time_total)
        assert launches <= 150, profiler.key_averages().table()
