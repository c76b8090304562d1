"""How long a call takes and how much memory it needs, and the machine that says so."""

import datetime
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from counting import Count
from torch.profiler import ProfilerActivity, profile

PROC = Path("/proc/self")
HEAD = ["", "ms, median", "min", "original", "min", "ratio", "memory", "original"]


class Measured(NamedTuple):
    """Wall time of several calls, and the most memory that one took beyond what was held before."""

    median_s: float
    min_s: float
    peak_bytes: int


def measure(call: Callable[[], Any], runs: int, device: torch.device) -> Measured:
    """Times `runs` calls after one that is not counted; waits for the device each time."""
    call()
    times_s = []
    held_bytes = _reset_peak(device)
    for _ in range(runs):
        _wait(device)
        start_s = time.perf_counter()
        call()
        _wait(device)
        times_s.append(time.perf_counter() - start_s)
    return Measured(statistics.median(times_s), min(times_s), _peak(device) - held_bytes)


def machine(device: torch.device) -> str:
    """Device, processor, threads, versions and date in one line."""
    names = [torch.cuda.get_device_name(device)] if device.type == "cuda" else []
    cpu = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return " · ".join(
        [
            *names,
            f"{len(cpu)} x {cpu[0] if cpu else platform.machine()}",
            f"{torch.get_num_threads()} threads",
            f"torch {torch.__version__}",
            f"Python {platform.python_version()}",
            f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        ]
    )


def megabytes(n_bytes: float) -> str:
    """Whole megabytes."""
    return f"{n_bytes / 1e6:,.0f} MB"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A markdown table; all columns but the first are set to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def compare(name: str, n: int, ours: Measured, theirs: Measured | None) -> list[str]:
    """A line under `HEAD`: times for one of n, and the ratio of the medians."""
    cells = [name, *_times(ours, n)]
    if theirs is None:
        return [*cells, "-", "-", "-", megabytes(ours.peak_bytes), "-"]
    ratio = f"{theirs.median_s / ours.median_s:.1f}x"
    return [*cells, *_times(theirs, n), ratio, *(megabytes(x.peak_bytes) for x in (ours, theirs))]


def _times(measured: Measured, n: int) -> list[str]:
    return [f"{1e3 * seconds / n:.3g}" for seconds in (measured.median_s, measured.min_s)]


def limit(call: Callable[[], Any], device: torch.device) -> str:
    """How far a call is from the time that moving its bytes takes, in one sentence.

    The bytes are an estimate, see `Count`: caches make it less, FFTs of several passes more.
    """
    with Count(device.type) as count:
        call()
    block = torch.empty(2**26, device=device)  # 256 MB
    other = torch.empty_like(block)
    copy = measure(lambda: other.copy_(block), 9, device)
    bytes_per_s = 2 * block.numel() * block.element_size() / copy.min_s
    took_s = measure(call, 5, device).min_s
    limit_s = count.moved_bytes / bytes_per_s
    return (
        f"Moves about {megabytes(count.moved_bytes)} (estimated). At the {bytes_per_s / 1e9:,.0f} "
        f"GB/s of a copy that is {1e3 * limit_s:.3g} ms; it takes {1e3 * took_s:.3g} ms: "
        f"{limit_s / took_s:.0%} of the memory bandwidth."
    )


def profile_table(call: Callable[[], Any], device: torch.device, n_rows: int = 12) -> str:
    """The operations that take most of a call's time, by torch's profiler."""
    on_cuda = device.type == "cuda"
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    call()
    with profile(activities=kinds) as profiler:
        call()
        _wait(device)
    key = "self_device_time_total" if on_cuda else "self_cpu_time_total"
    # On CUDA an operation's time is its kernels', which are listed by themselves.
    events = [e for e in profiler.key_averages() if not (on_cuda and e.key.startswith("aten::"))]
    took_us = {event: getattr(event, key) for event in events}
    slowest = sorted(events, key=took_us.__getitem__, reverse=True)[:n_rows]
    total_us = sum(took_us.values())
    rows = [
        [
            f"`{event.key[:60]}`",
            str(event.count),
            f"{took_us[event] / 1e3:.2f}",
            f"{took_us[event] / total_us:.0%}",
        ]
        for event in slowest
    ]
    return table(["operation", "calls", "ms", "share"], rows)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _reset_peak(device: torch.device) -> int:
    """Forgets the peak so far; returns the bytes held now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    (PROC / "clear_refs").write_text("5")  # resets VmHWM, the peak of the resident memory
    return int((PROC / "statm").read_text().split()[1]) * resource.getpagesize()


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = (PROC / "status").read_text().splitlines()
    peak = next(line for line in status if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024
