"""The launches of one stage of the vocoder.

Letters: n rows, R rows of the waves' tensor, T samples.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from slvr.pipeline.fused import vocoder_kernels as kernels
from slvr.pipeline.fused.stages import N_GROUPS, N_MADE, N_SOURCE, Stage

BLOCK_SAMPLES = 1024
# One warp of bins and of their mirror images: programs march in parallel, and there are few rows.
BLOCK_BINS = 32
BINS_WARPS = 1


class Analysed(NamedTuple):
    """Rows' frames and what a vocoder needs to know of them."""

    spectra: list[Tensor]
    """A tensor (frames, M / 2 + 1) complex64 for each frame length."""
    energies: Tensor
    """(n, L), of the bins that are kept."""
    products: Tensor
    """(n, L), of each frame with the next."""
    heard: Tensor
    """(n, L), energies of the hops in the middle of the frames."""


def run_stage(
    stage: Stage, there: Sequence[Tensor], waves: Tensor, levels: Tensor, first_level: int
) -> None:
    """Reads rows of `waves` (R, T), writes others, and their gains, not yet applied, to `levels`.

    Args:
        stage: what to do.
        there: its rows, steps and factors on the device.
        waves: changed in place.
        levels: changed in place.
        first_level: where the n gains begin.
    """
    rows, steps, factors = there
    analysed = analyse(stage, rows, waves)
    present = synthesise(stage, rows, vocode(stage, rows, steps, analysed), waves)
    wanted = analysed.energies if stage.by_bins else analysed.heard
    n_wanted, n_present = wanted.shape[1], present.shape[1]
    kernels.find_levels[len(rows),](
        wanted,
        present,
        factors,
        levels,
        n_wanted,
        n_present,
        rows,
        first_level,
        BLOCK=triton.next_power_of_2(max(n_wanted, n_present)),
    )


def analyse(stage: Stage, rows: Tensor, waves: Tensor) -> Analysed:
    """Spectra of all frames, and their energies."""
    n, widest = len(rows), int(stage.rows[:, N_SOURCE].max())
    energies, products, heard = torch.empty(3, n, widest, device=waves.device)
    frames = torch.empty(sum(m * k for m, k in stage.frames), device=waves.device)
    kernels.frame_rows[n, widest](waves, frames, heard, rows, waves.shape[1], widest, BLOCK=512)
    spectra = [torch.fft.rfft(part) for part in _parts(frames, stage.frames)]
    kernels.frame_energies[n, widest](
        *_addresses(spectra), energies, products, rows, widest, BLOCK=512
    )
    return Analysed(spectra, energies, products, heard)


def vocode(stage: Stage, rows: Tensor, steps: Tensor, analysed: Analysed) -> list[Tensor]:
    """A tensor (frames, N / 2) complex64 for each frame length: two samples a number, unscaled."""
    n, widest = analysed.energies.shape
    widest_made, device = int(stage.rows[:, N_MADE].max()), rows.device
    anchors = torch.empty(n, widest_made, dtype=torch.int32, device=device)
    turns = torch.empty(n, widest_made, dtype=torch.float64, device=device)
    kernels.find_anchors[n,](
        analysed.energies,
        analysed.products,
        rows,
        steps,
        anchors,
        turns,
        widest,
        widest_made,
        BLOCK=triton.next_power_of_2(widest_made),
    )
    halves = [(length // 2, k) for length, k in stage.made]
    made = torch.empty(sum(h * k for h, k in halves), dtype=torch.complex64, device=device)
    kernels.vocode[n, triton.cdiv(max(h for h, _ in halves) // 2 + 1, BLOCK_BINS)](
        *_addresses(analysed.spectra),
        torch.view_as_real(made).view(torch.int64),
        rows,
        steps,
        anchors,
        turns,
        widest_made,
        BLOCK=BLOCK_BINS,
        num_warps=BINS_WARPS,
    )
    return [torch.fft.ifft(part, norm="forward") for part in _parts(made, halves)]


def synthesise(stage: Stage, rows: Tensor, frames: list[Tensor], waves: Tensor) -> Tensor:
    """Writes rows of `waves`; (n, blocks) energies of what is heard of them."""
    n_samples = waves.shape[1]
    n_blocks = triton.cdiv(n_samples, BLOCK_SAMPLES)
    energies = torch.empty(len(rows), n_blocks, device=waves.device)
    kernels.overlap_add[len(rows), n_blocks](
        *_addresses(frames),
        waves,
        energies,
        rows,
        n_samples,
        n_blocks,
        HOPS=stage.hops_a_frame,
        BLOCK=BLOCK_SAMPLES,
        num_warps=8,
    )
    return energies


def _parts(x: Tensor, groups: Sequence[tuple[int, int]]) -> list[Tensor]:
    """(frames, length) of each group, out of all its numbers."""
    parts = torch.split(x, [length * n for length, n in groups])
    return [part.view(-1, length) for part, (length, _) in zip(parts, groups, strict=True)]


def _addresses(tensors: Sequence[Tensor]) -> list[int]:
    """Of as many tensors as kernels take, the last one again and again."""
    addresses = [tensor.data_ptr() for tensor in tensors]
    return addresses + addresses[-1:] * (N_GROUPS - len(addresses))
