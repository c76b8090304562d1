"""Triton kernels of what only moves, scales or adds samples: a row's program in one pass.

Letters: T samples, N samples of an FFT, h = N / 2.
"""

import triton
import triton.language as tl

from slvr.pipeline.fused import schedule
from slvr.pipeline.fused.vocoder_kernels import on_circle, store_packed

# A kernel sees no other global numbers.
FADE = tl.constexpr(schedule.FADE)
MASK = tl.constexpr(schedule.MASK)
SHIFT = tl.constexpr(schedule.SHIFT)
NOISE = tl.constexpr(schedule.NOISE)
GAIN = tl.constexpr(schedule.GAIN)
WRAP = tl.constexpr(schedule.WRAP)


@triton.jit
def run_programs(
    waves,
    out,
    noises,
    levels,
    codes,
    operands,
    jobs,
    energies,
    n_samples,
    noise_samples,
    n_blocks,
    OPS: tl.constexpr,
    ENERGY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Each sample walks its row's program backward, to where it was read and by what it was scaled.

    A job is a program, how many of its operations, the row of `waves` and that of `out`. With
    ENERGY the sum of the result's squares is stored in its place, a number a block.
    """
    job = tl.program_id(0)
    program = tl.load(jobs + job * 4)
    n_operations = tl.load(jobs + job * 4 + 1)
    t = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = t < n_samples
    index = t
    gain = tl.full((BLOCK,), 1.0, tl.float32)
    added = tl.zeros((BLOCK,), tl.float32)
    for j in tl.static_range(OPS):
        at = n_operations - 1 - j
        code = tl.load(codes + program * OPS + at, mask=at >= 0, other=0)
        place = operands + (program * OPS + at) * 3
        a = tl.load(place, mask=at >= 0, other=0.0)
        b = tl.load(place + 1, mask=at >= 0, other=0.0)
        c = tl.load(place + 2, mask=at >= 0, other=0.0)
        if code == FADE:  # samples in, samples out, shape
            u = (index.to(tl.float32) + tl.where(a == 0, 1.0, 0.0)) / tl.maximum(a - 1, 1.0)
            back = (n_samples - 1 - index).to(tl.float32) + tl.where(b == 0, 1.0, 0.0)
            u = tl.minimum(tl.minimum(u, back / tl.maximum(b - 1, 1.0)), 1.0)
            logarithmic = tl.log2(0.1 + u) * 0.30102999566398120 + 1.0
            logarithmic = tl.minimum(tl.maximum(logarithmic, 0.0), 1.0)
            curve = tl.where(c == 1, logarithmic, tl.where(c == 2, tl.exp2(u - 1.0) * u, u))
            gain = gain * curve
        if code == MASK:  # first sample, end
            f = index.to(tl.float32)
            gain = tl.where((f >= a) & (f < b), 0.0, gain)
        if code == SHIFT:  # samples to later
            index = index - a.to(tl.int32)
            index = tl.where(index < 0, index + n_samples, index)
            index = tl.where(index >= n_samples, index - n_samples, index)
        if code == NOISE:  # row of noises, which of levels
            z = noises + a.to(tl.int64) * noise_samples
            level = tl.load(levels + b.to(tl.int32))
            added += gain * level * tl.load(z + index, mask=inside, other=0.0)
        if code == GAIN:  # which of levels
            gain = gain * tl.load(levels + a.to(tl.int32))
        if code == WRAP:  # samples
            index = index % a.to(tl.int32)
    wave = waves + tl.load(jobs + job * 4 + 2).to(tl.int64) * n_samples
    y = added + gain * tl.load(wave + index, mask=inside, other=0.0)
    if ENERGY:
        y = tl.where(inside, y, 0.0)
        tl.store(energies + job * n_blocks + tl.program_id(1), tl.sum(y * y, 0))
    else:
        to = out + tl.load(jobs + job * 4 + 3).to(tl.int64) * n_samples
        tl.store(to + t, y.to(out.dtype.element_ty), mask=inside)


@triton.jit
def find_noise_levels(energies, norms, which, snr, levels, n_blocks, BLOCK: tl.constexpr):
    """What each noise is multiplied by: the wave's amplitude, by its own, at the ratio wanted."""
    job = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    energy = tl.sum(tl.load(energies + job * n_blocks + i, mask=i < n_blocks, other=0.0), 0)
    slot = tl.load(which + job)
    norm = tl.load(norms + slot)
    tl.store(levels + slot, tl.sqrt(energy) * tl.load(snr + slot) / norm)


@triton.jit
def _mix(bits):
    bits = (((bits >> 16) & 0xFFFF) ^ bits) * 0x7FEB352D
    bits = (((bits >> 15) & 0x1FFFF) ^ bits) * -2073254261
    return ((bits >> 16) & 0xFFFF) ^ bits


@triton.jit
def _noise_bin(f, seed, decay, h):
    """One complex normal number, by Box and Muller, of the noise's colour."""
    bits = _mix(_mix(f) ^ seed)
    c, s = on_circle((bits >> 16).to(tl.float32) * (1.0 / 65536))
    radius = ((bits & 0xFFFF).to(tl.float32) + 0.5) * (1.0 / 65536)
    radius = tl.sqrt(-2.0 * tl.log(radius))
    m = 1 + f.to(tl.float32) * (88.44271909999159 / h.to(tl.float32))
    radius *= tl.exp(-decay * tl.log(m))
    return radius * c, radius * s


@triton.jit
def colour_noise(seeds, decays, made, n_samples, BLOCK: tl.constexpr):
    """Spectra of `noise.coloured_noise`, packed for the inverse FFT."""
    row = tl.program_id(0)
    h = n_samples // 2
    f = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    seed = _mix(tl.load(seeds + row))
    decay = tl.load(decays + row)
    fr, fi = _noise_bin(f, seed, decay, h)
    gr, gi = _noise_bin(h - f, seed, decay, h)
    c, s = on_circle(f.to(tl.float32) / (2 * h).to(tl.float32))
    z = made + row.to(tl.int64) * h
    store_packed(z, 0, f, h, fr, fi, gr, gi, c, s, f <= h // 2)
