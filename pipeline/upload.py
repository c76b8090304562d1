"""Many small tensors copied to a device in one piece, without waiting for it."""

from collections.abc import Sequence

import torch
from torch import Tensor

ALIGNED_BYTES = 16  # also what kernels need to read several numbers at once


def upload(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """The tensors of the host on `device`, in one copy; as they are where that is the host.

    Each small copy costs as much of the host's time as a kernel, and a training step's parameters
    are some fifty.
    """
    return list(tensors) if device.type == "cpu" else packed(tensors, device)


def packed(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """The tensors of the host, contiguous, as parts of one tensor on `device`.

    Written by numpy and taken apart by one view each: there are forty, and every operation of
    torch costs the host a microsecond or more.
    """
    arrays = [tensor.numpy() for tensor in tensors]
    rooms = [-(-array.nbytes // ALIGNED_BYTES) * ALIGNED_BYTES for array in arrays]
    # from other memory a device copies only once the host waits for it
    pinned = device.type == "cuda" and torch.cuda.is_available()  # not so where it is counted
    blob = torch.empty(max(ALIGNED_BYTES, sum(rooms)), dtype=torch.uint8, pin_memory=pinned)
    there, begin = blob.numpy(), 0
    for array, room in zip(arrays, rooms, strict=True):
        if array.nbytes:
            part = there[begin : begin + array.nbytes].view(array.dtype)
            part.reshape(array.shape)[...] = array
        begin += room
    copied = blob.to(device, non_blocking=True)
    typed: dict[torch.dtype, Tensor] = {}
    pieces, begin = [], 0
    for tensor, room in zip(tensors, rooms, strict=True):
        dtype, shape = tensor.dtype, tensor.shape
        if dtype not in typed:
            typed[dtype] = copied[: len(copied) // dtype.itemsize * dtype.itemsize].view(dtype)
        pieces.append(typed[dtype].as_strided(shape, _strides(shape), begin // dtype.itemsize))
        begin += room
    return pieces


def _strides(shape: Sequence[int]) -> list[int]:
    """Of a contiguous tensor."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return strides[::-1]
