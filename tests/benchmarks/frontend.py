"""The three channels at once, against each by itself as the original computes them.

python tests/benchmarks/frontend.py --device cuda --views 200
"""

import argparse
from functools import partial

import torch
from measure import HEAD, compare, limit, machine, measure, profile_table, table
from torch import Tensor

from slvr.pipeline.frontends.mtslvr import MTSLVR
from slvr.pipeline.torchaudio_import import functional as _torchaudio  # noqa: F401

# isort: split
from torchaudio.transforms import MelScale, Spectrogram

RATE_HZ = 16_000
EPS = torch.finfo(torch.float64).eps


class Original(torch.nn.Module):
    """Mel power from one spectrogram; magnitude and phase from another, projected in two parts."""

    def __init__(self) -> None:
        super().__init__()
        self.power = Spectrogram(n_fft=1024, hop_length=512)
        self.mel = MelScale(n_mels=128, sample_rate=RATE_HZ, n_stft=513)

    def forward(self, waves: Tensor) -> Tensor:
        """(B, T) -> (B, 3, 128, L)."""
        power = 10 * torch.log10(self.mel(self.power(waves)) + EPS)
        window = torch.ones(1024, device=waves.device)
        spectrum = torch.stft(waves, 1024, 512, window=window, return_complex=True)
        z = torch.complex(self.mel(spectrum.real), self.mel(spectrum.imag))
        magnitude = 10 * torch.log10(z.abs() + EPS)
        return torch.stack((power, magnitude, z.angle()), dim=1)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--views", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--runs", type=int, default=9)
    args = parser.parse_args()
    device = torch.device(args.device)
    torch.manual_seed(0)
    waves = 0.1 * torch.randn(args.views, round(args.seconds * RATE_HZ), device=device)
    ours, theirs = MTSLVR().to(device), Original().to(device)
    difference = (ours(waves) - theirs(waves))[:, 0].abs().max()
    assert difference < 0.1, f"not the same log-mel: {difference:.3g} dB apart"

    timed = partial(measure, runs=args.runs, device=device)
    by_original, by_torch = timed(partial(theirs, waves)), MTSLVR().to(device)
    by_torch.fused = False
    ways = {"three channels": ours} | ({"by torch": by_torch} if device.type == "cuda" else {})
    rows = [compare(n, args.views, timed(partial(f, waves)), by_original) for n, f in ways.items()]
    print(f"### Front end, {args.views} views of {args.seconds:g} s\n")
    print(f"{machine(device)}; {args.runs} runs; ms a view.\n")
    print(table(HEAD, rows))
    ms = 1e3 * timed(partial(ours, waves)).median_s
    print(f"\nAll {args.views} views: {ms:.2f} ms.", flush=True)
    call = partial(ours, waves)
    print(f"\n{limit(call, device)}\n\n{profile_table(call, device)}")


if __name__ == "__main__":
    main()
