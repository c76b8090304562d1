"""C for what PyTorch's CPU operations cannot do in one pass; off unless SLVR_NATIVE=1.

Built at first use by the machine's C compiler (`CC`, or `cc`) into `~/.cache/slvr/native`; nothing
is built at install, and without it everything works the same.
Letters: n rows, L frames of the source, K frames of the result, F bins.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

SWITCH = "SLVR_NATIVE"
SOURCE = Path(__file__).with_name("vocoder.c")
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")


def is_on(device: torch.device) -> bool:
    """Whether rows on a device go through C."""
    return device.type == "cpu" and os.environ.get(SWITCH) == "1"


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled functions, built if need be.

    Raises:
        ValueError: no compiler, or it fails.
    """
    compiler = shlex.split(os.environ.get("CC", "cc"))
    line = [*compiler, *FLAGS, str(SOURCE), "-lm", "-o"]
    # what is built for this processor may not run on the next one that shares the home folder
    about = "\0".join([SOURCE.read_text(), *line, platform.machine(), _processor()])
    name = f"vocoder-{hashlib.sha256(about.encode()).hexdigest()[:16]}.so"
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "slvr" / "native"
    built = folder / name
    if not built.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            temporary = folder / f".{os.getpid()}-{name}"  # two processes may build at once
            subprocess.run([*line, str(temporary)], check=True, capture_output=True, text=True)
            temporary.replace(built)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", None) or str(error)
            raise ValueError(
                f"{SWITCH}=1: `{shlex.join(compiler)}` cannot build {SOURCE.name}: "
                f"{said.strip().splitlines()[0]}; install a C compiler, name one in CC, or leave "
                f"{SWITCH} out"
            ) from error
    return ctypes.CDLL(str(built))


def _processor() -> str:
    """What the processor can do, in its own words."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def frame_powers(spectra: Tensor, left: Tensor, between: Tensor) -> Tensor:
    """(n, K) sums of squared magnitudes, read between frames; the outermost bins count half.

    Args:
        spectra: (n, L, F) complex64.
        left: (n, K) int64, the frame before each place.
        between: (n, K) float32, how far behind it.
    """
    n, n_frames = left.shape
    power = torch.empty(n, n_frames)
    run = library().frame_powers
    sizes = ctypes.c_int64(n_frames), ctypes.c_int64(spectra.shape[2])

    def row(i: int) -> None:
        run(*map(_at, (spectra[i], left[i], between[i], power[i])), *sizes)

    _each(row, n)
    return power


def vocode(
    spectra: Tensor,
    left: Tensor,
    between: Tensor,
    anchors: Tensor,
    sources: Tensor,
    advances: Tensor,
) -> Tensor:
    """(n, K, F) complex64 frames whose phases count from those of their anchors.

    Args:
        spectra: (n, L, F) complex64.
        left: as in `frame_powers`.
        between: as in `frame_powers`.
        anchors: (n, K) int64, the frame of the result that each follows.
        sources: (n, K) int64, of each frame as an anchor, the frame of the source it is like.
        advances: (n, K) float64, likewise, radians a bin that it is turned by.
    """
    n, n_frames = left.shape
    n_bins = spectra.shape[2]
    y = torch.empty(n, n_frames, n_bins, dtype=torch.complex64)
    run = library().vocode

    def row(i: int) -> None:
        anchor, lengths = torch.unique_consecutive(anchors[i], return_counts=True)
        begin = torch.zeros(len(anchor) + 1, dtype=torch.int64)
        begin[1:] = lengths.cumsum(0)
        source, advance = sources[i][anchor], advances[i][anchor]
        arrays = (spectra[i], left[i], between[i], begin, anchor, source, advance, y[i])
        run(*map(_at, arrays), ctypes.c_int64(len(anchor)), ctypes.c_int64(n_bins))

    _each(row, n)
    return y


def _at(x: Tensor) -> ctypes.c_void_p:
    assert x.is_contiguous()
    return ctypes.c_void_p(x.data_ptr())


def _each(work: Callable[[int], None], n: int) -> None:
    """Rows in parallel on as many threads as PyTorch has; C holds no lock of Python's."""
    threads = min(torch.get_num_threads(), n)
    if threads < 2:
        for i in range(n):
            work(i)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(n)))
