"""torch-audiomentations' transforms in our chains, and our augmentations in its `Compose`.

The library draws parameters when a transform is called, from the generators that all of a process
share, and several of its transforms draw again while they compute. In a chain each row therefore
has a seed of its own in the plan, and runs alone, with the shared generators set to it meanwhile.

Letters: n rows, C channels, T samples.
"""

import ast
import copy
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slvr.pipeline.augmentations.contract import Augmentation, Params
from slvr.pipeline.torchaudio_import import functional as _torchaudio  # noqa: F401
from slvr.shards.clip import SAMPLE_RATE_HZ

# isort: split
from torch_audiomentations.core.transforms_interface import BaseWaveformTransform
from torch_audiomentations.utils.object_dict import ObjectDict

_LINE = re.compile(r"(?P<place>.+?)[.:](?P<name>[^\W\d]\w*)\s*(?P<call>\(.*)?", re.DOTALL)


def augmentation_from(text: str, load: Callable[[str, str], Any]) -> Augmentation:
    """The augmentation that a line of configuration names.

    The label column of a transform of torch-audiomentations is named by the line, others have
    names of their own.

    Args:
        text: `package.Class`, `package.module:Class` or `./file.py:Class`, with or without
            `(option=value, ...)` of plain values, for example
            `torch_audiomentations.Gain(max_gain_in_db=0)`. The class is a transform of
            torch-audiomentations, or one that keeps `slvr.pipeline.augmentations.contract`.
        load: what finds the class of `package.module:Class`; see `slvr.pipeline.views.contract`.

    Raises:
        ValueError: not of that form, no such class, options that it does not take, or no
            augmentation.
    """
    try:
        place, options = _parse(text)
    except (SyntaxError, ValueError) as error:
        raise ValueError(
            f"augmentation {text!r}: {error}; expected package.Class or "
            "package.Class(option=value, ...), such as torch_audiomentations.Gain(max_gain_in_db=0)"
        ) from error
    made = load(place, "augmentation")
    if isinstance(made, type) and issubclass(made, BaseWaveformTransform):
        options = {"output_type": "dict", **options}
    try:
        augmentation = made(**options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"augmentation {text!r}: {error}; give other options") from error
    if isinstance(augmentation, BaseWaveformTransform):
        return TorchAudiomentation(text, augmentation)
    if not isinstance(augmentation, Augmentation):
        raise ValueError(
            f"augmentation {text!r}: neither a transform of torch-audiomentations nor an object "
            "with name, sample and apply, see slvr.pipeline.augmentations.contract"
        )
    return augmentation


def _parse(text: str) -> tuple[str, dict[str, Any]]:
    """A class as `package.module:Class`, and its options."""
    line = _LINE.fullmatch(text)
    if line is None:
        raise ValueError("names no class of a module")
    call = ast.parse(f"{line['name']}{line['call'] or '()'}", mode="eval").body
    if not isinstance(call, ast.Call) or call.args or any(k.arg is None for k in call.keywords):
        raise ValueError("options must be given by name")
    options = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg is not None}
    return f"{line['place']}:{line['name']}", options


@dataclass(frozen=True)
class TorchAudiomentation:
    """A transform of torch-audiomentations as an augmentation of a chain, applied to every row.

    Args:
        name: of the label column.
        transform: copied; its probability and mode become "always" and "per example".

    Params: `seed`; and by the library's names those of the transform's parameters that do not
    depend on the clip. Where one does (a peak to normalise by, a shift in samples), the transform
    draws them all when it is applied, from the same seed.

    Raises:
        ValueError: a transform that cannot treat each example on its own.
    """

    name: str
    transform: BaseWaveformTransform
    _before_clip: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if "per_example" not in self.transform.supported_modes:
            raise ValueError(f"{self.name}: works on whole batches, not on each clip by itself")
        transform = copy.deepcopy(self.transform).train()
        transform.p, transform.mode, transform.p_mode = 1.0, "per_example", "per_example"
        transform.output_type = "dict"
        object.__setattr__(self, "transform", transform)
        first, second = (
            self._draw(0, clip[None, None])
            for clip in (torch.ones(SAMPLE_RATE_HZ), torch.linspace(-0.5, 0.5, 24_000))
        )
        object.__setattr__(self, "_before_clip", _same(first, second))

    def sample(self, n: int, generator: torch.Generator, device: torch.device) -> Params:
        """Seeds, and what follows from them alone, of n rows."""
        seeds = torch.randint(2**31, (n,), generator=generator, device=device)
        if not self._before_clip:
            return {"seed": seeds}
        clip = torch.ones(1, 1, SAMPLE_RATE_HZ, device=device)
        drawn = [self._draw(seed, clip) for seed in seeds.tolist()]
        named = {name: torch.cat([row[name] for row in drawn]) for name in drawn[0]}
        return {"seed": seeds, **named}

    def _draw(self, seed: int, clip: Tensor) -> dict[str, Any]:
        """The parameters that the transform draws for a (1, 1, T) clip."""
        self.transform.transform_parameters = {}
        with _seeded(seed, clip.device):
            self.transform.randomize_parameters(clip, sample_rate=SAMPLE_RATE_HZ)
        return dict(self.transform.transform_parameters)

    def apply(self, x: Tensor, params: Params) -> Tensor:
        """Transformed (n, T) waveforms, one row at a time."""
        always = torch.ones(1, dtype=torch.bool, device=x.device)
        rows = []
        for row, seed in enumerate(params["seed"].tolist()):
            known = {k: v[[row]] for k, v in params.items() if k != "seed"}
            self.transform.transform_parameters = {"should_apply": always, **known}
            self.transform.are_parameters_frozen = bool(known)
            with _seeded(seed, x.device):
                clip = x[row].float().view(1, 1, -1)
                rows.append(self.transform(clip, sample_rate=SAMPLE_RATE_HZ).samples[0, 0])
        return torch.stack(rows).to(x.dtype)


def _same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether both hold the same tensors of one row each."""
    return first.keys() == second.keys() and all(
        isinstance(value, Tensor) and len(value) == 1 and torch.equal(value, second[name])
        for name, value in first.items()
    )


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """The generators that a process shares, set to a seed; afterwards as they were before."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


class Transform(BaseWaveformTransform):  # type: ignore[misc]  # the library is not typed
    """An augmentation of ours as a transform of torch-audiomentations, for its `Compose`.

    Args:
        augmentation: any that keeps `slvr.pipeline.augmentations.contract`.
        mode: `"per_example"` gives all channels of a clip the same parameters,
            `"per_channel"` each its own.
        options: `p`, `p_mode` and the rest of the library's own options.
    """

    supported_modes = frozenset({"per_example", "per_channel"})
    requires_sample_rate = False

    def __init__(
        self, augmentation: Augmentation, mode: str = "per_example", **options: Any
    ) -> None:
        super().__init__(mode=mode, **{"output_type": "dict", **options})
        self.augmentation = augmentation

    def randomize_parameters(self, samples: Tensor, *_: Any, **__: Any) -> None:
        """Draws parameters for (n, C, T) samples from torch's shared generator."""
        generator = torch.Generator(samples.device).manual_seed(int(torch.randint(2**62, ())))
        drawn = self.augmentation.sample(len(samples), generator, samples.device)
        self.transform_parameters.update(drawn)

    def apply_transform(
        self, samples: Tensor, sample_rate: int, targets: Tensor, target_rate: int
    ) -> ObjectDict:
        """The changed (n, C, T) samples with the rest as it was."""
        channels = samples.shape[1]
        params = {
            key: value.repeat_interleave(channels, dim=0)
            for key, value in self.transform_parameters.items()
            if key != "should_apply"
        }
        changed = self.augmentation.apply(samples.flatten(0, 1), params).view_as(samples)
        return ObjectDict(
            samples=changed, sample_rate=sample_rate, targets=targets, target_rate=target_rate
        )
