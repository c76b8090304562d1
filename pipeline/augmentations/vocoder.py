"""A phase vocoder that stretches every row of a batch by its own rate.

Flanagan and Golden (1966), "Phase vocoder"; Dolson (1986), "The phase vocoder: a tutorial".
Letters: n rows, T samples, L frames of the source, K frames of the result, N samples a frame,
F = N/2 + 1 bins.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from slvr.pipeline import native
from slvr.pipeline.blocks import distinct, irfft_, known_max

# Far below any sound (-360 dB), yet its square is a normal float32: silence gets phase 0.
TINY = 1e-18
TINY_POWER = 1e-36
AS_LOUD = 1 - 1e-4  # of the loudest frame: more than rounding, less than can be heard


def stretch(x: Tensor, rate: Tensor, frame_samples: int, hop_samples: int) -> Tensor:
    """(n, K, F) spectra of the waveforms played `rate` times as fast at the same pitch.

    At most as many frames come out as the clip has: a slower row is cut, a faster one ends at
    T / rate and then holds its last frame. `istft` makes the waveform; rate 1 gives x again.

    Args:
        x: (n, T) float32.
        rate: (n,) float64, positive.
        frame_samples: N, a multiple of the hop; three hops are the least whose squared Hann
            windows add up to a constant. Four take longer, and tones and noise come out the same.
        hop_samples: between frames, of the source and of the result.
    """
    whole = frame_count(x.shape[-1], hop_samples)
    # Frames around the end reach into the clip by half their length: some more are kept.
    ended = torch.ceil((whole - 1) / rate) + frame_samples // hop_samples
    n_frames = known_max(ended, whole)
    n_source = max(2, known_max(torch.ceil((n_frames - 1) * rate) + 1, whole))
    source = stft(x, frame_samples, hop_samples, n_source)
    position = torch.arange(n_frames, device=x.device) * rate[:, None]
    return phase_vocoder(source, position, hop_samples / frame_samples)


def frame_count(n_samples: int, hop_samples: int) -> int:
    """Frames L of a whole clip: the last one is centred on its end or after."""
    return -(-n_samples // hop_samples) + 1


def stft(x: Tensor, frame_samples: int, hop_samples: int, n_frames: int) -> Tensor:
    """(n, T) -> (n, L, F) complex; frame l is centred on sample l * hop, with silence around."""
    half = frame_samples // 2
    end = (n_frames - 1) * hop_samples + half
    frames = pad(x, (half, end - x.shape[-1])).unfold(-1, frame_samples, hop_samples)
    spectra: Tensor = torch.fft.rfft(frames * torch.hann_window(frame_samples, device=x.device))
    return spectra


def istft(spectra: Tensor, frame_samples: int, hop_samples: int) -> Tensor:
    """(n, K, F) complex -> (n, (K - 1) hop + N), the inverse of `stft`; the clip begins at N / 2.

    `sum_k w(t - k hop) frame_k(t) / sum_k w(t - k hop)^2` (Griffin and Lim, 1984). Frame and hop
    that are both m times those of `stft` give the waveform oversampled, and divided, by m.
    """
    window = torch.hann_window(frame_samples, device=spectra.device)
    wave = _overlap_add(irfft_(spectra, frame_samples), window, hop_samples)
    # The divisor, hop by hop: a sum over those parts of the window that have a frame.
    power = pad(window.square().view(-1, hop_samples).cumsum(0), (0, 0, 1, 0))
    n_frames, n_hops = spectra.shape[1], len(power) - 1
    end = torch.arange(1, n_frames + n_hops, device=spectra.device)
    divisor = power.index_select(0, end.clamp(max=n_hops))
    divisor -= power.index_select(0, (end - n_frames).clamp(min=0))
    # Within the clip it is at least 1; before its first and after its last frame it falls to 0
    # together with the wave.
    return wave.div_(divisor.flatten().clamp_(min=0.1))


def _overlap_add(frames: Tensor, window: Tensor, hop_samples: int) -> Tensor:
    """(n, K, N) frames, windowed and added `hop_samples` apart."""
    n, n_frames, n_fft = frames.shape
    n_hops = n_fft // hop_samples
    frames = frames.view(n, n_frames, n_hops, hop_samples)
    parts = window.view(n_hops, hop_samples)
    wave = frames.new_zeros(n, n_frames + n_hops - 1, hop_samples)
    for hop in range(n_hops):
        wave[:, hop : hop + n_frames].addcmul_(frames[:, :, hop], parts[hop])
    return wave.flatten(1)


def phase_vocoder(spectra: Tensor, position: Tensor, realign_by_hop: float | None = None) -> Tensor:
    """(n, L, F) complex read at fractional frames -> (n, K, F) complex.

    `|Y_k| = (1 - a) |X_i| + a |X_{i+1}|` and `Y_k / |Y_k| = U_0 prod_{j<k} U_{i_j+1} U*_{i_j}`,
    where `i = floor(position)`, `a` is the rest and `U = X / |X|`. The usual form adds
    expected and measured phase advance; with equal hops before and after, the expected one is the
    same on both sides and cancels modulo 2 pi, so phases need no angle at all: unit phasors
    multiply. Their float32 product strays by about 1e-6 over 10 s.

    Args:
        spectra: (n, L, F) complex64, L at least 2.
        position: (n, K) float64 in frames, from 0, not falling; beyond the last frame it holds.
        realign_by_hop: hop over frame length: take the source's phases over as `_realign` says.
            None: count them from the first frame, as torchaudio does.
    """
    last = spectra.shape[1] - 1
    position = position.clamp(max=last)
    left = position.long().clamp(max=last - 1)
    between = (position - left).float()[..., None]
    if realign_by_hop is not None and native.is_on(spectra.device):
        return _by_native_code(spectra, position, left, between[..., 0], realign_by_hop)

    # In place from here on: large batches are bound by memory traffic.
    unit = spectra + TINY
    # abs() guards against an overflow that cannot happen here, at thrice the time.
    real, imaginary = torch.view_as_real(unit).square().unbind(-1)
    # A bin of just -TINY would be 0 now.
    power = (real + imaginary).clamp_(min=TINY_POWER)
    reciprocal = power.rsqrt()
    unit *= reciprocal
    magnitude = power.mul_(reciprocal)
    advance = unit[:, 1:] * unit[:, :-1].conj()
    phase = _frames(advance, pad(left[:, :-1], (1, 0)))
    phase[:, 0] = unit[:, 0]
    _multiply_up(phase)
    magnitude = torch.lerp(_frames(magnitude, left), _frames(magnitude, left + 1), between)
    if realign_by_hop is not None:
        _realign(phase, unit, position, magnitude, realign_by_hop)
    phase *= magnitude
    return phase


def _multiply_up(x: Tensor) -> None:
    """Replaces x (n, K, F), complex, by its cumulative product over the frames.

    The CPU does so in eight interleaved series: in a single one each product waits for the one
    before, which takes twice as long.
    """
    if x.device.type != "cpu":
        x.cumprod_(1)
        return
    step = 8
    for i in range(1, step):
        series = x[:, i::step]
        series *= x[:, i - 1 :: step][:, : series.shape[1]]
    carried = x[:, step - 1 :: step].cumprod(1)
    for i in range(step):
        series = x[:, step + i :: step]
        series *= carried[:, : series.shape[1]]


def _realign(phase: Tensor, unit: Tensor, position: Tensor, magnitude: Tensor, hop: float) -> None:
    """Takes the source's phases over at the frames of `_anchors`, and counts from there.

    Each bin's phase is right up to a constant only. Counted from the first frame, half of it
    silence, the constants of neighbouring bins do not fit: tones came out up to 4 dB too low, and
    clicks up to 80 ms from where they belong.

    A linear phase moves what is taken over to its place in time. The anchor lies between frames of
    the source; and an event that the source has `d` behind the middle of the window belongs
    `d / rate` behind it. Without either, events strayed by up to 23 ms.

    Args:
        phase: (n, K, F) unit phasors of the result, changed in place.
        unit: (n, L, F) of the source.
        position: (n, K) of the result in the source.
        magnitude: (n, K, F) of the result.
        hop: in frame lengths.
    """
    n, n_frames, n_bins = phase.shape
    loudness = frame_power(magnitude).sqrt()
    source, ahead = _taken_over(position, loudness)
    ahead = ahead.flatten()

    row = torch.arange(n, device=phase.device)[:, None]
    anchor, segment = distinct((row * n_frames + _anchors(loudness)).flatten())
    source = (row * unit.shape[1] + source).flatten().index_select(0, anchor)
    change = _linear_phase(2 * torch.pi * hop * ahead.index_select(0, anchor), n_bins)
    change *= _rows(unit.flatten(0, 1), source)
    change *= _rows(phase.flatten(0, 1), anchor).conj_physical_()
    phase *= (change if segment is None else _rows(change, segment)).view_as(phase)


def _taken_over(position: Tensor, loudness: Tensor) -> tuple[Tensor, Tensor]:
    """(n, K) which frame of the source each frame is like, and how many frames ahead of it."""
    source = (position + 0.5).floor()
    rate = position[:, 1:2] - position[:, :1]
    return source.long(), position - source + _event(loudness) * (rate - 1)


def _by_native_code(
    spectra: Tensor, position: Tensor, left: Tensor, between: Tensor, hop: float
) -> Tensor:
    """What `phase_vocoder` makes, in two passes of C over the source."""
    spectra, between = spectra.contiguous(), between.contiguous()
    loudness = native.frame_powers(spectra, left, between).sqrt()
    source, ahead = _taken_over(position, loudness)
    anchors = _anchors(loudness)
    return native.vocode(spectra, left, between, anchors, source, 2 * torch.pi * hop * ahead)


def frame_power(x: Tensor) -> Tensor:
    """(n, K, F) spectra or their magnitudes -> (n, K) sums of squares, half the frame's energy.

    The first and the last bin stand for one bin of the whole circle, all others for two.
    """
    numbers, width = (torch.view_as_real(x).flatten(2), 2) if x.is_complex() else (x, 1)
    power: Tensor = torch.linalg.vector_norm(numbers, dim=-1).square()
    ends = (numbers[..., part].square().sum(-1) for part in (slice(width), slice(-width, None)))
    power = power - 0.5 * next(ends) - 0.5 * next(ends)
    return power.clamp_(min=0)


def _linear_phase(advance: Tensor, n_bins: int) -> Tensor:
    """(m,) float64 radians a bin -> (m, F) complex64, `exp(i f advance)`.

    `f = 32 a + b` and the product of both: sines take long, and in float32 their last bit depends
    on where in a vector they are computed, so that a clip's views would depend on its neighbours.
    """
    bins = torch.arange(max(32, -(-n_bins // 32)), device=advance.device)
    angle = advance[:, None] * bins
    fine, coarse = (
        torch.polar(torch.ones_like(part), part).to(torch.complex64)
        for part in (angle[:, :32], 32 * angle[:, : -(-n_bins // 32)])
    )
    return (coarse[:, :, None] * fine[:, None]).flatten(1)[:, :n_bins]


def _event(loudness: Tensor) -> Tensor:
    """(n, K) how many frames after each frame the loudness around it has its maximum, within half.

    The vertex of the parabola through three frames. One that is bent by less than 1% of the
    loudness counts as that: what is steady has no event, and rounding must not place one.
    """
    before, after = pad(loudness, (1, -1)), pad(loudness, (-1, 1))
    bend = torch.minimum(before - 2 * loudness + after, -0.01 * loudness - TINY)
    return (0.5 * (before - after) / bend).clamp(-0.5, 0.5)


def _frames(x: Tensor, index: Tensor) -> Tensor:
    """(n, L, F) real or complex at (n, K) frames of the own row -> (n, K, F)."""
    n, n_frames, n_bins = x.shape
    rows = torch.arange(n, device=x.device)[:, None] * n_frames + index
    return _rows(x.flatten(0, 1), rows.flatten()).view(*index.shape, n_bins)


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """(m, F) real or complex at (k,) rows -> (k, F)."""
    if not x.is_complex():
        return x.index_select(0, index)
    # Copied as pairs of floats: index_select is several times slower on complex.
    picked = torch.view_as_real(x).flatten(1).index_select(0, index)
    return torch.view_as_complex(picked.view(len(index), -1, 2))


def _anchors(amplitude: Tensor) -> Tensor:
    """(n, K) for each frame, the frame whose phases it follows.

    That is the last onset, from two frames ahead of it, where the onset enters the window; where
    none came yet, the loudest of those frames, and of equally loud ones the middle: rounding would
    choose among the frames of a steady sound, and one at its edge holds half of it. An onset is
    louder than the two frames before, as loud as the two after or louder, and at least 10 dB above
    four frames before. Roebel (2003), "A new approach to transient processing in the phase
    vocoder", likewise resets phases when a transient is at the middle of the window.
    """
    n_frames = amplitude.shape[1]
    frame = torch.arange(n_frames, device=amplitude.device)

    def neighbour(ahead: int) -> Tensor:
        return pad(amplitude, (-ahead, ahead))

    earlier = torch.maximum(neighbour(-2), neighbour(-1))
    later = torch.maximum(neighbour(1), neighbour(2))
    onset = (amplitude > earlier) & (amplitude >= later)
    onset &= amplitude > 10**0.5 * neighbour(-4)
    ahead = pad(torch.where(onset, frame, -1), (0, 2), value=-1)[:, 2:]
    latest = ahead.cummax(1).values
    before = torch.where(latest < 0, amplitude, -1)
    loudest = before >= AS_LOUD * before.amax(1, keepdim=True)
    rank = loudest.cumsum(1)
    middle = (loudest & (2 * rank >= rank[:, -1:])).byte().argmax(1, keepdim=True)
    return torch.where(latest < 0, middle, latest)


def restore_level(y: Tensor, wanted: Tensor, present: Tensor, scale: float = 1) -> Tensor:
    """(n, T) waveforms `scale y` at the level `wanted` where they have the level `present`.

    Bins whose phases no longer fit each other cancel where frames overlap: stretched white noise
    loses up to 3.6 dB, a tone nothing. Left so, the level would tell the rate.

    Args:
        y: (n, T) float32.
        wanted: (n, 1) mean square of the part of the source that is heard.
        present: (n, 1) mean square of what became of it.
        scale: what the samples are multiplied by besides.
    """
    gain = torch.sqrt(wanted / present.clamp(min=TINY)).clamp(0.5, 2)
    return y * torch.where(wanted > TINY_POWER, scale * gain, 0)


def energy(x: Tensor) -> Tensor:
    """(n, 1) sums of squares."""
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm.square()
