"""A training step of simclr-parallel, against the structure of the original.

    python tests/benchmarks/step.py
    python tests/benchmarks/step.py --device cuda --clips 100

The original's structure, written afresh: clips augmented one by one, three channels from two
transforms, each view a batch of its own that passes the whole network once for each task, adapters
beside their convolutions, NT-Xent from a (2B, 2B, D) tensor. Both networks begin with the same
weights and must agree on the first loss. They take their steps in turns; memory is that of a
process which does one of them alone. "In bf16" is ours under autocast, against the original in
float32. Operations and bytes are counted without computing: what every operation reads and writes,
see counting.py. Other recipes on a GPU: training.py.
"""

import argparse
import resource
import subprocess
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from augmentations import original_augmentations, original_views, our_views, ta
from counting import Count
from frontend import Original as OriginalFrontEnd
from measure import Measured, machine, measure, megabytes, profile_table, table
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from slvr.model.encoders.resnet18 import ResNet18
from slvr.model.learner import TOTAL, Head, Learner
from slvr.model.objectives.contract import Known
from slvr.model.objectives.mlap import MLAP
from slvr.model.objectives.simclr import SimCLR
from slvr.pipeline.frontends.mtslvr import MTSLVR
from slvr.pipeline.views.chains import Chains

RATE_HZ = 16_000
TEMPERATURE = 0.07
WAYS = ("ours", "original")
PARTS = {"network": "network, forward + backward + Adam", "step": "whole step"}


class Conv(nn.Module):
    """3x3 convolution with 1x1 adapters beside it, and norms, by task."""

    def __init__(self, n_in: int, n_out: int, stride: int, n_tasks: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        adapters = [nn.Conv2d(n_in, n_out, 1, stride, bias=False) for _ in range(n_tasks)]
        self.adapters = nn.ModuleList(adapters)
        self.norms = nn.ModuleList(nn.BatchNorm2d(n_out) for _ in range(n_tasks))

    def forward(self, x: Tensor, task: int) -> Tensor:
        """(B, C, F, L) of one task."""
        task %= len(self.norms)
        return self.norms[task](self.conv(x) + self.adapters[task](x))


class Block(nn.Module):
    """Residual block; its shortcut averages and adds channels of zeros."""

    def __init__(self, n_in: int, n_out: int, stride: int, n_tasks: int) -> None:
        super().__init__()
        self.conv1 = Conv(n_in, n_out, stride, n_tasks)
        self.conv2 = Conv(n_out, n_out, 1, n_tasks)

    def forward(self, x: Tensor, task: int) -> Tensor:
        """(B, C, F, L) of one task."""
        y = self.conv2(F.relu(self.conv1(x, task)), task)
        if x.shape != y.shape:
            x = F.adaptive_avg_pool2d(x, y.shape[2:])
            x = torch.cat([x, torch.zeros_like(x)], dim=1)
        return F.relu(y + x)


class OriginalNetwork(nn.Module):
    """Backbone and heads; its state dict has the names of ours."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        n_in = width
        for i in range(4):
            n_out, n_tasks = width << i, 2 if i else 1
            blocks = Block(n_in, n_out, 2 if i else 1, n_tasks), Block(n_out, n_out, 1, n_tasks)
            self.register_module(f"layer{i + 1}", nn.ModuleList(blocks))
            n_in = n_out
        self.end_norms = nn.ModuleList(nn.BatchNorm2d(n_in) for _ in range(2))
        self.heads = nn.ModuleList(nn.Linear(n_in, dim // 2) for _ in range(2))

    def forward(self, x: Tensor, task: int) -> Tensor:
        """(B, 3, F, L) -> (B, D) of one task."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in layer:
                x = block(x, task)
        return self.heads[task](F.relu(self.end_norms[task](x)).mean((2, 3)))


class OriginalModel(nn.Module):
    """Four passes of the network, NT-Xent and the labels' cross-entropy."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.encoder = OriginalNetwork(width, dim)
        heads = {"simclr": SimCLR(dim // 2), "mlap": MLAP(dim // 2, Chains().columns)}
        self.heads = nn.ModuleDict(heads)

    def forward(self, views: Tensor, known: Known) -> Tensor:
        """The joint loss."""
        z = torch.cat([self.heads.simclr.projector(self.encoder(x, 0)) for x in views])
        similarity = F.cosine_similarity(z[:, None], z[None], dim=2) / TEMPERATURE
        itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
        partner = torch.arange(len(z), device=z.device).roll(len(views[0]))
        contrastive = F.cross_entropy(similarity.masked_fill(itself, -torch.inf), partner)
        logits = self.heads.mlap.head(torch.cat([self.encoder(x, 1) for x in views]))
        labels = torch.cat([known["labels"], known["labels"]])
        return contrastive + F.binary_cross_entropy_with_logits(logits, labels)


class OurModel(Learner):
    """The one that `train` trains."""

    def __init__(self, width: int, dim: int) -> None:
        views = Chains()
        heads = {
            "simclr": Head(SimCLR(dim // 2, TEMPERATURE), "contrastive"),
            "mlap": Head(MLAP(dim // 2, views.columns), "predictive"),
        }
        super().__init__(ResNet18("parallel", dim, width), heads, views.knows)

    def forward(self, views: Tensor, known: Known) -> Tensor:
        """The joint loss."""
        return super().forward(views, known)[TOTAL]


def network_step(
    way: str, args: argparse.Namespace, device: torch.device, n_clips: int, bf16: bool = False
) -> Callable[..., Tensor]:
    """Forward and backward pass and Adam of one way, as a function of (views, known)."""
    torch.manual_seed(0)
    model = ours = OurModel(args.width, 1000)
    if way == "original":
        model = OriginalModel(args.width, 1000)
        model.load_state_dict(ours.state_dict())
    if device.type != "cpu":  # where fake tensors are counted, which cannot be moved
        model.to(device)
    fused = way == "ours" and device.type == "cuda"  # as in slvr.train.loop
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-5, weight_decay=1e-6, fused=fused)
    torch.manual_seed(1)
    n_frames = round(args.seconds * RATE_HZ) // 512 + 1
    images = torch.randn(2, n_clips, 3, 128, n_frames, device=device)
    labels = (torch.rand(n_clips, 7, device=device) < 0.5).float()
    synthetic = images, {"labels": labels}

    def step(*batch: Tensor | Known) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = model(*(batch or synthetic))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        return loss.detach()

    return step


def whole_step(
    way: str, args: argparse.Namespace, device: torch.device, bf16: bool = False
) -> Callable[[], Tensor]:
    """Augmentation, front end and network of one way."""
    step = network_step(way, args, device, args.clips, bf16)
    waves = 0.1 * torch.randn(args.clips, round(args.seconds * RATE_HZ), device=device)
    views = Chains()
    plan = views.sample(len(waves), seed=0)
    known = {"labels": plan.labels.to(device)}
    front_end = (MTSLVR if way == "ours" else OriginalFrontEnd)().to(device)
    original = original_augmentations(waves.shape[1]) if way == "original" else {}

    def whole() -> Tensor:
        if way == "ours":
            images = front_end(our_views(waves, views).flatten(0, 1)).unflatten(0, (2, len(waves)))
        else:
            made = original_views(waves, plan, original)
            images = torch.stack([front_end(view) for view in made])
        return step(images, known)

    return whole


def interleaved(
    calls: dict[str, Callable[[], Tensor]], runs: int, device: torch.device
) -> dict[str, Measured]:
    """Times of several calls that take turns."""
    rounds = [{name: measure(call, 1, device) for name, call in calls.items()} for _ in range(runs)]
    times_s = {name: sorted(r[name].median_s for r in rounds) for name in calls}
    return {name: Measured(t[len(t) // 2], t[0], 0) for name, t in times_s.items()}


def ways_of(part: str) -> tuple[str, ...]:
    """The original's whole step is there where the library is that augments for it."""
    return WAYS if ta or part == "network" else WAYS[:1]


def milliseconds(measured: Measured | None) -> list[str]:
    """Median and least, or a dash for each."""
    if measured is None:
        return ["-", "-"]
    return [f"{1e3 * seconds:,.4g}" for seconds in (measured.median_s, measured.min_s)]


def ratio(times: dict[str, Measured], way: str) -> str:
    """How many times as fast as the original, where that was measured."""
    if "original" not in times:
        return "-"
    return f"{times['original'].median_s / times[way].median_s:.2f}x"


def counted(way: str, args: argparse.Namespace, n_clips: int) -> tuple[float, float]:
    """Floating-point operations and bytes of a network step, not computed."""
    with FakeTensorMode():
        step = network_step(way, args, torch.device("cpu"), n_clips)
        with FlopCounterMode(display=False) as flops, Count("cpu") as count:
            step()
    return flops.get_total_flops(), count.moved_bytes


def peak_bytes(way: str, part: str, args: argparse.Namespace) -> int:
    """Peak resident memory of a process that takes three steps."""
    command = [sys.executable, __file__, "--alone", way, part, "--width", str(args.width)]
    command += ["--clips", str(args.clips), "--seconds", str(args.seconds)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--alone", nargs=2, metavar=("WAY", "PART"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    device = torch.device(args.device)

    def make(way: str, part: str, bf16: bool = False) -> Callable[[], Tensor]:
        if part == "network":
            return network_step(way, args, device, args.clips, bf16)
        return whole_step(way, args, device, bf16)

    if args.alone:
        call = make(*args.alone)
        for _ in range(3):
            call()
        print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return

    # first: a process inherits the peak of the one that starts it
    on_cpu = device.type == "cpu"
    memory = {
        part: [
            megabytes(peak_bytes(way, part, args)) if on_cpu and way in ways_of(part) else "-"
            for way in WAYS
        ]
        for part in PARTS
    }
    losses = [float(make(way, "network")()) for way in WAYS]
    assert abs(losses[0] - losses[1]) < 1e-3 * losses[1], f"not the same network: {losses}"
    rows = []
    for part, name in PARTS.items():
        calls = {way: make(way, part) for way in ways_of(part)} | {"bf16": make("ours", part, True)}
        times = interleaved(calls, args.runs, device)
        row = [name]
        for way in WAYS:
            row += milliseconds(times.get(way))
        bf16 = milliseconds(times["bf16"])[:1]
        rows.append([*row, ratio(times, "ours"), *bf16, ratio(times, "bf16"), *memory[part]])
    print(f"### Training step, simclr-parallel, {args.clips} clips of {args.seconds:g} s\n")
    print(f"{machine(device)}; {args.runs} runs in turns; ms a step.\n")
    head = ["", "median", "min", "original", "min", "ratio", "in bf16", "ratio"]
    print(table([*head, "peak memory", "original"], rows))
    if device.type == "cuda":
        slowest = profile_table(make("ours", "network", True), device)
        print(f"\nThe network's step in bf16:\n\n{slowest}")
    rows = []
    for n_clips in (8, 100):
        values = [counted(way, args, n_clips) for way in WAYS]
        row = [f"{n_clips} clips"]
        for i, unit in enumerate((1e12, 1e9)):
            ours, original = (value[i] / unit for value in values)
            row += [f"{ours:.3g}", f"{original:.3g}", f"{original / ours:.2f}x"]
        rows.append(row)
    print("\n### Operations and bytes of a network step, counted\n")
    head = ["", "TFLOP", "original", "ratio", "GB moved", "original", "ratio"]
    print(table(head, rows))


if __name__ == "__main__":
    main()
