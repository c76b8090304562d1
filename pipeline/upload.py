"""Many small tensors copied to a device in one piece, without waiting for it."""

from collections.abc import Sequence

import torch
from torch import Tensor

ALIGNED_BYTES = 16  # also what kernels need to read several numbers at once
_NOTHING = torch.zeros(0, dtype=torch.uint8)


def upload(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """The tensors of the host on `device`, in one copy; as they are where that is the host.

    Each small copy costs as much of the host's time as a kernel, and a training step's parameters
    are some fifty.
    """
    return list(tensors) if device.type == "cpu" else packed(tensors, device)


def packed(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """The tensors of the host, contiguous, as parts of one tensor on `device`."""
    # the strides of what has no entries may be anything, and bytes have none of them
    flat = [
        tensor.contiguous().view(-1).view(torch.uint8) if tensor.numel() else _NOTHING
        for tensor in tensors
    ]
    rooms = [-(-len(part) // ALIGNED_BYTES) * ALIGNED_BYTES for part in flat]
    # from other memory a device copies only once the host waits for it
    pinned = device.type == "cuda" and torch.cuda.is_available()  # not so where it is counted
    blob = torch.zeros(sum(rooms), dtype=torch.uint8, pin_memory=pinned)
    for piece, part in zip(torch.split(blob, rooms), flat, strict=True):
        piece[: len(part)] = part
    pieces = torch.split(blob.to(device, non_blocking=True), rooms)
    return [
        piece[: len(part)].view(tensor.dtype).reshape(tensor.shape)
        for piece, part, tensor in zip(pieces, flat, tensors, strict=True)
    ]
