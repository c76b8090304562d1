"""The views of a batch by a schedule's launches.

Letters: B clips, V views, T samples, R rows of the waves' tensor.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import triton
from torch import Tensor

from slvr.pipeline.augmentations.contract import Augmentation
from slvr.pipeline.augmentations.resampling import fast_fft_length
from slvr.pipeline.fused import chain_kernels as kernels
from slvr.pipeline.fused.launches import BLOCK_SAMPLES, run_stage
from slvr.pipeline.fused.schedule import LONGEST, Flush, Schedule, schedule
from slvr.pipeline.fused.stages import Stage, vocoder_stages
from slvr.pipeline.upload import packed
from slvr.pipeline.views.chain_plan import N_VIEWS, ChainPlan

Note = Callable[[str], None]
"""Told the name of what was launched last."""


def fused_views(
    waves: Tensor,
    plan: ChainPlan,
    augmentations: Mapping[str, Augmentation],
    note: Note = lambda _: None,
) -> Tensor:
    """(B, T) float32 or bfloat16 -> (V, B, T) of the same dtype, of chains that `can_fuse`.

    Sums and samples are float32 from beginning to end.
    """
    with torch.cuda.device(waves.get_device()):  # where kernels are launched; -1 is none
        return _fused_views(waves, plan, augmentations, note)


def _fused_views(
    waves: Tensor, plan: ChainPlan, augmentations: Mapping[str, Augmentation], note: Note
) -> Tensor:
    n_clips, n_samples = waves.shape
    steps = schedule(plan, list(augmentations.values()), n_samples)
    stages = vocoder_stages(steps, n_samples)
    flushes, vocoders, noise = _upload(steps, stages, waves.device)
    note("schedule and upload")

    rows = torch.empty((1 + 2 * N_VIEWS) * n_clips, n_samples, device=waves.device)
    rows[:n_clips] = waves
    levels = torch.empty(max(1, steps.n_levels), device=waves.device)
    noises, norms = _noises(noise[0], noise[1], n_samples)
    note("noise")
    for flush, there, vocoder, its, (is_pitch, vocoding) in zip(
        steps.flushes, flushes, stages, vocoders, steps.vocodings, strict=False
    ):
        _run_flush(flush, there, rows, rows, noises, norms, noise[2], levels)
        note("programs")
        run_stage(vocoder, its, rows, levels, vocoding.first_level)
        note("pitch" if is_pitch else "stretch")
    out = waves.new_empty(N_VIEWS, *waves.shape)
    last = (steps.flushes[-1], flushes[-1])
    _run_flush(*last, rows, out.flatten(0, 1), noises, norms, noise[2], levels)
    note("programs")
    return out


def _upload(
    steps: Schedule, stages: list[Stage], device: torch.device
) -> tuple[list[list[Tensor]], list[list[Tensor]], list[Tensor]]:
    """The numbers of all flushes, stages and noises on the device, in one copy."""
    parts: list[list[Any]] = [
        *(
            [f.codes, f.operands, f.jobs, *(array for pair in f.before for array in pair)]
            for f in steps.flushes
        ),
        *([stage.rows, stage.steps, stage.factors] for stage in stages),
        [steps.seeds, steps.decays, steps.ratios],
    ]
    there = iter(packed([torch.from_numpy(array) for part in parts for array in part], device))
    pieces = [[next(there) for _ in part] for part in parts]
    n_flushes = len(steps.flushes)
    return pieces[:n_flushes], pieces[n_flushes:-1], pieces[-1]


def _noises(seeds: Tensor, decays: Tensor, n_samples: int) -> tuple[Tensor, Tensor]:
    """(n, N) noises and the amplitudes (n,) of their first T samples."""
    if not len(seeds):
        return decays, decays
    n_fft = fast_fft_length(n_samples)
    half = n_fft // 2
    made = torch.empty(len(seeds), half, dtype=torch.complex64, device=seeds.device)
    pairs = half // 2 + 1
    kernels.colour_noise[len(seeds), triton.cdiv(pairs, 512)](
        seeds, decays, torch.view_as_real(made).view(torch.int64), n_fft, BLOCK=512
    )
    noises = torch.view_as_real(torch.fft.ifft(made, norm="forward")).flatten(1)
    norms: Tensor = torch.linalg.vector_norm(noises[:, :n_samples], dim=-1)
    return noises, norms


def _run_flush(
    flush: Flush,
    there: list[Tensor],
    rows: Tensor,
    out: Tensor,
    noises: Tensor,
    norms: Tensor,
    ratios: Tensor,
    levels: Tensor,
) -> None:
    """Levels of the noises in their order, then the programs."""
    if not len(flush.jobs):
        return
    codes, operands, jobs, *before = there
    n_samples = rows.shape[1]
    n_blocks = triton.cdiv(n_samples, BLOCK_SAMPLES)
    shape = (n_samples, noises.shape[-1], n_blocks)
    energies = torch.empty(len(jobs), n_blocks, device=rows.device)
    for cut, which in zip(before[::2], before[1::2], strict=True):
        kernels.run_programs[len(cut), n_blocks](
            rows, rows, noises, levels, codes, operands, cut, energies, *shape,
            OPS=LONGEST, ENERGY=True, BLOCK=BLOCK_SAMPLES,
        )  # fmt: skip
        kernels.find_noise_levels[len(cut),](
            energies, norms, which, ratios, levels, n_blocks,
            BLOCK=triton.next_power_of_2(n_blocks),
        )  # fmt: skip
    kernels.run_programs[len(jobs), n_blocks](
        rows, out, noises, levels, codes, operands, jobs, energies, *shape,
        OPS=LONGEST, ENERGY=False, BLOCK=BLOCK_SAMPLES,
    )  # fmt: skip
