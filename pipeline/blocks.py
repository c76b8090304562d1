"""How many rows of a batch to compute at once."""

from torch import Tensor

CPU_BLOCK_SAMPLES = 2**19


def block_rows(waves: Tensor) -> int:
    """Rows of (B, T) waveforms that one call should take: all, but on the CPU about half a minute.

    The spectra of 32 clips of 10 s are several times the size of any cache, and so large that the
    allocator returns them to the system after each operation and gets them back page by page: a
    pitch shift took 59 ms a clip in one call of 32 and 15 ms in calls of three.
    """
    if waves.device.type != "cpu":
        return max(1, len(waves))
    return max(1, CPU_BLOCK_SAMPLES // waves.shape[-1])
