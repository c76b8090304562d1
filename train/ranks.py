"""The processes of a run, and what they settle together. Rank 0 alone writes and speaks."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from slvr.command.line import DONE
from slvr.train.config import Devices

T = TypeVar("T")


def open_fabric(chosen: Devices, batch: int, unused: bool) -> Fabric:
    """Fabric on the chosen devices; under torchrun one for each process that it has started.

    Args:
        chosen: the devices.
        batch: clips a step, over all processes.
        unused: whether some weights may get no gradient, like those of a task that nobody trains.

    Raises:
        ValueError: no such devices, or a batch that cannot be shared out evenly.
    """
    devices, num_nodes = chosen.devices, chosen.num_nodes
    if dist.is_available() and dist.is_torchelastic_launched():
        n_local, n_all = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        devices, num_nodes = str(n_local), n_all // n_local
    one = num_nodes == 1 and (devices == "1" or devices.endswith(","))
    fabric = Fabric(
        accelerator=chosen.accelerator,
        strategy="auto" if one else DDPStrategy(find_unused_parameters=unused),
        devices=devices,
        num_nodes=num_nodes,
        precision=chosen.precision,
    )
    if batch % fabric.world_size or batch < 2 * fabric.world_size:
        raise ValueError(
            f"--batch {batch}: cannot be shared out to {fabric.world_size} processes; give "
            "a multiple of their number, at least two clips each"
        )
    return fabric


class Ranks:
    """The launched processes of a run; one process alone settles everything at once.

    They talk on the host, so that nobody waits for a GPU to agree on something.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.is_first = fabric.is_global_zero
        self.rank, self.world = fabric.global_rank, fabric.world_size
        self._group = dist.new_group(backend="gloo") if self.world > 1 else None

    def highest(self, number: int) -> int:
        """The highest of the processes' numbers; cheap enough for every step."""
        if self._group is None:
            return number
        highest = torch.tensor(number)
        dist.all_reduce(highest, dist.ReduceOp.MAX, self._group)
        return int(highest)

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """The mean over the processes of each value."""
        parts = self.gather(values)
        return {name: sum(part[name] for part in parts) / len(parts) for name in values}

    def gather(self, part: T) -> list[T]:
        """What each process has, by rank."""
        if self._group is None:
            return [part]
        parts: list[T | None] = [None] * self.world
        dist.all_gather_object(parts, part, self._group)
        return parts  # type: ignore[return-value]

    def from_first(self, value: T) -> T:
        """What rank 0 has."""
        if self._group is None:
            return value
        values = [value]
        dist.broadcast_object_list(values, 0, self._group)
        return values[0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Work in which each process may fail, without talking to the others: then all end.

        Raises:
            ValueError: as `fail`, the error of the lowest rank that has one.
            OSError: likewise.
        """
        error: Exception | None = None
        try:
            yield
        except (ValueError, OSError) as raised:
            error = raised
        for found in self.gather(error):
            if found is not None:
                self.fail(found)

    def fail(self, error: BaseException) -> NoReturn:
        """Ends all processes, which have all come here: rank 0 raises, the others leave silently.

        A launcher that sees another one fail first would kill rank 0 before it has spoken.
        """
        if self.is_first:
            raise error
        raise SystemExit(DONE)
