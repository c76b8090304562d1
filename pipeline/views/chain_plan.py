"""What is drawn for the chains of a batch: the links of each clip's chain and their parameters.

Letters: B clips, V = 2 views, A augmentations (label columns), K longest chain.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slvr.pipeline.augmentations.contract import Params
from slvr.pipeline.views.contract import Step

N_VIEWS = 2


@dataclass(frozen=True)
class ChainPlan:
    """Everything that decides the views of B clips, apart from the clips.

    Attributes:
        names: the augmentations, in the order of the label columns.
        order: (B, K) int64 on the host: indices into `names` as they are applied, -1 after the
            last. Both views share it.
        params: per augmentation and parameter name (V, B, ...) on the host, where what is to be
            done with a clip is looked up without waiting for a device. They are drawn for all
            clips, also those whose chain has no use for them.
        device: of the clips.
        ready: what was done of the views before there were clips, see `Chains.ahead`.
    """

    names: tuple[str, ...]
    order: Tensor
    params: dict[str, Params]
    device: torch.device
    ready: Any = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        """The number of clips B."""
        return len(self.order)

    @cached_property
    def labels(self) -> Tensor:
        """(B, A) float32 on the device: 1 where the augmentation is in the clip's chain."""
        columns = torch.arange(len(self.names))
        labels = (self.order[:, :, None] == columns).any(1).float()
        return labels.to(self.device, non_blocking=True)

    def groups(self, last: Sequence[int] = ()) -> list[tuple[str, Tensor]]:
        """Batched calls in order: an augmentation and the rows, of V * B, that it changes next.

        Whatever most clips wait for comes next, but those of `last` in their order only when no
        clip waits for anything else: no augmentation comes twice in a chain, so of two that are
        held back one takes two calls and the other one.

        Args:
            last: indices into `names`.
        """
        # One column more, so that every clip's position points at something, at last at -1.
        order = np.pad(self.order.numpy(), ((0, 0), (0, 1)), constant_values=-1)
        position = np.zeros((len(self), 1), np.int64)
        groups: list[tuple[str, Tensor]] = []
        while True:
            wanted = np.take_along_axis(order, position, 1)[:, 0]
            waiting = np.bincount(wanted[wanted >= 0], minlength=len(self.names))
            if not waiting.any():
                return groups
            others = waiting.copy()
            others[list(last)] = 0
            index = next((i for i in last if waiting[i]), 0)
            if others.any():
                index = int(others.argmax())
            clips = np.flatnonzero(wanted == index)
            position[clips] += 1
            rows = np.concatenate([clips + view * len(self) for view in range(N_VIEWS)])
            groups.append((self.names[index], torch.from_numpy(rows)))

    def rows(self, first: int, last: int) -> "ChainPlan":
        """The plan of the clips first to last - 1 alone."""
        params = {
            name: {key: value[:, first:last] for key, value in params.items()}
            for name, params in self.params.items()
        }
        return ChainPlan(self.names, self.order[first:last], params, self.device)

    def describe(self, clip: int) -> list[Step]:
        """The chain of one clip for a person to read."""
        return [
            Step(self.names[index], [self._params_of(index, view, clip) for view in range(N_VIEWS)])
            for index in self.order[clip].tolist()
            if index >= 0
        ]

    def _params_of(self, index: int, view: int, clip: int) -> dict[str, float | list[float]]:
        params = self.params[self.names[index]]
        return {key: value[view, clip].tolist() for key, value in params.items()}

    def to_json(self) -> str:
        """A text from which `from_json` restores the plan to the bit."""
        params = {
            name: {
                key: {"dtype": str(value.dtype).removeprefix("torch."), "values": value.tolist()}
                for key, value in params.items()
            }
            for name, params in self.params.items()
        }
        return json.dumps({"names": self.names, "order": self.order.tolist(), "params": params})

    @classmethod
    def from_json(cls, text: str, device: torch.device | str = "cpu") -> "ChainPlan":
        """The plan that `to_json` wrote, on any device."""
        stored = json.loads(text)
        params = {
            name: {
                key: torch.tensor(value["values"], dtype=getattr(torch, value["dtype"]))
                for key, value in params.items()
            }
            for name, params in stored["params"].items()
        }
        order = torch.tensor(stored["order"], dtype=torch.int64)
        return cls(tuple(stored["names"]), order, params, torch.device(device))
