"""The kernels beside torch's path on the same numbers: `fused_checks.py cpu` or `... cuda`.

Run by test_pipeline_fused in a process of its own: on the CPU Triton's interpreter runs them, which
must be chosen before triton is loaded, and takes milliseconds for every program.
"""

import os
import sys
import warnings
from fractions import Fraction
from functools import partial
from unittest import mock

DEVICE = sys.argv[1]
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"
    # where a program looks at both sides of a choice
    warnings.filterwarnings("ignore", category=RuntimeWarning)

import torch
import triton

from slvr.pipeline.augmentations import DEFAULT, ColouredNoise, PitchShift, TimeStretch, vocoder
from slvr.pipeline.augmentations.noise import coloured_noise
from slvr.pipeline.augmentations.two_grids import HOPS
from slvr.pipeline.augmentations.vocoder import frame_power, istft, phase_vocoder, stft
from slvr.pipeline.frontends.bank import Bands
from slvr.pipeline.frontends.mtslvr import MTSLVR
from slvr.pipeline.fused import front_end, launches, stages, views
from slvr.pipeline.views.chains import Chains

if DEVICE == "cpu":
    launches.BLOCK_BINS = 1024  # few programs
T = 1600


def clips(n, n_samples, seed=0):
    x = 0.1 * torch.randn(n, n_samples, generator=torch.Generator().manual_seed(seed))
    return x.to(DEVICE)


def relative_error(ours, reference):
    return ((ours - reference).norm() / reference.norm()).item()


def same_power(analysed, position, magnitude):
    """Of frames between two, by the kernels' sums: events and anchors magnify its rounding."""
    assert magnitude.shape[:2] == position.shape
    last = analysed.energies.shape[1] - 1
    left = position.long().clamp(max=last - 1)
    a = position.clamp(max=last) - left
    first, second = (analysed.energies.gather(1, left + i) for i in (0, 1))
    both = analysed.products.gather(1, left)
    power = (1 - a) ** 2 * first + 2 * a * (1 - a) * both + a**2 * second
    by_torch = frame_power(magnitude)
    assert torch.allclose(power.float(), by_torch, rtol=1e-5)
    return power


def check_vocoder(stage, frame, hop, made, made_hop, step):
    """One row: its frames, those frames vocoded, and what they overlap to, each by torch too."""
    rows, steps, _ = (
        torch.from_numpy(x).to(DEVICE) for x in (stage.rows, stage.steps, stage.factors)
    )
    n_source, n_made, n_bins = (
        int(rows[0, i]) for i in (stages.N_SOURCE, stages.N_MADE, stages.N_BINS)
    )
    loud = clips(1, T)
    loud[0, 900:1000] *= 20  # an onset: two segments
    waves = torch.cat((loud, torch.empty_like(loud)))

    analysed = launches.analyse(stage, rows, waves)
    spectra = analysed.spectra[0][:n_source]
    assert relative_error(spectra, stft(loud, frame, hop, n_source)[0]) < 1e-6

    position = torch.arange(n_made, dtype=torch.float64, device=DEVICE)[None] * step
    with mock.patch.object(vocoder, "frame_power", partial(same_power, analysed, position)):
        expected = phase_vocoder(spectra[None, :, :n_bins].contiguous(), position, hop / frame)
    frames = launches.vocode(stage, rows, steps, analysed)
    ours = torch.view_as_real(frames[0][:n_made]).flatten(1) / made
    error = relative_error(ours, torch.fft.irfft(expected[0], n=made))
    assert error < 1e-6, error

    energies = launches.synthesise(stage, rows, frames, waves)
    y = istft(expected, made, made_hop)[0, made // 2 :][:T]
    assert relative_error(waves[1, : len(y)], y) < 1e-6
    heard = y[: int(rows[0, stages.LENGTH])]
    assert torch.allclose(energies.sum(), heard.square().sum(), rtol=1e-5)


def check_shift(ratio):
    hops = HOPS[ratio]
    stage = stages.shift_stage([hops], [0], [1], T)
    check_vocoder(stage, 3 * hops[0], hops[0], 3 * hops[1], hops[1], hops[1] / hops[0])


def check_stretch(rate):
    check_vocoder(stages.stretch_stage([rate], [0], [1], T), 2048, 512, 2048, 512, rate)


def check_noise():
    seeds = torch.tensor([3, 2**31 - 5], dtype=torch.int32, device=DEVICE)
    decays = torch.tensor([-1.5, 0.7], device=DEVICE)
    ours, norms = views._noises(seeds, decays, T)
    theirs = coloured_noise(seeds.long(), decays, T)
    theirs *= (ours[:, :T].norm(dim=1) / theirs.norm(dim=1))[:, None]
    assert relative_error(ours[:, :T], theirs) < 1e-6
    assert torch.allclose(norms, ours[:, :T].norm(dim=1))


def check_chains(augmentations, limit, dtype=torch.float32):
    """Whole chains, and each row by itself by torch."""
    chains = Chains(augmentations, min_ops=len(augmentations))
    waves, plan = clips(2, T).to(dtype), chains.sample(2, 3, DEVICE)
    ours = views.fused_views(waves, plan, chains.augmentations)
    theirs = [chains.apply(waves[[i]].float(), plan.rows(i, i + 1)) for i in range(2)]
    assert ours.dtype == dtype
    error = relative_error(ours.float(), torch.cat(theirs, 1))
    assert error < limit, f"chains of {[a.name for a in augmentations]}: {error}"


def check_front_end():
    """Every channel, also where bands are few and clips hardly longer than half a frame."""
    for made in (MTSLVR(), MTSLVR(33, 250, 97)):
        for n_samples in (made.frame_samples // 2 + 1, T):
            x = clips(2, n_samples)
            x[1] = 0  # silence
            made.to(DEVICE).fused = False
            expected = made(x)
            bands = Bands(*(made.get_buffer(f"bands_{name}") for name in Bands._fields))
            ours = front_end.images(x, made.frame_samples, made.hop_samples, bands, made.channels)
            assert ours.shape == expected.shape
            assert torch.allclose(ours[1], expected[1], rtol=1e-6)
            assert relative_error(10 ** (ours[0, 0] / 10), 10 ** (expected[0, 0] / 10)) < 1e-6
            if made.channels == 3:
                z, by_torch = (torch.polar(10 ** (y[0, 1] / 10), y[0, 2]) for y in (ours, expected))
                assert relative_error(z, by_torch) < 2e-6


CHECKS = {
    "down": lambda: check_shift(Fraction(5, 8)),
    "up": lambda: check_shift(Fraction(125, 64)),
    "stretch": lambda: check_stretch(0.77),
    "noise": check_noise,
    "front-end": check_front_end,
    "programs": lambda: check_chains([a for a in DEFAULT if type(a) not in SLOW], 1e-6),
    "bfloat16": lambda: check_chains([ColouredNoise("a", (0, 1))], 1e-2, torch.bfloat16),
    # phases of weak bins magnify rounding, as between torch's own devices
    "all": lambda: check_chains(DEFAULT, 1e-3),
}
SLOW = (PitchShift, TimeStretch)

if __name__ == "__main__":
    torch.set_num_threads(1)
    assert triton.knobs.runtime.interpret == (DEVICE == "cpu")
    for name in sys.argv[2:] or CHECKS:
        CHECKS[name]()
        print(name, "equal")
