"""Paired views and each augmentation alone, against the libraries that MT-SLVR was made with.

    python tests/benchmarks/augmentations.py --device cuda --clips 100

The original applies, clip by clip and view by view, one `torch_audiomentations.Compose` of that
clip's chain, with fade, masking and a phase vocoder from torchaudio. Both ways get the same clips
and the same chains in the same run; each draws its own parameters.
"""

import argparse
import sys
from functools import partial

import torch
from measure import HEAD, compare, limit, machine, measure, profile_table, table
from torch import Tensor, nn

from slvr.pipeline.augmentations import DEFAULT
from slvr.pipeline.torchaudio_import import functional as taf
from slvr.pipeline.views.chain_plan import ChainPlan
from slvr.pipeline.views.chains import Chains

# isort: split
import torchaudio.transforms as tat

try:
    import torch_audiomentations as ta
except ImportError as missing:
    ta, absent = None, str(missing)

RATE_HZ = 16_000


class Fade(nn.Module):
    """Fade of one (1, 1, T) clip, lengths and shape drawn anew."""

    def forward(self, x: Tensor) -> Tensor:
        """The faded clip."""
        lengths = torch.randint(x.shape[-1] // 2, (2,)).tolist()
        shape = ("linear", "logarithmic", "exponential")[int(torch.randint(3, ()))]
        return tat.Fade(*lengths, shape)(x)


class Stretch(nn.Module):
    """Time stretch of one (1, 1, T) clip by a phase vocoder, repeated or cut to T."""

    def forward(self, x: Tensor) -> Tensor:
        """The stretched clip."""
        n_fft, hop = 2048, 512
        rate = round(0.5 + float(torch.rand(())), 2)
        window = torch.ones(n_fft, device=x.device)
        spectrum = torch.stft(x[0], n_fft, hop, window=window, return_complex=True)
        advance = torch.linspace(0, torch.pi * hop, n_fft // 2 + 1, device=x.device)[:, None]
        y = torch.istft(taf.phase_vocoder(spectrum, rate, advance), n_fft, hop, window=window)
        repeats = -(-x.shape[-1] // y.shape[-1])
        return y.repeat(1, repeats)[None, :, : x.shape[-1]]


def original_augmentations(n_samples: int) -> dict[str, nn.Module]:
    """The seven as the original has them."""
    always = {"p": 1.0, "sample_rate": RATE_HZ, "output_type": "dict"}
    pitch = {"min_transpose_semitones": -15, "max_transpose_semitones": 15}
    return {
        "pitch_shift": ta.PitchShift(**pitch, **always),
        "fade": Fade(),
        "white_noise": ta.AddColoredNoise(3, 30, -1, 0, **always),
        "mixed_noise": ta.AddColoredNoise(3, 30, -2, 2, **always),
        "time_stretch": Stretch(),
        "time_masking": tat.TimeMasking(n_samples // 8),
        "time_shift": ta.Shift(**always),
    }


def original_views(waves: Tensor, plan: ChainPlan, augmentations: dict[str, nn.Module]) -> Tensor:
    """(2, B, T): the chains of a plan, one Compose a clip and view."""
    views = []
    for _ in range(2):
        for clip, order in zip(waves, plan.order.tolist(), strict=True):
            chain = [augmentations[plan.names[i]] for i in order if i >= 0]
            compose = ta.Compose(chain, output_type="dict")
            views.append(compose(clip[None, None], sample_rate=RATE_HZ).samples[0, 0])
    return torch.stack(views).view(2, *waves.shape)


def our_views(waves: Tensor, views: Chains) -> Tensor:
    """(2, B, T): plan and views, as a training step makes them."""
    return views.apply(waves, views.sample(len(waves), seed=0, device=waves.device))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    device = torch.device(args.device)
    torch.manual_seed(0)
    waves = 0.1 * torch.randn(args.clips, round(args.seconds * RATE_HZ), device=device)
    timed = partial(measure, runs=args.runs, device=device)
    original = original_augmentations(waves.shape[-1]) if ta else {}
    if not ta:
        print(f"without the original's way: {absent}", file=sys.stderr)

    rows = []
    for name, chosen in {
        "all seven, random chains": DEFAULT,
        **{a.name: (a,) for a in DEFAULT},
    }.items():
        views = Chains(chosen)
        plan = views.sample(len(waves), seed=0)
        ours = timed(partial(our_views, waves, views))
        theirs = timed(partial(original_views, waves, plan, original)) if original else None
        rows.append(compare(name, len(waves), ours, theirs))
    print(f"### Paired views, {args.clips} clips of {args.seconds:g} s\n")
    print(f"{machine(device)}; {args.runs} runs; ms a clip (two views).\n")
    print(table(HEAD, rows))
    call = partial(our_views, waves, Chains())
    print(f"\n{limit(call, device)}\n\n{profile_table(call, device)}")


if __name__ == "__main__":
    main()
