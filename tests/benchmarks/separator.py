"""A separator against asteroid's TDConvNet, and MixIT by inner products against brute force.

    pip install --no-deps asteroid==0.7.0 asteroid-filterbanks==0.4.0
    python tests/benchmarks/separator.py
    python tests/benchmarks/separator.py --device cuda --clips 6 --seconds 10

Both networks have the same learned basis (40/20, 256), blocks (32), sizes (256/512) and channels;
asteroid's has skip outputs of 128 besides. A step is MixIT, backward and Adam. Operations
and bytes are counted, see counting.py. Where asteroid is not installed its columns stay empty.
"""

import argparse
import itertools
from collections.abc import Callable
from typing import Any

import torch
from counting import Count
from measure import machine, measure
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from slvr.model.separators.load import SIZES, untrained
from slvr.model.separators.mixit import mixit
from slvr.pipeline.torchaudio_import import functional  # noqa: F401 - before asteroid

RATE_HZ = 16_000


class Asteroid(nn.Module):
    """Encoder, asteroid's mask network, decoder: what ours is, in its parts."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        from asteroid.masknn.convolutional import TDConvNet

        self.encoder = nn.Conv1d(1, 256, 40, 20, bias=False)
        self.masks = TDConvNet(
            *(256, n_channels),
            n_blocks=8,
            n_repeats=4,
            bn_chan=256,
            hid_chan=512,
            skip_chan=128,
            mask_act="sigmoid",
        )
        self.decoder = nn.ConvTranspose1d(256, 1, 40, 20, bias=False)

    def forward(self, waves: Tensor) -> Tensor:
        """(B, T) -> (B, M, T')."""
        c = self.encoder(waves[:, None]).relu()
        masked = self.masks(c) * c[:, None]
        return self.decoder(masked.flatten(0, 1))[:, 0].unflatten(0, masked.shape[:2])


def by_force(mixtures: Tensor, channels: Tensor) -> Tensor:
    """(B,): the waveforms of all assignments, in full."""
    n, m = mixtures.shape[1], channels.shape[1]
    floors = 1e-3 * mixtures.square().sum(-1) + 1e-8
    losses = []
    for owners in itertools.product(range(n), repeat=m):
        taken = nn.functional.one_hot(torch.tensor(owners, device=channels.device), n).T
        errors = (mixtures - taken.to(channels.dtype) @ channels).square().sum(-1)
        losses.append((10 * torch.log10(errors + floors)).mean(-1))
    return torch.stack(losses).amin(0)


def step_of(network: nn.Module, mixtures: Tensor) -> Callable[[], Any]:
    """One optimiser step."""
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)

    def step() -> None:
        channels = network(mixtures.sum(1))
        mixit(mixtures[..., : channels.shape[-1]], channels).loss.mean().backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def counted(call: Callable[[], Any], device: torch.device) -> str:
    """Multiplications of dense layers and convolutions, and bytes that all operations move."""
    with Count(device.type) as count:
        call()
    with FlopCounterMode(display=False) as flops:
        call()
    return f"{flops.get_total_flops() / 2e9:7.2f} GMAC {count.moved_bytes / 1e9:6.2f} GB moved"


def networks(device: torch.device, waves: Tensor, mixtures: Tensor, runs: int) -> None:
    """Forward and step of both."""
    made: dict[str, nn.Module] = {"ours": untrained(0, **SIZES["learned"])}
    try:
        made["asteroid"] = Asteroid(2)
    except (ImportError, OSError) as error:
        print(f"asteroid is not here ({error}); see the first lines of this file")
    for name, network in made.items():
        network.to(device)

        def forward(network: nn.Module = network) -> None:
            with torch.no_grad():
                network(waves)

        for what, call in {"forward": forward, "step": step_of(network, mixtures)}.items():
            found = measure(call, runs, device)
            times = f"median {1e3 * found.median_s:8.1f} ms  min {1e3 * found.min_s:8.1f} ms"
            memory = f"{found.peak_bytes / 1e6:8.0f} MB"
            print(f"{what:8} {name:9} {times} {memory}  {counted(call, device)}")


def losses(device: torch.device, clips: int, n_samples: int, runs: int) -> None:
    """MixIT forward and backward, both ways."""
    for m in (4, 8):
        generator = torch.Generator().manual_seed(m)
        mixtures = torch.randn(clips, 2, n_samples, generator=generator).to(device)
        channels = torch.randn(clips, m, n_samples, generator=generator).to(device)
        channels.requires_grad_()
        ours = measure(lambda: mixit(mixtures, channels).loss.sum().backward(), runs, device)  # noqa: B023
        force = measure(lambda: by_force(mixtures, channels).sum().backward(), runs, device)  # noqa: B023
        print(
            f"MixIT M={m}: inner products {1e3 * ours.median_s:.1f} ms {ours.peak_bytes / 1e6:.0f} "
            f"MB, brute force {1e3 * force.median_s:.1f} ms {force.peak_bytes / 1e6:.0f} MB: "
            f"{force.median_s / ours.median_s:.1f}x"
        )


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clips", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    device = torch.device(given.device)
    n_samples = round(given.seconds * RATE_HZ)
    generator = torch.Generator().manual_seed(0)
    mixtures = 0.1 * torch.randn(given.clips, 2, n_samples, generator=generator)
    mixtures = mixtures.to(device)
    print(machine(device))
    losses(device, given.clips, n_samples, given.runs)
    networks(device, mixtures.sum(1), mixtures, given.runs)


if __name__ == "__main__":
    main()
