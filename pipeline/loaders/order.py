"""The order of an epoch: each clip once, and no step that holds one recording twice.

To a contrastive loss two clips of equal samples are a positive pair that it is told to push apart.

Letters: N clips of a set, G clips of a step over all processes, K candidates.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

_FEW = 64
"""Places that are drawn before all of them are looked at."""


def full_steps(n_clips: int, step: int) -> int:
    """Steps that every epoch of N clips, wherever it begins, has for itself."""
    return max(0, (n_clips - step + 1) // step)


@dataclass(frozen=True)
class Order:
    """The clips of every epoch of a run, which follow each other without a gap, in steps of G.

    An epoch is a permutation drawn from (seed, epoch), in which few clips have changed places. So
    that a run can go on anywhere, an epoch does not depend on all that went before: its last
    clips, those of a step that the next epoch fills, are settled before its first ones, which
    have to fit to the last ones of the epoch before.

    A recording with at most `full_steps` copies is never twice in a step. Of one with more, the
    copies that are too many share steps with the others.
    """

    recordings: Ints
    """(N,) number of the recording of each clip; clips of equal samples have the same."""
    step: int
    """G."""
    seed: int
    """Of every permutation."""

    def epoch(self, epoch: int) -> Ints:
        """(N,) the clips of an epoch, in their order."""
        n, begun = len(self.recordings), self._begun(epoch)
        settled = self._settled(epoch)
        if 0 < begun <= n:
            last = self._settled(epoch - 1).order[n - begun :]
            settled.fit(self.recordings[last])
        return settled.order

    def _settled(self, epoch: int) -> "_Epoch":
        """An epoch for itself: its last clips have their places."""
        rng = np.random.default_rng([self.seed, epoch])
        settled = _Epoch(self.recordings, self.step, self._begun(epoch), rng)
        if self._has_copies:
            settled.separate()
        return settled

    def _begun(self, epoch: int) -> int:
        """Clips of the epoch before in the first step of this one."""
        return epoch * len(self.recordings) % self.step

    @cached_property
    def _has_copies(self) -> bool:
        return len(np.unique(self.recordings)) < len(self.recordings)


class _Epoch:
    """A permutation in which clips change places until no recording is twice in a step.

    Attributes:
        order: (N,) clips.
    """

    def __init__(self, recordings: Ints, step: int, begun: int, rng: np.random.Generator) -> None:
        n = len(recordings)
        self.order: Ints = rng.permutation(n)
        self._rng, self._step, self._begun = rng, step, begun
        self._found = recordings[self.order]
        self._steps = (begun + np.arange(n)) // step

    def separate(self) -> None:
        """Exchanges clips within the epoch.

        Each exchange makes fewer clips meet: it ends, and with as few as can be.
        """
        everywhere = 0, len(self.order)
        meeting, before = self._meeting(), len(self.order) + 1
        while 0 < len(meeting) < before:
            for place in meeting:
                fellows = self._in_step(int(self._steps[place]))
                if np.count_nonzero(fellows == self._found[place]) > 1:
                    self._exchange(place, fellows, *everywhere)
            meeting, before = self._meeting(), len(meeting)

    def fit(self, last: Ints) -> None:
        """Exchanges clips of the first step, which begins with recordings `last`.

        With clips of full steps alone: the last ones of the epoch stay where they are.
        """
        first = -self._begun % self._step
        full = first, len(self.order) - (self._begun + len(self.order)) % self._step
        for place in np.flatnonzero(np.isin(self._found[:first], last)):
            self._exchange(int(place), np.concatenate([last, self._found[:first]]), *full)

    def _in_step(self, step: int) -> Ints:
        """The recordings of a step, as far as they are of this epoch."""
        first = max(0, step * self._step - self._begun)
        return self._found[first : (step + 1) * self._step - self._begun]

    def _meeting(self) -> Ints:
        """Places whose recording stands in their step before them."""
        by_step = np.lexsort((self._found, self._steps))
        same = (np.diff(self._found[by_step]) == 0) & (np.diff(self._steps[by_step]) == 0)
        return np.sort(by_step[1:][same])

    def _exchange(self, place: int, fellows: Ints, low: int, high: int) -> None:
        """Exchanges a clip with one from `low` to `high`, where fewer clips meet afterwards.

        Args:
            place: of a clip that meets another one.
            fellows: the recordings of its step.
            low: first place to exchange with.
            high: end of these places.
        """
        if low >= high:
            return
        recording = self._found[place]
        theirs = np.unique(self._steps[self._found == recording])

        def fits(places: Ints) -> npt.NDArray[np.bool_]:
            """Where neither of the two meets another one."""
            away = ~np.isin(self._steps[places], theirs)
            return away & ~np.isin(self._found[places], fellows)

        few = self._rng.integers(low, high, _FEW)
        chosen = few[fits(few)]
        if not len(chosen):
            every = np.arange(low, high)
            chosen = every[fits(every)]
            if not len(chosen):  # one that meets another where it is, and does so here
                every = np.intersect1d(self._meeting(), every)
                chosen = every[~np.isin(self._steps[every], theirs)]
            if not len(chosen):
                return
            chosen = self._rng.permutation(chosen)
        pair, swapped = [place, chosen[0]], [chosen[0], place]
        self.order[pair], self._found[pair] = self.order[swapped], self._found[swapped]
