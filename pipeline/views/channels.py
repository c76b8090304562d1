"""Two views of every clip, of its mixture and of the channels that a separator makes of it.

Fonseca et al., "Self-supervised learning from automatically separated sound scenes", WASPAA 2021.
Letters: B clips, V = 2 views, M channels, T samples, T' samples of a crop.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from slvr.pipeline.separated import Stored, check_channels, fingerprint_of, rows_within
from slvr.pipeline.views.channel_plan import N_VIEWS, ChannelPlan
from slvr.pipeline.views.contract import Clips, Known, Separator, ViewMaker, Waves

CHANNEL_VIEWS = {"mix-mix": (), "mix-channel": (1,), "channel-channel": (0, 1)}
"""Pair -> the views that are channels."""


class Channels(ViewMaker):
    """Crops of mixtures and of their separated channels; a `ViewMaker`.

    For every clip one separator is drawn, each as likely, and takes the whole clip apart as it
    lies in the shard, whatever its normalisation for the encoder; of its channels one is drawn
    for each view that is a channel. Crops are taken behind the separation.

    Args:
        config: the options.
        waves: clips, separators, and where the clips come from.
        chosen: the separators by name; empty where no view is a channel.

    Raises:
        ValueError: a crop that does not fit, an option out of its range, a separator that makes
            no channels that sum to the clip.
    """

    NAME: ClassVar[str] = "channels"
    n_views = N_VIEWS
    knows = frozenset({"distance_s", "separator", "channel"})
    columns = ()

    @dataclass(frozen=True)
    class Config:
        """Two crops of a clip: of its mixture, and of a channel that a separator makes of it."""

        separators: tuple[str, ...] = ()
        """Separators, of which one is drawn for every clip: files or runs of `train separator`, or
        untrained:SEED."""
        pair: Literal["mix-mix", "mix-channel", "channel-channel"] = "mix-channel"
        """What the two views are; two channels are different ones of one separator."""
        crop_s: float = 0.975
        """Length of a view in seconds: 96 frames of 25 ms, 10 ms apart."""
        temporal_proximity: bool = True
        """Each view is cropped at a place of its own; otherwise both at the same."""
        match_level: bool = False
        """A channel is brought to the level of its clip."""
        floor_db: float = 40.0
        """A channel that is more than this below its clip is passed over for another, above 0."""
        cache: str | None = None
        """Folder that --cache-channels filled: channels are read there, not computed."""
        memory_mb: int = 2048
        """What separating may take beside the network: so many clips at once, 1 or more."""

    def __init__(self, config: Any, waves: Waves, chosen: dict[str, Separator]) -> None:
        self._crop_samples = round(config.crop_s * waves.sample_rate_hz)
        if not 0 < self._crop_samples <= waves.n_samples:
            raise ValueError(
                f"--views.crop-s {config.crop_s:g}: expected above 0, and at most the "
                f"{waves.n_samples / waves.sample_rate_hz:g} s of --clip-s; shorter clips are "
                "filled up to that, see --short"
            )
        if not (config.floor_db > 0 and config.memory_mb >= 1):
            raise ValueError(
                f"--views.floor-db {config.floor_db:g}, --views.memory-mb {config.memory_mb}: "
                "expected above 0, and 1 or more"
            )
        self._config, self._waves = config, waves
        self._separators = list(chosen.values())
        self._names = tuple((name, fingerprint_of(each)) for name, each in chosen.items())
        self._n_channels = [check_channels(*each, waves.device) for each in chosen.items()]
        self._channel_views = CHANNEL_VIEWS[config.pair]
        self._stored: list[Stored] = []
        if config.cache is not None and chosen:
            self._stored = [
                Stored.find(config.cache, name, waves.shards, waves.short) for name in self._names
            ]
        if not self._channel_views:
            self.knows = frozenset({"distance_s"})
        self.quantities: dict[str, int] = {}

    @classmethod
    def build(cls, config: Any, waves: Waves) -> Self:
        """The view maker of a configuration; without names it takes all separators there are.

        Raises:
            ValueError: as the class, or a separator that is named is not there.
        """
        if config.pair == "mix-mix":
            return cls(config, waves, {})
        names = config.separators or tuple(waves.separators)
        missing = [name for name in names if name not in waves.separators]
        if missing or not names:
            raise ValueError(
                f"--views.separators {' '.join(missing)}: "
                f"{'not there' if missing else 'none given'}; expected files or runs of "
                f"`train separator`, or untrained:SEED, for --views.pair {config.pair}"
            )
        return cls(config, waves, {name: waves.separators[name] for name in names})

    def sample(
        self, n: int, seed: int | Sequence[int], device: torch.device | str = "cpu"
    ) -> ChannelPlan:
        """A plan for n clips, drawn on the host from `seed` alone."""
        source = np.random.default_rng(seed)
        free = self._waves.n_samples - self._crop_samples + 1
        starts = torch.from_numpy(source.integers(free, size=(N_VIEWS, n)))
        if not self._config.temporal_proximity:
            starts[1] = starts[0]
        most = max(self._n_channels, default=0)
        separator, keys = torch.zeros(n, dtype=torch.int64), source.random((n, most))
        if self._separators:
            separator = torch.from_numpy(source.integers(len(self._separators), size=n))
            there = np.array(self._n_channels)[separator.numpy(), None]
            keys[np.arange(most) >= there] = 2  # behind all others
            order = np.where(np.arange(most) < there, keys.argsort(1), -1)
        else:
            order = np.zeros((n, 0), np.int64)
        return ChannelPlan(
            self._names,
            self._channel_views,
            separator,
            torch.from_numpy(order),
            starts,
            self._crop_samples,
            torch.device(device),
        )

    def of_clips(self, plan: ChannelPlan, clips: Clips) -> ChannelPlan:
        """The same plan of those clips: what is stored of them can be read."""
        return replace(plan, clips=clips)

    def known(self, plan: ChannelPlan) -> Known:
        """How far apart the crops begin, `distance_s` (B,), second less first.

        With channels `separator` (B,), by number, and `channel` (B, V), -1 for the mixture, as
        they were drawn: not what took the place of a channel too quiet.
        """
        distance = (plan.starts[1] - plan.starts[0]).float() / self._waves.sample_rate_hz
        known = {"distance_s": distance}
        if self._channel_views:
            known |= {"separator": plan.separator, "channel": plan.channels.T.contiguous()}
        return {name: x.to(plan.device, non_blocking=True) for name, x in known.items()}

    def apply(self, waves: Tensor, plan: ChannelPlan) -> Tensor:
        """(B, T) -> (V, B, T') of the same dtype.

        Raises:
            ValueError: waves or a plan of another size or other separators.
        """
        self._check(waves, plan)
        views = torch.stack([self._cropped(waves, start) for start in plan.starts])
        if not self._channel_views:
            return views
        for rows, sources in self._separated(waves, plan):
            there = rows.to(waves.device, non_blocking=True)
            for view, source in zip(self._channel_views, sources, strict=True):
                crops = self._cropped(source, plan.starts[view, rows])
                views[view, there] = crops.to(waves.dtype)
        return views

    def parts(self, waves: Tensor, plan: ChannelPlan) -> list[dict[str, Tensor]]:
        """For each clip the channels of its separator, as loud as they are, by title."""
        parts: list[dict[str, Tensor]] = [{} for _ in range(len(plan))]
        if self._channel_views:
            for index, rows in self._chunks(plan):
                for row, channels in zip(
                    rows.tolist(), self._channels(index, rows, waves, plan), strict=True
                ):
                    parts[row] = {f"channel {m}": wave for m, wave in enumerate(channels)}
        return parts

    def _check(self, waves: Tensor, plan: ChannelPlan) -> None:
        expected = (len(plan), self._waves.n_samples)
        if tuple(waves.shape) != expected:
            raise ValueError(
                f"views: expected waves {expected} for a plan of {len(plan)} clips, got "
                f"{tuple(waves.shape)}"
            )
        if plan.separators != self._names:
            raise ValueError(
                f"views: the plan was sampled for the separators {plan.separators}, here are "
                f"{self._names}: name the plan's"
            )

    def _cropped(self, waves: Tensor, starts: Tensor) -> Tensor:
        """(n, T) -> (n, T') from `starts` (n,) on."""
        at = starts.to(waves.device, non_blocking=True)[:, None]
        return waves.gather(1, at + torch.arange(self._crop_samples, device=waves.device))

    def _chunks(self, plan: ChannelPlan) -> Iterator[tuple[int, Tensor]]:
        """Separators, and as many rows on the host for each as fit into the memory."""
        n_rows = rows_within(self._config.memory_mb, self._waves.n_samples)
        for index in range(len(self._separators)):
            rows = (plan.separator == index).nonzero()[:, 0]
            for chunk in torch.split(rows, n_rows):
                if len(chunk):
                    yield index, chunk

    def _separated(self, waves: Tensor, plan: ChannelPlan) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """Rows on the host, and for each view that is a channel their channels (n, T), whole."""
        for index, rows in self._chunks(plan):
            channels = self._channels(index, rows, waves, plan)
            order = plan.order[rows, : self._n_channels[index]].to(waves.device, non_blocking=True)
            power = channels.square().mean(-1)  # (n, M)
            whole = channels.sum(1).square().mean(-1, keepdim=True)  # (n, 1)
            audible = power >= 10 ** (-self._config.floor_db / 10) * whole
            if self._config.match_level:
                gain = (whole / power.clamp(min=1e-20)).sqrt()
                channels = channels * torch.where(power > 0, gain, 1)[..., None]
            drawn = drawn_channels(order, audible.gather(1, order), len(self._channel_views))
            every = torch.arange(len(rows), device=waves.device)
            yield rows, [channels[every, m] for m in drawn]

    @torch.no_grad()
    def _channels(self, index: int, rows: Tensor, waves: Tensor, plan: ChannelPlan) -> Tensor:
        """(n, M, T) float32: all channels of some clips, at the level of `waves`."""
        there = rows.to(waves.device, non_blocking=True)
        some = waves.index_select(0, there).float()
        clips = plan.clips
        if clips is None:
            if self._stored:
                raise ValueError(
                    f"--views.cache {self._config.cache}: the clips come without their keys; read "
                    "them with `train` or slvr.batches"
                )
            return self._separators[index](some)
        mean, scale = (x.index_select(0, there)[:, None, None] for x in (clips.mean, clips.scale))
        pcm = some * scale[:, 0] + mean[:, 0]
        if self._stored:
            keys = [clips.keys[row] for row in rows.tolist()]
            stored = self._stored[index].read(keys, clips.starts[rows].tolist(), pcm.shape[1])
            stored = stored.to(waves.device, non_blocking=True)
            channels = torch.cat([stored, pcm[:, None] - stored.sum(1, keepdim=True)], 1)
        else:
            channels = self._separators[index](pcm)
        return (channels - mean / channels.shape[1]) / scale


def drawn_channels(order: Tensor, audible: Tensor, n: int) -> list[Tensor]:
    """One or two channels (B,) of each clip: the first in order that can be heard, then the next.

    Where no other can be heard the next is the same again; where none can, the first drawn.

    Args:
        order: (B, M) channels.
        audible: (B, M) bool of them, in that order.
        n: 1 or 2.
    """
    rank = torch.arange(order.shape[1], device=order.device)
    first = audible.int().argmax(1)
    found = [first]
    if n == 2:
        later = audible & (rank > first[:, None])
        quiet = ~audible.any(1)
        last = torch.where(quiet, min(1, order.shape[1] - 1), first)
        found.append(torch.where(later.any(1), later.int().argmax(1), last))
    return [order.gather(1, place[:, None])[:, 0] for place in found]
