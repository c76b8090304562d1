"""What the CPU does block by block, and leaves out, where a device takes the whole batch at once.

A device computes all rows of a batch by the same operations: to look at its numbers would make the
host wait. On the CPU looking costs nothing, and memory is what costs: temporaries that are larger
than its caches, above all those that are given back to the system after each operation and come
again page by page.
"""

from collections.abc import Callable

import torch
from torch import Tensor

# Six clips of 10 s. Fewer would not pay for the plan that every call of an FFT makes: for a single
# clip that takes four times as long as the FFT of its 160,000 samples.
CPU_BLOCK_SAMPLES = 2**20


def may_look(device: torch.device) -> bool:
    """Whether numbers on a device may be looked at: on the CPU alone, where nothing waits for it.

    All branches between the CPU and a device hang on this, so that a test can take a device's.
    """
    return device.type == "cpu"


def block_rows(waves: Tensor, cpu_samples: int = CPU_BLOCK_SAMPLES) -> int:
    """Rows of (n, T) waveforms for one call: all of them; on the CPU about `cpu_samples`."""
    if not may_look(waves.device):
        return max(1, len(waves))
    return max(1, cpu_samples // waves.shape[-1])


def in_blocks(compute: Callable[..., Tensor], n_rows: int, *operands: Tensor) -> Tensor:
    """`compute(*operands)`, by `n_rows` rows of each operand at a time."""
    if n_rows >= len(operands[0]):
        return compute(*operands)
    blocks = zip(*(torch.split(operand, n_rows) for operand in operands), strict=True)
    return torch.cat([compute(*block) for block in blocks])


def rows_apart(mask: Tensor) -> list[Tensor | slice]:
    """Rows to compute apart: on the CPU where `mask` (n,) is true and where not, else all."""
    if not may_look(mask.device):
        return [slice(None)]
    return [rows for rows in (mask.nonzero()[:, 0], (~mask).nonzero()[:, 0]) if len(rows)]


def maybe_any(mask: Tensor) -> bool:
    """Whether an entry may be true: looked up on the CPU, assumed elsewhere."""
    return not may_look(mask.device) or bool(mask.any())


def known_max(x: Tensor, limit: int) -> int:
    """The greatest entry, at most `limit`: looked up on the CPU, `limit` itself elsewhere."""
    return min(limit, int(x.max())) if may_look(x.device) else limit


def distinct(index: Tensor) -> tuple[Tensor, Tensor | None]:
    """The different entries of (k,), and which of them each is; elsewhere all, and None."""
    if not may_look(index.device):
        return index, None
    found, which = torch.unique(index, return_inverse=True)
    return found, which


def irfft_(spectra: Tensor, n: int) -> Tensor:
    """(..., F) complex -> (..., n), n even, whatever the spectra say of 0 Hz and half the rate.

    No wave has an imaginary part there. The CPU's libraries pass over one, cuFFT does not, for
    some lengths: stretched noise had an error of 2%. F is n / 2 + 1, or less: the rest is 0.
    """
    if not may_look(spectra.device):
        torch.view_as_real(spectra)[..., :: n // 2, 1] = 0
    wave: Tensor = torch.fft.irfft(spectra, n=n)
    return wave
