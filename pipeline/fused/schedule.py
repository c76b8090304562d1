"""What a plan's chains are on a device: three stages of the vocoder, and programs between them.

Fade, mask, shift and noise wait until their row needs pitch shift or stretch, or is done, and are
then one program. Each of the two comes once in a chain: pitch, stretch and pitch cover all orders.

Rows of the waves' tensor: B clips, then V * B views, then V * B views again, for what cannot be
written where it is read.

Letters: B clips, V views, T samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from slvr.pipeline.augmentations.contract import Augmentation
from slvr.pipeline.augmentations.noise import ColouredNoise
from slvr.pipeline.augmentations.spectral import SAME_SEMITONES, PitchShift, TimeStretch
from slvr.pipeline.augmentations.temporal import Fade, TimeMasking, TimeShift
from slvr.pipeline.augmentations.two_grids import HOPS
from slvr.pipeline.views.chain_plan import N_VIEWS, ChainPlan

# Codes of operations, and how many a program has at most.
FADE, MASK, SHIFT, NOISE, GAIN, WRAP = range(1, 7)
LONGEST = 8
NOISE_ROWS = 16  # noises are made in multiples: another number is another plan of an FFT
KINDS = (PitchShift, Fade, ColouredNoise, TimeStretch, TimeMasking, TimeShift)

# Stages of the vocoder in their order: is it a pitch shift?
STAGES = (True, False, True)
PUBLISHED_HOPS = np.array(list(HOPS.values()))
PUBLISHED_SEMITONES = 12 * np.log2([float(ratio) for ratio in HOPS])

Ints = NDArray[np.int64]
Rows = NDArray[Any]
"""(V * B, ...): of every row."""


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
    """Rows of a stage: where they are read and written, and (n, 2) hops or (n,) rates."""

    sources: Ints
    targets: Ints
    values: Rows
    first_level: int


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
    # a stretch is two operations of the program behind it: one more than its chain had
    return published and once and len(kinds) < LONGEST and all(kind in KINDS for kind in kinds)


def schedule(plan: ChainPlan, augmentations: Sequence[Augmentation], n_samples: int) -> Schedule:
    """The stages of a plan whose augmentations `can_fuse`.

    Array by array, never row by row: a step waits for this where the host is slower than the
    device.
    """
    return _Making(plan, augmentations, n_samples).made()


class _Making:
    """A schedule while it is made: (4, R, ...) programs, those before each stage and the last."""

    def __init__(
        self, plan: ChainPlan, augmentations: Sequence[Augmentation], n_samples: int
    ) -> None:
        self.n_clips, self.n_samples = len(plan), n_samples
        self.n_rows = N_VIEWS * self.n_clips
        self.order = plan.order.numpy()
        self.augmentations = augmentations
        self.params = [
            {k: v.flatten(0, 1).numpy() for k, v in plan.params[a.name].items()}
            for a in augmentations
        ]
        n_programs = (len(STAGES) + 1, self.n_rows, LONGEST)
        self.codes = np.zeros(n_programs, np.int32)
        self.operands = np.zeros((*n_programs, 3), np.float32)
        self.place = np.tile(np.arange(self.n_clips), N_VIEWS)
        self._find_slow()

    def _find_slow(self) -> None:
        """Where in its chain each clip takes each stage, or at -1, and rates and hops of rows."""
        none = self.order.shape[1]
        at, self.hops, self.rates = {}, np.empty(0), np.ones(self.n_rows)
        for is_pitch, kind in ((True, PitchShift), (False, TimeStretch)):
            found = [i for i, a in enumerate(self.augmentations) if type(a) is kind]
            hits = self.order == (found[0] if found else -2)
            at[is_pitch] = np.where(hits.any(1), hits.argmax(1), none)
            if found and is_pitch:
                self.hops = _hops(self.params[found[0]]["semitones"])
            elif found:
                self.rates = self.params[found[0]]["rate"].astype(np.float64)
        self.stretched = np.clip(np.rint(self.n_samples / self.rates), 1, self.n_samples)
        there = (at[True] < at[False], at[False] < none, (at[False] < at[True]) & (at[True] < none))
        self.at = [np.where(t, at[p], -1) for t, p in zip(there, STAGES, strict=True)]

    def made(self) -> Schedule:
        """Pitch, stretch, pitch, with flushes before, between and after."""
        self._fill_programs()
        self._fill_gains()
        self.lengths = (self.codes != 0).sum(2)
        flushes, vocodings = [], []
        for stage, is_pitch in enumerate(STAGES):
            rows = self._rows(stage)
            if not len(rows):
                continue
            waiting = rows[self.lengths[stage, rows] > 0]
            flushes.append(self._flush(stage, waiting, self._other_place(waiting)))
            sources = self.place[rows]
            targets = np.where(sources < self.n_clips, self.n_clips + rows, sources)
            self.place[rows] = targets
            values = (self.hops if is_pitch else self.rates)[rows]
            vocoding = Vocoding(sources, targets, values, self.first_levels[stage])
            vocodings.append((is_pitch, vocoding))
        everything = np.arange(self.n_rows)
        flushes.append(self._flush(len(STAGES), everything, everything))
        seeds, decays, ratios = self.noises
        return Schedule(
            flushes,
            vocodings,
            seeds.astype(np.int32),
            decays.astype(np.float32),
            ratios.astype(np.float32),
            self.n_levels,
        )

    def _rows(self, stage: int) -> Ints:
        return np.flatnonzero(np.tile(self.at[stage] >= 0, N_VIEWS))

    def _other_place(self, rows: Ints) -> Ints:
        first = self.n_clips + rows
        return np.where(self.place[rows] == first, first + self.n_rows, first)

    def _fill_programs(self) -> None:
        """All that is not slow, in the program in front of the next stage that its clip takes."""
        k = np.arange(self.order.shape[1])
        program = np.full(self.order.shape, len(STAGES))
        after = np.full(self.order.shape, -1)
        begin = np.zeros(self.order.shape, np.int64)
        is_fast = self.order >= 0
        for stage, at in enumerate(self.at):
            behind = (at[:, None] >= 0) & (k > at[:, None])
            after[behind] = stage
            begin = np.where(behind, at[:, None] + 1, begin)
            is_fast &= k != at[:, None]
        for stage, at in reversed(list(enumerate(self.at))):
            program[k < at[:, None]] = stage
        clips, places = np.nonzero(is_fast)
        rows = np.concatenate([clips + view * self.n_clips for view in range(N_VIEWS)])
        entry = np.tile(np.arange(len(clips)), N_VIEWS)
        clips, places = clips[entry], places[entry]
        after, program = after[clips, places], program[clips, places]
        # behind a stage its gain comes first, and where a stretch has made it shorter, the wrap
        slot = places - begin[clips, places] + (after >= 0)
        slot += (after == STAGES.index(False)) & (self.stretched < self.n_samples)[rows]
        kind = self.order[clips, places]
        is_noise = np.zeros(len(rows), bool)
        noises = np.zeros((3, len(rows)))
        for index, augmentation in enumerate(self.augmentations):
            mine = np.flatnonzero(kind == index)
            if not len(mine) or isinstance(augmentation, (PitchShift, TimeStretch)):
                continue
            where = program[mine], rows[mine], slot[mine]
            values = _operands(augmentation, self.params[index], self.n_samples)
            if isinstance(augmentation, ColouredNoise):
                is_noise[mine] = True
                for column, value in zip(noises, values, strict=True):
                    column[mine] = value[rows[mine]]
                self.codes[where] = NOISE
            else:
                code, *operands = values
                self.codes[where] = code
                for i, value in enumerate(operands):
                    self.operands[(*where, i)] = value[rows[mine]]
        chosen = np.flatnonzero(is_noise)
        chosen = chosen[np.lexsort((slot[chosen], rows[chosen], after[chosen]))]
        n_noises = -(-len(chosen) // NOISE_ROWS) * NOISE_ROWS
        self.noises = np.zeros((3, n_noises))
        self.noises[:, : len(chosen)] = noises[:, chosen]
        where = program[chosen], rows[chosen], slot[chosen]
        for i in (0, 1):
            self.operands[(*where, i)] = np.arange(len(chosen))

    def _fill_gains(self) -> None:
        """What each stage leaves to the program behind it. Levels of noises come before gains."""
        self.n_levels = self.noises.shape[1]
        self.first_levels = []
        for stage, is_pitch in enumerate(STAGES):
            self.first_levels.append(self.n_levels)
            rows = self._rows(stage)
            behind = np.full(self.n_clips, len(STAGES))
            for later in range(len(STAGES) - 1, stage, -1):
                behind[self.at[later] >= 0] = later
            program = np.tile(behind, N_VIEWS)
            self.codes[program[rows], rows, 0] = GAIN
            self.operands[program[rows], rows, 0, 0] = self.n_levels + np.arange(len(rows))
            self.n_levels += len(rows)
            if not is_pitch:
                short = rows[self.stretched[rows] < self.n_samples]
                self.codes[program[short], short, 1] = WRAP
                self.operands[program[short], short, 1, 0] = self.stretched[short]

    def _flush(self, stage: int, rows: Ints, targets: Ints) -> Flush:
        """The programs of rows, which are elsewhere afterwards."""
        codes, operands = self.codes[stage, rows], self.operands[stage, rows]
        programs, sources = np.arange(len(rows)), self.place[rows]
        is_noise = codes == NOISE
        nth = is_noise.cumsum(1) * is_noise
        before = []
        for n in range(1, int(nth.max(initial=0)) + 1):
            program, at = np.nonzero(nth == n)
            jobs = np.stack((program, at, sources[program], targets[program]), 1)
            before.append((jobs.astype(np.int32), operands[program, at, 0].astype(np.int32)))
        jobs = np.stack((programs, self.lengths[stage, rows], sources, targets), 1)
        self.place[rows] = targets
        return Flush(codes, operands, jobs.astype(np.int32), before)


def _hops(semitones: Rows) -> Rows:
    """(n, 2) hops of published intervals (n,)."""
    distance = np.abs(semitones[:, None] - PUBLISHED_SEMITONES)
    nearest = distance.argmin(1)
    assert (distance.min(1) < SAME_SEMITONES).all(), "an interval that is not published"
    hops: Rows = PUBLISHED_HOPS[nearest]
    return hops


def _operands(augmentation: Augmentation, params: dict[str, Rows], n_samples: int) -> list[Any]:
    """A code and what each row's operation is made of, as the augmentation itself computes it.

    Of a noise: seeds, decays, and its amplitude over that of its wave.
    """
    if isinstance(augmentation, ColouredNoise):
        ratio = 10 ** (-torch.from_numpy(params["snr_db"]) / 20)
        return [params["noise_seed"], params["f_decay"], ratio.numpy()]
    if isinstance(augmentation, Fade):
        n = np.float32(n_samples)
        return [
            FADE,
            np.rint(params["fade_in"] * n),
            np.rint(params["fade_out"] * n),
            params["shape"],
        ]
    if isinstance(augmentation, TimeMasking):
        drawn = {name: torch.from_numpy(value) for name, value in params.items()}
        length, start = augmentation.samples(drawn, n_samples)
        return [MASK, start.numpy(), (start + length).numpy()]
    assert isinstance(augmentation, TimeShift)
    return [SHIFT, np.rint(params["shift"] * np.float32(n_samples))]
