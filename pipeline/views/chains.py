"""Two views of every clip: a chain of augmentations drawn clip by clip, applied to the batch.

A view maker samples a plan from a seed (``sample(n, seed, device)``), applies it
(``apply(waves, plan)`` -> (V, B, T)) and states what it did (``plan.labels``). Views made another
way, such as two crops or the channels of a separated mixture, are a file beside this one with the
same three members.

Letters: B clips, V = 2 views, T samples, A augmentations (label columns), K longest chain.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from slvr.pipeline.augmentations import DEFAULT, Augmentation, Comparable, Params
from slvr.pipeline.blocks import block_rows

N_VIEWS = 2


class Step(NamedTuple):
    """One link of a clip's chain: the augmentation and its parameters in each view."""

    name: str
    params: list[dict[str, float | list[float]]]


@dataclass(frozen=True)
class Plan:
    """Everything that decides the views of B clips, apart from the clips.

    Attributes:
        names: The augmentations, in the order of the label columns.
        order: (B, K) int64 on the host: indices into ``names`` as they are applied, -1 after the
            last. Both views share it.
        params: Per augmentation and parameter name (V, B, ...) on the device of the clips.
            They are drawn for all clips, also those whose chain has no use for them.
        device: Where ``params`` lie.
    """

    names: tuple[str, ...]
    order: Tensor
    params: dict[str, Params]
    device: torch.device

    def __len__(self) -> int:
        """The number of clips B."""
        return len(self.order)

    @cached_property
    def labels(self) -> Tensor:
        """(B, A) float32 on the device: 1 where the augmentation is in the clip's chain."""
        columns = torch.arange(len(self.names))
        labels = (self.order[:, :, None] == columns).any(1).float()
        return labels.to(self.device, non_blocking=True)

    @cached_property
    def groups(self) -> list[tuple[str, Tensor]]:
        """Batched calls in order: an augmentation and the rows, of V * B, that it changes next.

        Whatever most clips wait for comes next: about 29 calls for 100 clips of up to seven
        augmentations, where one call for each position and augmentation would make 46. The
        grouping is worked out on the host and uploaded at once, so that applying it never waits
        for the device.
        """
        # One column more, so that every clip's position points at something, at last at -1.
        order = np.pad(self.order.numpy(), ((0, 0), (0, 1)), constant_values=-1)
        position = np.zeros((len(self), 1), np.int64)
        names, rows = [], []
        while True:
            wanted = np.take_along_axis(order, position, 1)[:, 0]
            waiting = np.bincount(wanted[wanted >= 0], minlength=len(self.names))
            if not waiting.any():
                break
            index = int(waiting.argmax())
            clips = np.flatnonzero(wanted == index)
            position[clips] += 1
            names.append(self.names[index])
            rows.append(np.concatenate([clips + view * len(self) for view in range(N_VIEWS)]))
        if not rows:
            return []
        uploaded = torch.from_numpy(np.concatenate(rows)).to(self.device, non_blocking=True)
        return list(zip(names, torch.split(uploaded, [len(r) for r in rows]), strict=True))

    def rows(self, first: int, last: int) -> "Plan":
        """The plan of the clips first to last - 1 alone."""
        params = {
            name: {key: value[:, first:last] for key, value in params.items()}
            for name, params in self.params.items()
        }
        return Plan(self.names, self.order[first:last], params, self.device)

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
        """A text from which ``from_json`` restores the plan to the bit."""
        params = {
            name: {
                key: {"dtype": str(value.dtype).removeprefix("torch."), "values": value.tolist()}
                for key, value in params.items()
            }
            for name, params in self.params.items()
        }
        return json.dumps({"names": self.names, "order": self.order.tolist(), "params": params})

    @classmethod
    def from_json(cls, text: str, device: torch.device | str = "cpu") -> "Plan":
        """The plan that ``to_json`` wrote, on any device."""
        stored = json.loads(text)
        params = {
            name: {
                key: torch.tensor(value["values"], dtype=getattr(torch, value["dtype"])).to(device)
                for key, value in params.items()
            }
            for name, params in stored["params"].items()
        }
        order = torch.tensor(stored["order"], dtype=torch.int64)
        return cls(tuple(stored["names"]), order, params, torch.device(device))


class Views:
    """Paired views through chains of augmentations.

    Per clip k ~ U{min_ops .. max_ops} of the augmentations are chosen without replacement, in
    random order. Both views take the same chain, each with parameters of its own.

    Args:
        augmentations: What to choose from; any object that keeps the contract of
            ``slvr.pipeline.augmentations.contract`` can join and gets a label column.
        min_ops: Shortest chain; 0 leaves some clips as they are.
        max_ops: Longest chain; all augmentations if not given.

    Raises:
        ValueError: Two augmentations of one name, or a range of k that cannot be drawn.

    Attributes:
        augmentations: By name, in the order of the label columns.
        quantities: The columns of ``differences``, as augmentation.parameter, each with the label
            column of its augmentation.
    """

    def __init__(
        self,
        augmentations: Sequence[Augmentation] = DEFAULT,
        min_ops: int = 1,
        max_ops: int | None = None,
    ) -> None:
        self.augmentations = {augmentation.name: augmentation for augmentation in augmentations}
        self.min_ops = min_ops
        self.max_ops = len(augmentations) if max_ops is None else max_ops
        if len(self.augmentations) != len(augmentations):
            names = [augmentation.name for augmentation in augmentations]
            raise ValueError(f"views: augmentation names must differ, got {names}")
        if not 0 <= self.min_ops <= self.max_ops <= len(augmentations):
            raise ValueError(
                f"views: expected 0 <= min_ops <= max_ops <= {len(augmentations)} augmentations, "
                f"got min_ops {self.min_ops}, max_ops {self.max_ops}"
            )
        columns = list(self.augmentations)
        self.quantities = {
            f"{name}.{quantity}": columns.index(name)
            for name, differences in self._differences(self.sample(1, 0)).items()
            for quantity in differences
        }

    def sample(self, n: int, seed: int | Sequence[int], device: torch.device | str = "cpu") -> Plan:
        """A plan for n clips.

        Chains are drawn on the host, because they steer the grouping, and parameters on the
        device, both from ``seed`` alone: no state to save, and ``seed=(run_seed, step)`` resumes
        anywhere. The same seed gives the same chains on every device, and the same parameters on
        every device of one kind.
        """
        device = torch.device(device)
        chain_seed, param_seed = np.random.SeedSequence(seed).generate_state(2, np.uint64).tolist()
        host = torch.Generator().manual_seed(chain_seed)
        on_device = torch.Generator(device).manual_seed(param_seed)

        shuffled = torch.rand(n, len(self.augmentations), generator=host).argsort(1)
        k = torch.randint(self.min_ops, self.max_ops + 1, (n, 1), generator=host)
        order = torch.where(torch.arange(self.max_ops) < k, shuffled[:, : self.max_ops], -1)
        params = {
            name: {
                key: value.view(N_VIEWS, n, *value.shape[1:])
                for key, value in augmentation.sample(N_VIEWS * n, on_device, device).items()
            }
            for name, augmentation in self.augmentations.items()
        }
        return Plan(tuple(self.augmentations), order, params, device)

    def differences(self, plan: Plan) -> Tensor:
        """(B, P) float32 in [-1, 1] on the device: parameters of the first view less the second's.

        They are there for all clips; those count where the augmentation's label is 1.
        """
        columns = [column for each in self._differences(plan).values() for column in each.values()]
        return torch.stack(columns, 1) if columns else plan.labels.new_zeros(len(plan), 0)

    def _differences(self, plan: Plan) -> dict[str, Params]:
        """For each augmentation that can compare draws, parameter name -> (B,)."""
        return {
            name: augmentation.differences(
                *({key: value[view] for key, value in plan.params[name].items()} for view in (0, 1))
            )
            for name, augmentation in self.augmentations.items()
            if isinstance(augmentation, Comparable)
        }

    def apply(self, waves: Tensor, plan: Plan) -> Tensor:
        """(B, T) float32 or bfloat16 -> (V, B, T) of the same dtype.

        The rows that wait for the same augmentation go through it together, both views in one
        call; on the CPU in blocks that stay near its caches.

        Raises:
            ValueError: The plan is for another number of clips or other augmentations.
        """
        if waves.ndim != 2 or len(waves) != len(plan):
            raise ValueError(
                f"views: expected waves ({len(plan)}, T) for a plan of {len(plan)} clips, got "
                f"{tuple(waves.shape)}"
            )
        if plan.names != tuple(self.augmentations):
            raise ValueError(
                f"views: the plan was sampled for {plan.names}, this chain has "
                f"{tuple(self.augmentations)}: make Views with the plan's augmentations"
            )
        views = waves.repeat(N_VIEWS, 1)
        for name, rows in plan.groups:
            for block in torch.split(rows, block_rows(waves)):
                params = {
                    key: value.flatten(0, 1).index_select(0, block)
                    for key, value in plan.params[name].items()
                }
                changed = self.augmentations[name].apply(views.index_select(0, block), params)
                views.index_copy_(0, block, changed)
        return views.view(N_VIEWS, *waves.shape)
