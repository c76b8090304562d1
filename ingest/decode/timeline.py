"""Sound at its times: what decoders give becomes one mono signal at 16 kHz.

Letters: T samples. Times are seconds from the container's start.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr

from slvr.ingest.recipe import ClipFailure
from slvr.shards.clip import SAMPLE_RATE_HZ

Wave = npt.NDArray[np.float32]
GAP_S = 0.03
"""Time stamps may be this far from the count of samples: WebM, FLV and ASF round to ms, and the
clocks of recorders drift. Beyond it nothing was sent, or another recording begins."""
QUIET = 1e-4
"""A mean square: 40 dB below full scale."""
LONGEST_JUMP_S = 10.0
"""A clock of MPEG-TS that jumps by more was set anew: FFmpeg's own limit (dts_delta_threshold)."""
RATES_HZ = (100, 12_000_000)
"""No recording has fewer or more samples a second."""


@dataclass(frozen=True)
class Piece:
    """Some decoded sound.

    Attributes:
        channels: one (T,) a channel, float32 or int16.
        rate_hz: sample rate.
        at_s: time of its first sample, or None where it follows the piece before.
        scale: times this, a power of 2, the samples are in [-1, 1].
    """

    channels: Sequence[npt.NDArray[np.float32] | npt.NDArray[np.int16]]
    rate_hz: int
    at_s: float | None = None
    scale: float = 1.0

    def mixed(self, first: int, last: int) -> Wave:
        """The average (T,) of the channels over some samples.

        Scaled last: that is exact, and half the work of scaling every channel.
        """
        one, *others = (channel[first:last] for channel in self.channels)
        if not others:
            mono = one.astype(np.float32)
        else:
            # by whole channels: numpy's mean over an axis of 2 takes 30 times as long
            mono = np.add(one, others[0], dtype=np.float32)
            for other in others[1:]:
                np.add(mono, other, out=mono)
            mono /= np.float32(len(self.channels))
        if self.scale != 1.0:
            mono *= np.float32(self.scale)
        return mono

    def power(self, first: int, last: int) -> float:
        """Sum of squares over some samples, averaged over the channels."""
        squares = 0.0
        for channel in self.channels:
            wave = channel[first:last].astype(np.float32) * np.float32(self.scale)
            squares += float(np.vdot(wave, wave))
        return squares / len(self.channels)


@dataclass(frozen=True)
class Heard:
    """What a timeline holds.

    Attributes:
        mono: (T,) float32 at 16 kHz.
        end_s: where the sound read so far ends.
        n_read: samples that were decoded, silence put in left out.
        power: mean square of `mono` before it was resampled.
        channels_power: mean square of the channels, averaged over them.
        notes: what was put in or moved.
    """

    mono: Wave
    end_s: float
    n_read: int
    power: float
    channels_power: float
    notes: tuple[str, ...]


class Timeline:
    """Takes pieces in order, and keeps what lies between start_s and end_s."""

    def __init__(self, start_s: float, end_s: float | None, max_s: float, resets: bool) -> None:
        """Makes an empty one.

        Args:
            start_s: beginning of the part.
            end_s: its end, or None.
            max_s: longest clip.
            resets: the container's clock may be set anew in mid-stream.
        """
        self._start_s, self._end_s, self._max_s, self._resets = start_s, end_s, max_s, resets
        self._runs: list[tuple[int, list[Wave]]] = []
        self._base_s, self._n, self._rate_hz = 0.0, 0, 0
        self._shift_s = 0.0
        self._begun = False
        self._n_read = self._n_kept = 0
        self._squares = self._channels_squares = 0.0
        self._late_s = self._silence_s = 0.0
        self._jumps = 0

    @property
    def now_s(self) -> float:
        """Where the sound ends so far."""
        return self._base_s + (self._n / self._rate_hz if self._rate_hz else 0.0)

    @property
    def full(self) -> bool:
        """Whether the part is there to its end."""
        return self._end_s is not None and self._rate_hz > 0 and self._missing(self._end_s) <= 0

    @property
    def on_time(self) -> bool:
        """Whether its first piece was there before or where the part begins."""
        return self._late_s == 0

    def _missing(self, end_s: float) -> int:
        """Samples between what is kept and the part's end."""
        if len(self._runs) == 1 and self._runs[0][0] == self._rate_hz:
            return round((end_s - self._start_s) * self._rate_hz) - self._n_kept
        return round((end_s - max(self.now_s, self._start_s)) * self._rate_hz)

    def take(self, pieces: Iterable[Piece]) -> None:
        """Takes pieces until the part is full.

        Raises:
            ClipFailure: the clip is longer than the limit, or a rate is impossible.
        """
        for piece in pieces:
            self._place(piece)
            self._keep(piece)
            if self.full:
                return
            if self.now_s - self._start_s > self._max_s:
                raise too_long(self.now_s - self._start_s, self._max_s)

    def _place(self, piece: Piece) -> None:
        """Goes to where a piece begins, through silence if need be."""
        if not RATES_HZ[0] <= piece.rate_hz <= RATES_HZ[1]:
            raise ClipFailure("corrupt", "bad_rate", f"{piece.rate_hz} samples a second")
        if piece.rate_hz != self._rate_hz:
            self._base_s, self._n, self._rate_hz = self.now_s, 0, piece.rate_hz
        begun, self._begun = self._begun, True
        if piece.at_s is None:
            return
        ahead_s = piece.at_s + self._shift_s - (self.now_s if begun else self._start_s)
        if not begun and ahead_s <= GAP_S:
            # earlier than asked: priming, or what lets the part settle
            self._base_s = piece.at_s
        elif not begun:
            self._base_s, self._late_s = self._start_s, ahead_s
            self._fill(ahead_s)
        elif ahead_s < -GAP_S or (self._resets and ahead_s > LONGEST_JUMP_S):
            self._shift_s -= ahead_s
            self._jumps += 1
        elif ahead_s > GAP_S:
            self._silence_s += ahead_s
            self._fill(ahead_s)

    def _fill(self, silence_s: float) -> None:
        """Silence where nothing was sent."""
        end_s = self.now_s + silence_s
        until_s = end_s if self._end_s is None else min(end_s, self._end_s)
        if until_s - self._start_s > self._max_s:
            raise too_long(until_s - self._start_s, self._max_s)
        first, last = self._part(round((until_s - self.now_s) * self._rate_hz))
        if last > first:
            self._append(np.zeros(last - first, np.float32))
        self._base_s, self._n = end_s, 0

    def _part(self, n: int) -> tuple[int, int]:
        """First and last of the next n samples that are in the part."""
        first = max(round((self._start_s - self._base_s) * self._rate_hz) - self._n, 0)
        if self._end_s is None:
            return first, n
        return first, min(first + max(self._missing(self._end_s), 0), n)

    def _keep(self, piece: Piece) -> None:
        n = len(piece.channels[0])
        self._n_read += n
        first, last = self._part(n)
        self._n += n
        if last <= first:
            return
        mono = piece.mixed(first, last)
        with np.errstate(invalid="ignore", over="ignore"):
            squares = float(np.vdot(mono, mono))
            self._squares += squares
            # what is as loud as this has not cancelled
            quiet = len(piece.channels) > 1 and squares < QUIET * (last - first)
            self._channels_squares += piece.power(first, last) if quiet else squares
        self._append(mono)

    def _append(self, mono: Wave) -> None:
        if not self._runs or self._runs[-1][0] != self._rate_hz:
            self._runs.append((self._rate_hz, []))
        self._runs[-1][1].append(mono)
        self._n_kept += len(mono)

    def heard(self, trim_s: float | None = None) -> Heard:
        """What was taken, resampled; cut at `trim_s` where it ends later.

        Raises:
            ClipFailure: it holds NaN or infinity.
        """
        waves = []
        n = 0
        for rate_hz, pieces in self._runs:
            mono = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
            pieces.clear()
            n += len(mono)
            if trim_s is not None and len(self._runs) == 1:
                mono = mono[: max(round((trim_s - self._start_s) * rate_hz), 0)]
            if not np.isfinite(mono).all():
                raise ClipFailure("corrupt", "not_finite", "holds NaN or infinity")
            if rate_hz != SAMPLE_RATE_HZ:
                mono = soxr.resample(mono, rate_hz, SAMPLE_RATE_HZ, quality="HQ")
            waves.append(mono)
        whole = waves[0] if len(waves) == 1 else np.concatenate([np.zeros(0, np.float32), *waves])
        power, channels_power = self._squares / max(n, 1), self._channels_squares / max(n, 1)
        return Heard(whole, self.now_s, self._n_read, power, channels_power, self._notes())

    def _notes(self) -> tuple[str, ...]:
        notes = []
        if self._late_s > 0:
            notes.append(f"sound begins at {self._late_s:.3f} s, silence before it")
        if self._silence_s > 0:
            notes.append(f"{self._silence_s:.3f} s of silence where nothing was sent")
        if self._jumps:
            notes.append(f"the clock is set anew {self._jumps} times: sound is joined there")
        if len(self._runs) > 1:
            rates = ", ".join(str(rate_hz) for rate_hz, _ in self._runs[:4])
            notes.append(f"the rate changes ({rates} Hz)")
        return tuple(notes)


def too_long(length_s: float, max_s: float) -> ClipFailure:
    """A clip beyond the limit."""
    return ClipFailure("too_long", "too_long", f"{length_s:.0f} s, limit {max_s:.0f} s")
