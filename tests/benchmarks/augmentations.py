"""Paired views and each augmentation alone, against the libraries that MT-SLVR was made with.

    python tests/benchmarks/augmentations.py --device cuda --clips 100

The original applies, clip by clip and view by view, one `torch_audiomentations.Compose` of that
clip's chain, with fade, masking and a phase vocoder from torchaudio. Both ways get the same clips
and the same chains in the same run; each draws its own parameters.
"""

import argparse
import itertools
import sys
import time
from functools import partial
from importlib.util import find_spec

import torch
from measure import HEAD, compare, limit, machine, measure, profile_table, table
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from slvr.pipeline.ahead import Ahead
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


def our_views(waves: Tensor, views: Chains, seed: int = 0) -> Tensor:
    """(2, B, T): plan and views, as a training step makes them."""
    return views.apply(waves, views.sample(len(waves), seed, waves.device))


def ahead_table(waves: Tensor, runs: int) -> str:
    """A step of fused views with a new plan: made on the spot, made ahead, and steps in a row."""
    fused, device, n_samples = Chains(fused=True), waves.device, waves.shape[1]
    seeds = itertools.count()

    def plan() -> ChainPlan:
        return fused.sample(len(waves), next(seeds), device)

    for _ in range(30):  # plans of FFTs, and kernels for each size
        fused.apply(waves, plan())
    on_the_spot = measure(lambda: fused.apply(waves, plan()), 10 * runs, device)
    prepared_s, launched_s, plans = 0.0, 0.0, []
    for _ in range(10 * runs + 1):
        begin_s = time.perf_counter()
        plans.append(fused.ahead(plan(), n_samples))
        prepared_s += time.perf_counter() - begin_s
    waiting = iter(plans)
    made_ahead = measure(lambda: fused.apply(waves, next(waiting)), 10 * runs, device)
    for made in plans:
        torch.cuda.synchronize()
        begin_s = time.perf_counter()
        fused.apply(waves, made)
        launched_s += time.perf_counter() - begin_s
    ahead = Ahead()

    def row_of_steps(by_thread: bool) -> None:
        for _ in range(10):
            made = ahead.made(0, lambda: fused.ahead(plan(), n_samples))
            fused.apply(waves, made)
            if by_thread:
                ahead.begin(0, lambda: fused.ahead(plan(), n_samples))

    rows = [
        ["plan made on the spot", on_the_spot.median_s, on_the_spot.min_s],
        ["plan made ahead", made_ahead.median_s, made_ahead.min_s],
    ]
    for name, by_thread in (("on the spot", False), ("ahead by a thread", True)):
        took = measure(partial(row_of_steps, by_thread), runs, device)
        rows.append([f"ten steps in a row, {name}, each", took.median_s / 10, took.min_s / 10])
    rows.append(["host: plan, schedule, upload", prepared_s / len(plans), "-"])
    rows.append(["host: launches", launched_s / len(plans), "-"])
    cells = [[n, *(t if t == "-" else f"{1e3 * t:.2f}" for t in times)] for n, *times in rows]
    return table(["a new plan each step", "ms, median", "min"], cells)


def busy_tables(waves: Tensor, runs: int) -> str:
    """For how long the device works on fused views, stage by stage and kernel by kernel."""
    from slvr.pipeline.fused.views import fused_views  # loads triton

    fused, device = Chains(fused=True), waves.device
    plans = [
        fused.ahead(fused.sample(len(waves), seed, device), waves.shape[1])
        for seed in range(10 * runs)
    ]
    sums: dict[str, float] = {}
    for plan in plans:
        marks: list[tuple[str, torch.cuda.Event]] = []

        def note(name: str, marks: list[tuple[str, torch.cuda.Event]] = marks) -> None:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            marks.append((name, event))

        torch.cuda.synchronize()
        note("begin")
        fused_views(waves, plan, fused.augmentations, note, plan.ready)
        torch.cuda.synchronize()
        for (_, before), (name, after) in itertools.pairwise(marks):
            sums[name] = sums.get(name, 0) + before.elapsed_time(after)
    names = [[name, f"{ms / len(plans):.3f}"] for name, ms in sums.items()]
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        fused.apply(waves, plans[0])
        torch.cuda.synchronize()
    kernels = [e for e in profiler.key_averages() if e.self_device_time_total]
    n_kernels = sum(e.count for e in kernels)
    busy_ms = sum(e.self_device_time_total for e in kernels) / 1e3
    return "\n\n".join(
        (
            f"{n_kernels} kernels and copies, busy for {busy_ms:.2f} ms.",
            table(["stage", "ms from its first launch to its end"], names),
            profile_table(lambda: fused.apply(waves, plans[0]), device, 24),
        )
    )


def beside_torch(waves: Tensor, runs: int) -> str:
    """Fused views beside torch's on the device, all and each augmentation alone."""
    lines = []
    for name, chosen in {"all": DEFAULT, **{a.name: (a,) for a in DEFAULT}}.items():
        calls = [
            partial(our_views, waves, Chains(chosen, fused=is_fused)) for is_fused in (True, False)
        ]
        ours, theirs = (measure(call, runs, waves.device) for call in calls)
        lines.append(compare(name, len(waves), ours, theirs))
    return table(["", "fused", "min", "torch", "min", "ratio", "memory", "torch"], lines)


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
    if device.type == "cuda" and find_spec("triton"):  # first what a cut must not lose
        print(f"{machine(device)}; {args.clips} clips of {args.seconds:g} s.")
        for title, made in (
            ("A step of fused views", ahead_table),
            ("The device's part", busy_tables),
            ("Fused (left) and torch's way (right) on the device", beside_torch),
        ):
            print(f"\n### {title}\n\n{made(waves, args.runs)}\n", flush=True)
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
