"""The views of a batch by a schedule's launches.

Letters: B clips, V views, T samples, R rows of the waves' tensor.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
from slvr.pipeline.views.contract import Known

Note = Callable[[str], None]
"""Told the name of what was launched last."""


@dataclass(frozen=True)
class Ready:
    """What of a plan's views can be done before there are waves, and is: all but the launches.

    Attributes:
        n_samples: of the clips that it is for.
        steps: the schedule.
        stages: of the vocoder.
        flushes: numbers of each flush on the device, parts of one tensor like all that follow.
        vocoders: numbers of each stage.
        noise: seeds, decays and ratios.
        known: what is known of the views.
        copied: when the copy to the device is done, where another stream copies.
    """

    n_samples: int
    steps: Schedule
    stages: list[Stage]
    flushes: list[list[Tensor]]
    vocoders: list[list[Tensor]]
    noise: list[Tensor]
    known: Known
    copied: Any = None

    def arrive(self) -> None:
        """Lets the current stream wait for the copy, and keeps its memory while it is read."""
        if self.copied is not None:
            stream = torch.cuda.current_stream(self.noise[0].device)
            stream.wait_event(self.copied)
            self.noise[0].record_stream(stream)


def made_ready(
    plan: ChainPlan,
    augmentations: Mapping[str, Augmentation],
    n_samples: int,
    device: torch.device,
    known: Known,
) -> Ready:
    """Schedule and numbers of a plan of chains that `can_fuse`, copied on the current stream.

    Args:
        plan: of the chains.
        augmentations: by name.
        n_samples: of the clips.
        device: where the numbers go, in one copy.
        known: on the host; goes with them.
    """
    steps = schedule(plan, list(augmentations.values()), n_samples)
    stages = vocoder_stages(steps, n_samples)
    parts: list[list[Any]] = [
        *(
            [f.codes, f.operands, f.jobs, *(array for pair in f.before for array in pair)]
            for f in steps.flushes
        ),
        *([stage.rows, stage.steps, stage.factors] for stage in stages),
        [steps.seeds, steps.decays, steps.ratios],
    ]
    arrays = [torch.from_numpy(array) for part in parts for array in part]
    there = iter(packed([*arrays, *known.values()], device))
    pieces = [[next(there) for _ in part] for part in parts]
    n = len(steps.flushes)
    named = dict(zip(known, there, strict=True))
    return Ready(n_samples, steps, stages, pieces[:n], pieces[n:-1], pieces[-1], named)


_COPYING: dict[torch.device, Any] = {}


def made_ready_aside(
    plan: ChainPlan,
    augmentations: Mapping[str, Augmentation],
    n_samples: int,
    device: torch.device,
    known: Known,
) -> Ready:
    """The same, copied on a stream of its own, behind nothing that the device has still to do."""
    if device not in _COPYING:
        _COPYING[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    with torch.cuda.stream(_COPYING[device]):
        ready = made_ready(plan, augmentations, n_samples, device, known)
        return replace(ready, copied=_COPYING[device].record_event())


def fused_views(
    waves: Tensor,
    plan: ChainPlan,
    augmentations: Mapping[str, Augmentation],
    note: Note = lambda _: None,
    ready: Ready | None = None,
) -> Tensor:
    """(B, T) float32 or bfloat16 -> (V, B, T) of the same dtype, of chains that `can_fuse`.

    Sums and samples are float32 from beginning to end.
    """
    with torch.cuda.device(waves.get_device()):  # where kernels are launched; -1 is none
        if ready is None or ready.n_samples != waves.shape[1]:
            ready = made_ready(plan, augmentations, waves.shape[1], waves.device, {})
        ready.arrive()
        note("schedule and upload")
        return _launched(waves, ready, note)


def _launched(waves: Tensor, ready: Ready, note: Note) -> Tensor:
    n_clips, n_samples = waves.shape
    steps, noise = ready.steps, ready.noise
    rows = torch.empty((1 + 2 * N_VIEWS) * n_clips, n_samples, device=waves.device)
    rows[:n_clips] = waves
    levels = torch.empty(max(1, steps.n_levels), device=waves.device)
    noises, norms = _noises(noise[0], noise[1], n_samples)
    note("noise")
    for flush, there, vocoder, its, (is_pitch, vocoding) in zip(
        steps.flushes, ready.flushes, ready.stages, ready.vocoders, steps.vocodings, strict=False
    ):
        _run_flush(flush, there, rows, rows, noises, norms, noise[2], levels)
        note("programs")
        run_stage(vocoder, its, rows, levels, vocoding.first_level)
        note("pitch" if is_pitch else "stretch")
    out = waves.new_empty(N_VIEWS, *waves.shape)
    last = (steps.flushes[-1], ready.flushes[-1])
    _run_flush(*last, rows, out.flatten(0, 1), noises, norms, noise[2], levels)
    note("programs")
    return out


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
