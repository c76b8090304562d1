"""What a GPU would be asked to do, counted without one: kernels, bytes, plans of cuFFT.

Operations run on tensors that have a device, a shape and a layout and hold nothing (torch's
FakeTensorMode), so that the branches for a GPU are taken, and whatever would make the host wait
for it is an error. `tests/benchmarks/kernels.py` prints the counts, `tests/test_kernel_counts.py`
holds them.
"""

import ctypes
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CUDA = torch.device("cuda:0")  # without an index a build without CUDA is asked for the current one
ALLOCATES = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "resize_"}
RENAMES = {"_unsafe_view", "record_stream", "set_"}
ONLY_WRITES = {"copy_", "fill_", "zero_", "uniform_", "normal_", "random_", "bernoulli_"}
LIKE = {"zeros_like", "ones_like", "full_like", "rand_like", "randn_like"}
LIKE |= {"new_zeros", "new_ones", "new_full"}
"""They take shape and type of their operand and do not read it."""
PICKS = {"index_select", "gather", "index", "take", "embedding"}
"""They read no more of their first operand than they give."""
PUTS = {"index_copy_", "index_put_", "_index_put_impl_", "scatter_", "masked_scatter_"}
"""They write no more of their first operand than they are given."""
FFTS = {"_fft_r2c", "_fft_c2r", "_fft_c2c"}
# Of torch's MultiTensorApply.cuh: lists that one launch takes at once -> tensors of each
TENSORS_A_LAUNCH = {1: 110, 2: 64, 3: 48, 4: 36, 5: 30}
BLOCKS_A_LAUNCH, BLOCK_VALUES = 320, 65_536


class FFTPlan(NamedTuple):
    """What cuFFT keeps a plan for."""

    kind: str
    dtype: torch.dtype
    lengths: tuple[int, ...]
    batch: int


class Count(TorchDispatchMode):
    """Counts what runs inside of it on one kind of device.

    Bytes are those that every operation reads and writes, each operand once and from memory: what
    fits the caches takes less, and what passes over its input several times (statistics of a batch
    norm, long FFTs) takes more. Kernels are the fewest there can be, one an operation, but for
    what torch is known to launch besides; see `unseen_on_cuda`.

    Args:
        device_type: `"cuda"`, or `"cpu"` for networks, whose operations are the same on both.

    Attributes:
        kernels: launches.
        moved_bytes: read and written.
        host_operations: whatever goes through torch's dispatcher, on any device, those that launch
            nothing included: each takes microseconds of the host.
        uploads: copies from the host.
        waits: copies during which the host waits.
        plans: the plans of cuFFT that are needed; each is slow to make, and then kept.
        by_operation: name -> bytes.
    """

    def __init__(self, device_type: str) -> None:
        super().__init__()
        self.device_type = device_type
        self.kernels = self.moved_bytes = self.host_operations = self.uploads = self.waits = 0
        self.plans: set[FFTPlan] = set()
        self.by_operation: Counter[str] = Counter()

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = op(*args, **kwargs)
        # A fake tensor's C++ side asks for its device this way. Taken for an operation it moved
        # more than all others together.
        if op.namespace == "prim":
            return result
        self.host_operations += 1
        name = op._schema.name.partition("::")[2]
        if op.is_view or name in ALLOCATES | RENAMES:
            return result
        read, written = operands(op, name, args, kwargs, result)
        devices = {device_type(x) for x in (*read, *written)}
        if self.device_type not in devices:
            return result
        if len(devices) > 1 and name in ("_to_copy", "copy_"):
            self.uploads += 1
            blocking = not (args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
            self.waits += blocking
        else:
            self.kernels += launches(name, args, (*read, *written))
        n_bytes = sum((*read.values(), *written.values()))
        if self.device_type == "cuda":
            n_kernels, unseen_bytes = unseen_on_cuda(name, args, result)
            self.kernels += n_kernels
            n_bytes += unseen_bytes
        if name in FFTS:
            self.plans.add(plan_of(name, args, result))
        self.moved_bytes += n_bytes
        self.by_operation[name] += n_bytes
        return result


def operands(
    op: Any, name: str, args: Any, kwargs: Any, result: Any
) -> tuple[dict[Tensor, int], dict[Tensor, int]]:
    """What an operation reads and what it writes: tensor -> bytes, each tensor once in either."""
    changed = [
        x
        for i, argument in enumerate(op._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
        for x in tensors_in(args[i] if i < len(args) else kwargs.get(argument.name))
    ]
    overwritten = name in ONLY_WRITES or op._overloadname.endswith("out")
    given = {x: memory_bytes(x) for x in tensors_in((args, kwargs))}
    made = result if isinstance(result, tuple) else (result,)
    returns = zip(made, op._schema.returns, strict=bool(op._schema.returns))
    new = tensors_in([x for x, declared in returns if declared.alias_info is None])
    read = {x: n for x, n in given.items() if not (overwritten and is_one_of(x, changed))}
    written = {x: memory_bytes(x) for x in (*changed, *new)}
    if name in LIKE:
        read = {}
    if name in PICKS:
        source = tensors_in(args)[0]
        read[source] = min(read[source], sum(written.values()))
    if name in PUTS:
        target, *others = tensors_in(args)
        read.pop(target)
        written[target] = min(written[target], max(memory_bytes(x) for x in others))
    return read, written


def tensors_in(values: Any) -> list[Tensor]:
    """The tensors in any nest of lists and dicts."""
    return [x for x in tree_leaves(values) if isinstance(x, Tensor)]


def is_one_of(x: Tensor, tensors: Sequence[Tensor]) -> bool:
    """Whether it is the same object as one of them; `in` would compare their values."""
    return any(x is y for y in tensors)


def device_type(x: Tensor) -> str:
    """Its device, of a fake tensor without going through the dispatcher."""
    return x.fake_device.type if isinstance(x, FakeTensor) else x.device.type


def memory_bytes(x: Tensor) -> int:
    """The memory that lies behind a tensor.

    What is expanded counts once, and overlapping windows of a waveform as the waveform.
    """
    values = math.prod(n for n, step in zip(x.shape, x.stride(), strict=True) if step)
    return min(values * x.element_size(), x.untyped_storage().nbytes())


def launches(name: str, args: Any, tensors: Sequence[Tensor]) -> int:
    """How many kernels an operation takes at least, as the dispatcher sees it."""
    if name == "convolution_backward":  # gradients of input, weight and bias that are asked for
        return sum(args[-1][:2])
    if name.startswith(("_foreach_", "_fused_")):
        lists = [x for x in args if isinstance(x, (list, tuple)) and tensors_in(x)]
        blocks = sum(-(-x.numel() // BLOCK_VALUES) for x in lists[0])
        n_lists = max(1, min(5, len(lists) if name.endswith("_") else len(lists) + 1))
        by_tensors = -(-len(lists[0]) // TENSORS_A_LAUNCH[n_lists])
        return max(by_tensors, -(-blocks // BLOCKS_A_LAUNCH))
    return 1


def unseen_on_cuda(name: str, args: Any, result: Any) -> tuple[int, int]:
    """Kernels and bytes that an operation adds on CUDA behind the dispatcher.

    An FFT whose batch is no regular grid (overlapping frames of several clips) gets a copy of it;
    to real values it gets a copy always, since cuFFT overwrites its input; and one that is
    normalised is scaled by a kernel of its own (torch's SpectralOps.cpp).
    """
    if name not in FFTS:
        return 0, 0
    x, dim, normalisation = args[:3]
    kernels = moved_bytes = 0
    if name == "_fft_c2r" or not collapses(x, dim):
        kernels += 1
        moved_bytes += memory_bytes(x) + x.numel() * x.element_size()
    if normalisation:
        kernels += 1
        moved_bytes += 2 * memory_bytes(result)
    return kernels, moved_bytes


def collapses(x: Tensor, dim: Sequence[int]) -> bool:
    """Whether all but the transformed dimensions are one, as far as their strides go."""
    kept = [i for i in range(x.ndim) if i not in {d % x.ndim for d in dim} and x.shape[i] > 1]
    kept.sort(key=x.stride, reverse=True)
    return all(
        x.stride(outer) == x.stride(inner) * x.shape[inner] for outer, inner in pairwise(kept)
    )


def plan_of(name: str, args: Any, result: Tensor) -> FFTPlan:
    """The plan of an FFT."""
    x, dim = args[0], args[1]
    lengths = tuple(max(x.shape[d], result.shape[d]) for d in dim)
    return FFTPlan(name, x.dtype, lengths, x.numel() // math.prod(x.shape[d] for d in dim))


class _HostForReal(TorchDispatchMode):
    """What stays on the host is computed there, so that it may be looked at."""

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        on_host = device is None or torch.device(device).type == "cpu"
        if on_host and not any(isinstance(x, FakeTensor) for x in tree_leaves((args, kwargs))):
            with unset_fake_temporarily():
                return op(*args, **kwargs)
        return op(*args, **kwargs)


class _HostGenerator(torch.Generator):
    """A generator of the host for any device: what is drawn on CUDA has no values here."""

    def __new__(cls, device: Any = "cpu") -> "_HostGenerator":
        return super().__new__(cls)


@contextmanager
def fake_cuda() -> Iterator[None]:
    """Inside, tensors on `CUDA` hold nothing, and those on the host are as ever.

    No gradients: a build without CUDA cannot go backwards on it.

    Raises:
        RuntimeError: torch is built otherwise than expected.
    """
    with (
        _device_guard(),
        patch.object(torch, "Generator", _HostGenerator),
        FakeTensorMode(allow_non_fake_inputs=True),
        _HostForReal(),
        torch.no_grad(),
    ):
        yield


@contextmanager
def _device_guard() -> Iterator[None]:
    """A guard that does nothing for devices of CUDA, where torch is built without.

    C++ looks one up before it indexes a tensor. A build with CUDA has one, which FakeTensorMode
    replaces by such a one where there is no GPU; here that of the `meta` device is lent to it.
    """
    kinds = torch._C._autograd.DeviceType
    cuda, meta = int(kinds.CUDA), int(kinds.Meta)
    try:
        library = next((Path(torch.__file__).parent / "lib").glob("libc10.*"))
        table = (ctypes.c_void_p * (meta + 1)).in_dll(
            ctypes.CDLL(str(library)), "_ZN3c104impl26device_guard_impl_registryE"
        )
    except (StopIteration, OSError, ValueError) as error:
        raise RuntimeError(
            f"torch {torch.__version__}: no table of device guards in its libc10; count with a "
            "build for Linux"
        ) from error
    missing = table[cuda] is None
    if missing:
        table[cuda] = table[meta]
    try:
        yield
    finally:
        if missing:
            table[cuda] = None
