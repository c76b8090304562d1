"""What a plan's chains are on a device: three stages of the vocoder, and programs between them.

Fade, mask, shift and noise wait until their row needs pitch shift or stretch, or is done, and are
then one program. Each of the two comes once in a chain: pitch, stretch and pitch cover all orders.

Rows of the waves' tensor: B clips, then V * B views, then V * B views again, for what cannot be
written where it is read.

Letters: B clips, V views, T samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from slvr.pipeline.augmentations.contract import Augmentation
from slvr.pipeline.augmentations.noise import ColouredNoise
from slvr.pipeline.augmentations.spectral import PitchShift, TimeStretch, rows_by_ratio
from slvr.pipeline.augmentations.temporal import Fade, TimeMasking, TimeShift
from slvr.pipeline.views.chain_plan import N_VIEWS, ChainPlan

# Codes of operations, and how many a program has at most.
FADE, MASK, SHIFT, NOISE, GAIN, WRAP = range(1, 7)
LONGEST = 8
NOISE_ROWS = 16  # noises are made in multiples: another number is another plan of an FFT
KINDS = (PitchShift, Fade, ColouredNoise, TimeStretch, TimeMasking, TimeShift)

Operation = tuple[float, float, float, float]
"""A code and its three operands."""
NOTHING: list[Operation] = LONGEST * [(0.0, 0.0, 0.0, 0.0)]


@dataclass
class Flush:
    """Programs to run, and before them their beginnings up to each noise, for its level."""

    codes: NDArray[np.int32]
    operands: NDArray[np.float32]
    jobs: NDArray[np.int32]
    """(n, 4): program, operations, row to read, row to write."""
    before: list[tuple[NDArray[np.int32], NDArray[np.int32]]]
    """For the first noise of programs, for the second, and so on: jobs, and which noises."""


@dataclass
class Vocoding:
    """Rows of a stage: where they are read and written, and ratios or rates."""

    sources: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    first_level: int = 0


@dataclass
class Schedule:
    """All that is done, in order: flush, vocoding, ..., and a last flush into the views."""

    flushes: list[Flush]
    vocodings: list[tuple[bool, Vocoding]]
    """With whether it is a pitch shift; one less than flushes."""
    seeds: NDArray[np.int32]
    decays: NDArray[np.float32]
    """Of the noises, padded to whole `NOISE_ROWS`."""
    ratios: NDArray[np.float32]
    """Amplitude of each noise over that of its wave."""
    n_levels: int


def can_fuse(augmentations: Mapping[str, Augmentation]) -> bool:
    """Whether these are the seven kinds, of the published pitches, with one of each slow kind."""
    kinds = [type(augmentation) for augmentation in augmentations.values()]
    published = all(a.grid == "published" for a in augmentations.values() if type(a) is PitchShift)
    once = all(kinds.count(kind) <= 1 for kind in (PitchShift, TimeStretch))
    return published and once and len(kinds) <= LONGEST and all(kind in KINDS for kind in kinds)


def schedule(plan: ChainPlan, augmentations: Sequence[Augmentation], n_samples: int) -> Schedule:
    """The stages of a plan whose augmentations `can_fuse`."""
    return _Making(plan, augmentations, n_samples).made()


class _Making:
    """A schedule while rows are sorted into it."""

    def __init__(
        self, plan: ChainPlan, augmentations: Sequence[Augmentation], n_samples: int
    ) -> None:
        self.n_clips, self.n_samples = len(plan), n_samples
        self.n_rows = N_VIEWS * self.n_clips
        self.operands = [
            _operands(a, {k: v.flatten(0, 1) for k, v in plan.params[a.name].items()}, n_samples)
            for a in augmentations
        ]
        kinds = [type(augmentation) for augmentation in augmentations]
        self.is_noise = [kind is ColouredNoise for kind in kinds]
        self.slow = [kinds.index(k) if k in kinds else -1 for k in (PitchShift, TimeStretch)]
        self.chains = N_VIEWS * [[i for i in c if i >= 0] for c in plan.order.tolist()]
        self.position = [0] * self.n_rows
        self.place = N_VIEWS * list(range(self.n_clips))
        self.pending: list[list[Operation]] = [[] for _ in range(self.n_rows)]
        self.noises: list[tuple[int, float, float]] = []
        self.vocodings: list[tuple[bool, Vocoding]] = []
        self.flushes: list[Flush] = []
        self.n_gains = 0

    def made(self) -> Schedule:
        """Pitch, stretch, pitch, with flushes before, between and after."""
        for is_pitch in (True, False, True):
            self._advance()
            self._vocode(is_pitch)
        self._advance()
        assert all(len(c) == p for c, p in zip(self.chains, self.position, strict=True))
        everything = list(range(self.n_rows))
        self.flushes.append(self._flush(everything, everything))
        n_noises = -(-len(self.noises) // NOISE_ROWS) * NOISE_ROWS
        padded = np.zeros((3, n_noises))
        if self.noises:
            padded[:, : len(self.noises)] = np.array(self.noises).T
        # Levels of noises come first, then gains.
        for flush in self.flushes:
            gains = flush.codes == GAIN
            flush.operands[..., 0][gains] += n_noises
        for _, vocoding in self.vocodings:
            vocoding.first_level += n_noises
        return Schedule(
            self.flushes,
            self.vocodings,
            padded[0].astype(np.int32),
            padded[1].astype(np.float32),
            padded[2].astype(np.float32),
            n_noises + self.n_gains,
        )

    def _advance(self) -> None:
        """Takes all that is not slow into the rows' programs, up to what is."""
        for row, chain in enumerate(self.chains):
            pending = self.pending[row]
            while self.position[row] < len(chain) and chain[self.position[row]] not in self.slow:
                index = chain[self.position[row]]
                operation = self.operands[index][row]
                if self.is_noise[index]:
                    pending.append((NOISE, len(self.noises), len(self.noises), 0))
                    self.noises.append(operation)
                else:
                    pending.append(operation)
                self.position[row] += 1

    def _vocode(self, is_pitch: bool) -> None:
        """Rows that wait for it, flushed, and what is left for their next program."""
        index = self.slow[not is_pitch]
        rows = [
            row
            for row, chain in enumerate(self.chains)
            if self.position[row] < len(chain) and chain[self.position[row]] == index
        ]
        if not rows:
            return
        waiting = [row for row in rows if self.pending[row]]
        self.flushes.append(self._flush(waiting, [self._other_place(row) for row in waiting]))
        vocoding = Vocoding(first_level=self.n_gains)
        for row in rows:
            value = self.operands[index][row]
            target = self.place[row]
            if target < self.n_clips:
                target = self.n_clips + row
            vocoding.sources.append(self.place[row])
            vocoding.targets.append(target)
            vocoding.values.append(value)
            self.place[row] = target
            self.pending[row] = [(GAIN, self.n_gains, 0, 0)]
            self.n_gains += 1
            if not is_pitch:
                length = max(1, min(self.n_samples, round(self.n_samples / value)))
                if length < self.n_samples:
                    self.pending[row].append((WRAP, length, 0, 0))
            self.position[row] += 1
        self.vocodings.append((is_pitch, vocoding))

    def _other_place(self, row: int) -> int:
        first = self.n_clips + row
        return first + self.n_rows if self.place[row] == first else first

    def _flush(self, rows: list[int], targets: list[int]) -> Flush:
        """The pending programs of rows, which are empty and elsewhere afterwards."""
        programs: list[Operation] = []
        jobs: list[tuple[int, ...]] = []
        before: list[tuple[list[tuple[int, ...]], list[int]]] = []
        for program, (row, target) in enumerate(zip(rows, targets, strict=True)):
            operations, source = self.pending[row], self.place[row]
            programs += operations
            programs += NOTHING[len(operations) :]
            jobs.append((program, len(operations), source, target))
            nth = 0
            for i, operation in enumerate(operations):
                if operation[0] == NOISE:
                    if nth == len(before):
                        before.append(([], []))
                    before[nth][0].append((program, i, source, target))
                    before[nth][1].append(int(operation[1]))
                    nth += 1
            self.place[row], self.pending[row] = target, []
        table = np.array(programs, np.float64).reshape(len(rows), LONGEST, 4)
        return Flush(
            table[..., 0].astype(np.int32),
            table[..., 1:].astype(np.float32),
            np.array(jobs, np.int32).reshape(-1, 4),
            [(np.array(j, np.int32), np.array(w, np.int32)) for j, w in before],
        )


def _operands(augmentation: Augmentation, params: dict[str, torch.Tensor], n_samples: int) -> Any:
    """What each row's operation is made of, as the augmentation itself computes it."""
    if isinstance(augmentation, PitchShift):
        found: list[Fraction | None] = [None] * len(params["semitones"])
        for published, rows in rows_by_ratio(params["semitones"]):
            for row in rows.tolist():
                found[row] = published
        return found
    if isinstance(augmentation, TimeStretch):
        return params["rate"].double().tolist()
    if isinstance(augmentation, ColouredNoise):
        ratio = 10 ** (-params["snr_db"] / 20)
        columns = (params["noise_seed"], params["f_decay"], ratio)
        return list(zip(*(column.tolist() for column in columns), strict=True))
    if isinstance(augmentation, Fade):
        ends = [torch.round(params[key] * n_samples).tolist() for key in ("fade_in", "fade_out")]
        return [(FADE, *values) for values in zip(*ends, params["shape"].tolist(), strict=True)]
    if isinstance(augmentation, TimeMasking):
        length, start = augmentation.samples(params, n_samples)
        ends = [start.tolist(), (start + length).tolist()]
        return [(MASK, a, b, 0) for a, b in zip(*ends, strict=True)]
    assert isinstance(augmentation, TimeShift)
    return [(SHIFT, s, 0, 0) for s in torch.round(params["shift"] * n_samples).tolist()]
