"""Triton kernels of the phase vocoder: what `augmentations.vocoder` computes, nothing stored twice.

A launch takes all rows of a stage, each with frames and hops of its own, which stand in a table,
see `stages`. Spectra come from one FFT a frame length: a row says in which.

Letters: L frames of the source, K of the result, M and N samples of their frames, F bins that both
have, h = N / 2, T samples.
"""

import triton
import triton.language as tl

from slvr.pipeline.fused import stages

# A kernel sees no other global numbers.
SOURCE = tl.constexpr(stages.SOURCE)
TARGET = tl.constexpr(stages.TARGET)
FRAME = tl.constexpr(stages.FRAME)
HOP = tl.constexpr(stages.HOP)
N_SOURCE = tl.constexpr(stages.N_SOURCE)
AT_FRAMES = tl.constexpr(stages.AT_FRAMES)
GROUP_IN = tl.constexpr(stages.GROUP_IN)
AT_SPECTRA = tl.constexpr(stages.AT_SPECTRA)
MADE = tl.constexpr(stages.MADE)
MADE_HOP = tl.constexpr(stages.MADE_HOP)
N_MADE = tl.constexpr(stages.N_MADE)
AT_MADE = tl.constexpr(stages.AT_MADE)
GROUP_OUT = tl.constexpr(stages.GROUP_OUT)
AT_OUT = tl.constexpr(stages.AT_OUT)
N_BINS = tl.constexpr(stages.N_BINS)
HEARD = tl.constexpr(stages.HEARD)
LENGTH = tl.constexpr(stages.LENGTH)
ROW_COLUMNS = tl.constexpr(stages.ROW_COLUMNS)
TINY = tl.constexpr(1e-18)
TINY_POWER = tl.constexpr(1e-36)
AS_LOUD = tl.constexpr(1 - 1e-4)
TWO_PI = tl.constexpr(6.283185307179586)


@triton.jit
def _of_row(rows, row, column: tl.constexpr):
    return tl.load(rows + row * ROW_COLUMNS + column)


@triton.jit
def _group(group, a0, a1, a2, a3, a4, a5):
    """The address of one of six tensors."""
    a = tl.where(group == 1, a1, a0)
    a = tl.where(group == 2, a2, a)
    a = tl.where(group == 3, a3, a)
    a = tl.where(group == 4, a4, a)
    return tl.where(group == 5, a5, a)


@triton.jit
def _parts(both):
    real = (both & 0xFFFFFFFF).to(tl.int32).to(tl.float32, bitcast=True)
    imaginary = (both >> 32).to(tl.int32).to(tl.float32, bitcast=True)
    return real, imaginary


@triton.jit
def read_complex(x, at, inside):
    """Real and imaginary parts, read as one number of 64 bits."""
    return _parts(tl.load(x + at, mask=inside, other=0))


@triton.jit
def store_complex(x, at, real, imaginary, inside):
    """Writes real and imaginary parts as one number of 64 bits."""
    low = real.to(tl.int32, bitcast=True).to(tl.int64) & 0xFFFFFFFF
    high = imaginary.to(tl.int32, bitcast=True).to(tl.int64) << 32
    tl.store(x + at, high | low, mask=inside)


@triton.jit
def on_circle(circles):
    """Cosine and sine of float32 `2 pi circles`, of few circles, to about 1e-7.

    The library's own reduce angles of any size, for which they keep numbers in memory.
    """
    quarters = tl.floor(4 * circles + 0.5)
    a = (circles - 0.25 * quarters) * TWO_PI
    b = a * a
    sine = a * (1 + b * (-1 / 6 + b * (1 / 120 + b * (-1 / 5040 + b * (1 / 362880)))))
    cosine = 1 + b * (-1 / 2 + b * (1 / 24 + b * (-1 / 720 + b * (1 / 40320))))
    turned = quarters.to(tl.int32) & 3
    x = tl.where((turned & 1) == 1, sine, cosine)
    y = tl.where((turned & 1) == 1, cosine, sine)
    x = tl.where((turned == 1) | (turned == 2), -x, x)
    return x, tl.where(turned >= 2, -y, y)


@triton.jit
def _hann(t, frame):
    cosine, _ = on_circle(t.to(tl.float32) / frame.to(tl.float32))
    return 0.5 - 0.5 * cosine


@triton.jit
def frame_rows(waves, frames, energies, rows, n_samples, widest, BLOCK: tl.constexpr):
    """Windowed frames of each row, and the energy of the hop in the middle of each.

    Hops partition the clip, of which the first HEARD samples count.
    """
    row = tl.program_id(0)
    at = tl.program_id(1)
    if at < _of_row(rows, row, N_SOURCE):
        # of each sample: 64 bits take several times as long
        frame = _of_row(rows, row, FRAME).to(tl.int32)
        hop = _of_row(rows, row, HOP).to(tl.int32)
        heard = _of_row(rows, row, HEARD).to(tl.int32)
        wave = waves + _of_row(rows, row, SOURCE) * n_samples
        to = frames + _of_row(rows, row, AT_FRAMES) + at.to(tl.int64) * frame
        begin = at * hop - frame // 2
        own = frame // 2 - hop // 2
        energy = tl.zeros((BLOCK,), tl.float32)
        start = frame * 0
        while start < frame:  # the interpreter cannot take a loaded number for a range
            t = start + tl.arange(0, BLOCK)
            sample = begin + t
            inside = (t < frame) & (sample >= 0) & (sample < n_samples)
            x = tl.load(wave + sample, mask=inside, other=0.0)
            tl.store(to + t, x * _hann(t, frame), mask=t < frame)
            counts = (t >= own) & (t < own + hop) & (sample < heard)
            energy += tl.where(counts, x * x, 0.0)
            start += BLOCK
        tl.store(energies + row * widest + at, tl.sum(energy, 0))


@triton.jit
def frame_energies(a0, a1, a2, a3, a4, a5, energies, products, rows, widest, BLOCK: tl.constexpr):
    """Energy of the bins of each frame, and sum of their products with the next one's.

    The first and the last bin stand for one bin of the whole circle, all others for two.
    """
    row = tl.program_id(0)
    at = tl.program_id(1)
    n_frames = _of_row(rows, row, N_SOURCE)
    if at < n_frames:
        x = _group(_of_row(rows, row, GROUP_IN), a0, a1, a2, a3, a4, a5)
        x = x.to(tl.pointer_type(tl.int64))
        width = _of_row(rows, row, FRAME) // 2 + 1
        n_bins = _of_row(rows, row, N_BINS)
        here = _of_row(rows, row, AT_SPECTRA) + at * width
        energy = tl.zeros((BLOCK,), tl.float32)
        product = tl.zeros((BLOCK,), tl.float32)
        start = n_bins * 0
        while start < n_bins:  # the interpreter cannot take a loaded number for a range
            f = start + tl.arange(0, BLOCK)
            real, imaginary = read_complex(x, here + f, f < n_bins)
            power = real * real + imaginary * imaginary
            real, imaginary = read_complex(x, here + width + f, (f < n_bins) & (at + 1 < n_frames))
            after = real * real + imaginary * imaginary
            weight = tl.where((f == 0) | (f == n_bins - 1), 0.5, 1.0)
            energy += weight * power
            product += weight * tl.sqrt(power) * tl.sqrt(after)
            start += BLOCK
        tl.store(energies + row * widest + at, tl.sum(energy, 0))
        tl.store(products + row * widest + at, tl.sum(product, 0))


@triton.jit
def _position(k, step, n_frames):
    """Where frame k of the result lies in the source, the frame before it, and the rest."""
    numerator = tl.load(step)
    denominator = tl.load(step + 1)
    position = k.to(tl.float64) * numerator / denominator
    position = tl.minimum(position, (n_frames - 1).to(tl.float64))
    left = tl.minimum(position.to(tl.int64), n_frames - 2)
    return position, left, (position - left.to(tl.float64)).to(tl.float32)


@triton.jit
def _loudness(k, energies, products, step, n_frames, n_made):
    """Of frame k of the result, without its bins: the norm of what lies between two spectra.

    In float64: what follows from it magnifies its rounding.
    """
    inside = (k >= 0) & (k < n_made)
    position, left, _ = _position(tl.maximum(k, 0), step, n_frames)
    a = position - left.to(tl.float64)
    first = tl.load(energies + left, mask=inside, other=0.0).to(tl.float64)
    second = tl.load(energies + left + 1, mask=inside, other=0.0).to(tl.float64)
    both = tl.load(products + left, mask=inside, other=0.0).to(tl.float64)
    power = (1 - a) * (1 - a) * first + 2 * a * (1 - a) * both + a * a * second
    return tl.sqrt(tl.maximum(power, 0.0))


@triton.jit
def _larger(a, b):
    return tl.maximum(a, b)


@triton.jit
def find_anchors(
    energies, products, rows, steps, anchors, turns, widest, widest_made, BLOCK: tl.constexpr
):
    """For each frame the frame whose phases it follows, and how far those are turned there.

    `vocoder._anchors` and `vocoder._event`; turns are float64, in circles a bin.
    """
    row = tl.program_id(0)
    k = tl.arange(0, BLOCK)
    n_frames = _of_row(rows, row, N_SOURCE)
    n_made = _of_row(rows, row, N_MADE)
    e = energies + row * widest
    c = products + row * widest
    step = steps + row * 2
    at = _loudness(k, e, c, step, n_frames, n_made)
    after = _loudness(k + 1, e, c, step, n_frames, n_made)
    second = _loudness(k + 2, e, c, step, n_frames, n_made)
    later = tl.maximum(
        _loudness(k + 3, e, c, step, n_frames, n_made),
        _loudness(k + 4, e, c, step, n_frames, n_made),
    )
    long_before = _loudness(k - 2, e, c, step, n_frames, n_made)
    onset = (second > tl.maximum(at, after)) & (second >= later)
    onset = onset & (second > 3.1622776601683795 * long_before)
    latest = tl.associative_scan(tl.where(onset, k + 2, -1), 0, _larger)
    none_yet = (latest < 0) & (k < n_made)
    most = tl.max(tl.where(none_yet, at, -1.0), 0)
    loudest = none_yet & (at >= most * AS_LOUD)
    rank = tl.cumsum(loudest.to(tl.int32), 0)
    middle = tl.min(tl.where(loudest & (2 * rank >= tl.max(rank, 0)), k, BLOCK), 0)
    tl.store(anchors + row * widest_made + k, tl.where(latest < 0, middle, latest), mask=k < n_made)
    before = _loudness(k - 1, e, c, step, n_frames, n_made)
    bend = tl.minimum(before - 2 * at + after, -0.01 * at - TINY)
    event = tl.minimum(tl.maximum(0.5 * (before - after) / bend, -0.5), 0.5)
    position, _, _ = _position(k, step, n_frames)
    rate, _, _ = _position(tl.full((BLOCK,), 1, tl.int32), step, n_frames)
    ahead = position - tl.floor(position + 0.5) + event * (rate - 1)
    turn = ahead * _of_row(rows, row, HOP).to(tl.float64) / _of_row(rows, row, FRAME)
    tl.store(turns + row * widest_made + k, turn, mask=k < n_made)


@triton.jit
def _unit(both):
    """Unit phasor and magnitude of a bin as it was read."""
    real, imaginary = _parts(both)
    real += TINY
    power = tl.maximum(real * real + imaginary * imaginary, TINY_POWER)
    r = tl.rsqrt(power)
    return real * r, imaginary * r, power * r


@triton.jit
def _turned(both, f, turn):
    """The source's phasor of bin f, turned by `turn` a bin."""
    real, imaginary, _ = _unit(both)
    circles = f.to(tl.float64) * turn
    c, s = on_circle((circles - tl.floor(circles)).to(tl.float32))
    return real * c - imaginary * s, real * s + imaginary * c


@triton.jit
def _read(x, k, step, n_frames, width, f, g, in_f, in_g):
    """What frame k lies between: bins f and g of both, as they are read, and where between them."""
    _, left, a = _position(k, step, n_frames)
    first = x + left * width
    second = first + width
    f0 = tl.load(first + f, mask=in_f, other=0)
    f1 = tl.load(second + f, mask=in_f, other=0)
    g0 = tl.load(first + g, mask=in_g, other=0)
    g1 = tl.load(second + g, mask=in_g, other=0)
    return f0, f1, g0, g1, a


@triton.jit
def _between(first, second, a):
    """Magnitude between two frames, and the phase advance from one to the other."""
    r0, i0, m0 = _unit(first)
    r1, i1, m1 = _unit(second)
    return m0 + a * (m1 - m0), r1 * r0 + i1 * i0, i1 * r0 - r1 * i0


@triton.jit
def store_packed(z, at, f, h, fr, fi, gr, gi, c, s, inside):
    """Writes bins f and g = h - f of a spectrum of real samples as half as many complex ones.

    `Z_k = (Y_k + Y*_{h-k}) + i w^k (Y_k - Y*_{h-k})`, `w = exp(2 pi i / N)`: the inverse FFT of Z
    has the even samples as its real part and the odd ones as its imaginary part.
    """
    fi = tl.where(f == 0, 0.0, fi)
    gi = tl.where(f == 0, 0.0, gi)
    ar = fr + gr
    ai = fi - gi
    dr = fr - gr
    di = fi + gi
    br = c * dr - s * di
    bi = c * di + s * dr
    store_complex(z, at + f, ar - bi, ai + br, inside)
    store_complex(z, at + h - f, ar + bi, br - ai, inside & (f > 0))


@triton.jit
def vocode(
    a0, a1, a2, a3, a4, a5, made, rows, steps, anchors, turns, widest_made, BLOCK: tl.constexpr
):
    """Spectra of the result, packed for the inverse FFT; a program marches over a row's frames.

    `vocoder.phase_vocoder`: from each anchor backward to the first frame that follows it, then
    forward to the last one. Phasors live in registers.
    """
    row = tl.program_id(0)
    h = _of_row(rows, row, MADE) // 2
    f = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    if tl.program_id(1) * BLOCK <= h // 2:
        x = _group(_of_row(rows, row, GROUP_IN), a0, a1, a2, a3, a4, a5)
        x = x.to(tl.pointer_type(tl.int64)) + _of_row(rows, row, AT_SPECTRA)
        z = made + _of_row(rows, row, AT_MADE)
        width = _of_row(rows, row, FRAME) // 2 + 1
        n_bins = _of_row(rows, row, N_BINS)
        n_frames = _of_row(rows, row, N_SOURCE)
        n_made = _of_row(rows, row, N_MADE)
        anchor_of = anchors + row * widest_made
        step = steps + row * 2
        g = h - f
        in_f = (f <= h // 2) & (f < n_bins)
        in_g = (f <= h // 2) & (g < n_bins)
        store = f <= h // 2
        c, s = on_circle(f.to(tl.float32) / (2 * h).to(tl.float32))
        begin = tl.full((), 0, tl.int64)
        while begin < n_made:
            anchor = tl.load(anchor_of + begin).to(tl.int64)
            position, _, _ = _position(anchor, step, n_frames)
            turn = tl.load(turns + row * widest_made + anchor)
            source = x + tl.floor(position + 0.5).to(tl.int64) * width
            fr0, fi0 = _turned(tl.load(source + f, mask=in_f, other=0), f, turn)
            gr0, gi0 = _turned(tl.load(source + g, mask=in_g, other=0), g, turn)
            f0, f1, g0, g1, a = _read(x, anchor, step, n_frames, width, f, g, in_f, in_g)
            fm, fvr0, fvi0 = _between(f0, f1, a)
            gm, gvr0, gvi0 = _between(g0, g1, a)
            gm = tl.where(in_g, gm, 0.0)
            store_packed(z, anchor * h, f, h, fr0 * fm, fi0 * fm, gr0 * gm, gi0 * gm, c, s, store)
            # What the next frame needs is under way while one is computed.
            fr, fi, gr, gi = fr0, fi0, gr0, gi0
            k = anchor - 1
            f0, f1, g0, g1, a = _read(x, tl.maximum(k, 0), step, n_frames, width, f, g, in_f, in_g)
            while k >= begin:
                fm, vr, vi = _between(f0, f1, a)
                gm, ur, ui = _between(g0, g1, a)
                f0, f1, g0, g1, a = _read(
                    x, tl.maximum(k - 1, 0), step, n_frames, width, f, g, in_f, in_g
                )
                fr, fi = fr * vr + fi * vi, fi * vr - fr * vi
                gr, gi = gr * ur + gi * ui, gi * ur - gr * ui
                gm = tl.where(in_g, gm, 0.0)
                store_packed(z, k * h, f, h, fr * fm, fi * fm, gr * gm, gi * gm, c, s, store)
                k -= 1
            fr, fi, gr, gi = fr0, fi0, gr0, gi0
            fvr, fvi, gvr, gvi = fvr0, fvi0, gvr0, gvi0
            k = anchor + 1
            f0, f1, g0, g1, a = _read(x, k, step, n_frames, width, f, g, in_f, in_g)
            next_anchor = tl.load(anchor_of + k, mask=k < n_made, other=-1)
            while next_anchor == anchor:
                fr, fi = fr * fvr - fi * fvi, fi * fvr + fr * fvi
                gr, gi = gr * gvr - gi * gvi, gi * gvr + gr * gvi
                fm, fvr, fvi = _between(f0, f1, a)
                gm, gvr, gvi = _between(g0, g1, a)
                f0, f1, g0, g1, a = _read(x, k + 1, step, n_frames, width, f, g, in_f, in_g)
                next_anchor = tl.load(anchor_of + k + 1, mask=k + 1 < n_made, other=-1)
                gm = tl.where(in_g, gm, 0.0)
                store_packed(z, k * h, f, h, fr * fm, fi * fm, gr * gm, gi * gm, c, s, store)
                k += 1
            begin = k


@triton.jit
def overlap_add(
    a0,
    a1,
    a2,
    a3,
    a4,
    a5,
    waves,
    energies,
    rows,
    n_samples,
    n_blocks,
    HOPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Each sample out of the frames that hold it, and the energy of the first LENGTH of them.

    `vocoder.istft`; a launch takes rows whose frames are HOPS hops.
    """
    row = tl.program_id(0)
    t = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    y = _group(_of_row(rows, row, GROUP_OUT), a0, a1, a2, a3, a4, a5)
    y = y.to(tl.pointer_type(tl.float32)) + _of_row(rows, row, AT_OUT)
    frame = _of_row(rows, row, MADE).to(
        tl.int32
    )  # divided by below: 64 bits take many times as long
    hop = _of_row(rows, row, MADE_HOP).to(tl.int32)
    n_made = _of_row(rows, row, N_MADE)
    p = t + frame // 2
    total = tl.zeros((BLOCK,), tl.float32)
    divisor = tl.zeros((BLOCK,), tl.float32)
    for m in tl.static_range(HOPS):
        k = p // hop - m
        at = p - k * hop
        inside = (t < n_samples) & (k >= 0) & (k < n_made)
        w = tl.where(inside, _hann(at, frame), 0.0)
        total += w * tl.load(y + k * frame + at, mask=inside, other=0.0)
        divisor += w * w
    total = total / (tl.maximum(divisor, 0.1) * frame.to(tl.float32))
    to = waves + _of_row(rows, row, TARGET) * n_samples
    tl.store(to + t, total, mask=t < n_samples)
    total = tl.where(t < _of_row(rows, row, LENGTH), total, 0.0)
    tl.store(energies + row * n_blocks + tl.program_id(1), tl.sum(total * total, 0))


@triton.jit
def find_levels(
    wanted, present, factors, levels, n_wanted, n_present, rows, first, BLOCK: tl.constexpr
):
    """`vocoder.restore_level`'s gains. Sums are stored and added up in one order: bits repeat."""
    row = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    source = i < _of_row(rows, row, N_SOURCE)
    w = tl.sum(tl.load(wanted + row * n_wanted + i, mask=source, other=0.0), 0)
    p = tl.sum(tl.load(present + row * n_present + i, mask=i < n_present, other=0.0), 0)
    w *= tl.load(factors + row * 3)
    p *= tl.load(factors + row * 3 + 1)
    gain = tl.sqrt(w / tl.maximum(p, TINY))
    gain = tl.minimum(tl.maximum(gain, 0.5), 2.0) * tl.load(factors + row * 3 + 2)
    tl.store(levels + first + row, tl.where(w > TINY_POWER, gain, 0.0))
