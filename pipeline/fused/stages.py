"""Rows of one stage of the vocoder: what is done to them, and where their frames lie.

Letters: n rows, T samples, M and N samples of a frame before and after.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slvr.pipeline.augmentations.spectral import STRETCH_FRAME, STRETCH_HOP
from slvr.pipeline.augmentations.two_grids import HOPS_A_FRAME, OVERLAP
from slvr.pipeline.augmentations.vocoder import frame_count
from slvr.pipeline.fused.schedule import Ints, Schedule

# FFTs are made of whole multiples of so many rows' frames: each other number is another plan.
FFT_ROWS = 16
N_GROUPS = 6  # tensors that a kernel can take

# Columns of the table of rows.
(
    SOURCE,
    TARGET,
    FRAME,
    HOP,
    N_SOURCE,
    AT_FRAMES,
    GROUP_IN,
    AT_SPECTRA,
    MADE,
    MADE_HOP,
    N_MADE,
    AT_MADE,
    GROUP_OUT,
    AT_OUT,
    N_BINS,
    HEARD,
    LENGTH,
) = range(17)
ROW_COLUMNS = 17


@dataclass(frozen=True)
class Stage:
    """One pitch shift or time stretch of n rows, all on the host.

    Attributes:
        rows: (n, ROW_COLUMNS) int64, the columns above.
        steps: (n, 2) float64: frames of the source from one of the result to the next, as a
            fraction.
        factors: (n, 3) float32: of the energies before and after, and of the gain.
        frames: lengths and numbers of the frames to analyse, a group each.
        made: lengths and numbers of those to synthesise.
        hops_a_frame: N over the hop.
        by_bins: whether the wanted level is that of the bins that are kept, not of the samples.
    """

    rows: NDArray[np.int64]
    steps: NDArray[np.float64]
    factors: NDArray[np.float32]
    frames: list[tuple[int, int]]
    made: list[tuple[int, int]]
    hops_a_frame: int
    by_bins: bool

    def plans(self) -> list[tuple[str, int, int]]:
        """The FFTs that it makes: kind, length, how many."""
        return [("r2c", *group) for group in self.frames] + [
            ("c2c", length // 2, n) for length, n in self.made
        ]


def shift_stage(
    hops: Any, sources: Sequence[int] | Ints, targets: Sequence[int] | Ints, n_samples: int
) -> Stage:
    """Rows of `two_grids.shift`, each by its (n, 2) hops, of analysis and of synthesis."""
    hops = np.asarray(hops)
    counts = -(-n_samples // hops) + 1  # `vocoder.frame_count`
    frames, made = HOPS_A_FRAME * hops.T
    factors = np.stack(
        (
            2 / (frames * OVERLAP * n_samples),
            (made / frames) ** 2 / n_samples,
            made / frames,
        ),
        1,
    )
    return _stage(
        (sources, targets, frames, hops[:, 0], counts[:, 0], made, hops[:, 1], counts[:, 1]),
        heard=np.full(len(hops), n_samples),
        length=np.full(len(hops), n_samples),
        steps=np.stack((hops[:, 1], hops[:, 0]), 1),
        factors=factors,
        hops_a_frame=HOPS_A_FRAME,
        by_bins=True,
        unit=lambda lengths: FFT_ROWS * (-(-n_samples // (lengths // HOPS_A_FRAME)) + 1),
    )


def stretch_stage(
    rates: Any, sources: Sequence[int] | Ints, targets: Sequence[int] | Ints, n_samples: int
) -> Stage:
    """Rows of `spectral.TimeStretch`, each by its rate."""
    rate, whole = np.asarray(rates, np.float64), frame_count(n_samples, STRETCH_HOP)
    hops_a_frame = STRETCH_FRAME // STRETCH_HOP
    # As `vocoder.stretch`, but each row by itself.
    made = np.minimum(whole, np.ceil((whole - 1) / rate) + hops_a_frame)
    source = np.maximum(2, np.minimum(whole, np.ceil((made - 1) * rate) + 1))
    heard = np.clip(np.round(n_samples * rate), 1, n_samples)
    length = np.clip(np.round(n_samples / rate), 1, n_samples)
    frame, hop = np.full(len(rate), STRETCH_FRAME), np.full(len(rate), STRETCH_HOP)
    return _stage(
        (sources, targets, frame, hop, source, frame, hop, made),
        heard=heard,
        length=length,
        steps=np.stack((rate, np.ones_like(rate)), 1),
        factors=np.stack((1 / heard, 1 / length, np.ones_like(rate)), 1),
        hops_a_frame=hops_a_frame,
        by_bins=False,
        unit=lambda _: FFT_ROWS * whole,
    )


def _stage(
    columns: Any, heard: Any, length: Any, steps: Any, factors: Any, unit: Any, **rest: Any
) -> Stage:
    """Rows with their places in the tensors of frames and spectra."""
    source, target, frame, hop, n_source, made, made_hop, n_made = map(np.asarray, columns)
    group_in, at_in, frames, begin_in = _places(frame, n_source, unit)
    group_out, at_out, synthesised, begin_out = _places(made, n_made, unit)
    rows = np.empty((len(source), ROW_COLUMNS), np.int64)
    for column, values in {
        SOURCE: source,
        TARGET: target,
        FRAME: frame,
        HOP: hop,
        N_SOURCE: n_source,
        AT_FRAMES: begin_in[group_in] + at_in * frame,
        GROUP_IN: group_in,
        AT_SPECTRA: at_in * (frame // 2 + 1),
        MADE: made,
        MADE_HOP: made_hop,
        N_MADE: n_made,
        AT_MADE: (begin_out[group_out] + at_out * made) // 2,
        GROUP_OUT: group_out,
        AT_OUT: at_out * made,
        N_BINS: np.minimum(frame, made) // 2 + 1,
        HEARD: heard,
        LENGTH: length,
    }.items():
        rows[:, column] = values
    return Stage(
        rows,
        np.ascontiguousarray(steps, np.float64),
        np.ascontiguousarray(factors, np.float32),
        frames,
        synthesised,
        **rest,
    )


def _places(length: Any, count: Any, unit: Any) -> Any:
    """Each row's group of one frame length, frames before it there; the groups; their starts."""
    lengths, group = np.unique(length, return_inverse=True)
    assert len(lengths) <= N_GROUPS
    order = np.argsort(group, kind="stable")
    count = count.astype(np.int64)[order]
    before = np.cumsum(count) - count
    first = np.searchsorted(group[order], np.arange(len(lengths)))
    at = np.empty_like(before)
    at[order] = before - before[first][group[order]]
    units = unit(lengths)
    n = -(-np.add.reduceat(count, first) // units) * units
    begin = np.cumsum(n * lengths) - n * lengths
    return group, at, list(zip(lengths.tolist(), n.tolist(), strict=True)), begin


def vocoder_stages(steps: Schedule, n_samples: int) -> list[Stage]:
    """The stages of the vocoder that a schedule has."""
    stages = []
    for is_pitch, vocoding in steps.vocodings:
        places = (vocoding.sources, vocoding.targets, n_samples)
        if is_pitch:
            stages.append(shift_stage(vocoding.values, *places))
        else:
            stages.append(stretch_stage(vocoding.values, *places))
    return stages
