"""A separator that learns from mixtures of clips, made on the fly; a `Learning`.

Letters: B clips, K mixtures of N clips each, M channels, S sources, T samples.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from slvr.command.named import named
from slvr.model.checkpoint import Part
from slvr.model.learner import TOTAL
from slvr.model.separators.learner import MixitLearner
from slvr.model.separators.load import load_separator
from slvr.model.separators.measures import si_snr_improvement
from slvr.model.separators.mixit import mixit
from slvr.model.separators.registry import SEPARATORS
from slvr.model.separators.tdcn import TDCN
from slvr.pipeline.loaders.batching import Cut
from slvr.pipeline.normalise import normalise, to_float
from slvr.shards.read import ShardDirectory
from slvr.train.compilation import compiled
from slvr.train.config import Mixing, SeparatorConfig
from slvr.train.learning import Inputs, Seed
from slvr.train.ranks import Ranks
from slvr.train.state import Saved

IMPROVEMENT = "sources.improvement"
"""Column of the validations: SI-SNR improvement in dB."""
MOST_MIXTURES = 64
"""Mixtures of known sources that a validation looks at."""


class Known(NamedTuple):
    """A mixture whose sources are known."""

    key: str
    sources: Tensor
    """(S, T) float32 in [-1, 1]; they sum to the mixture."""


class SeparatorLearning:
    """MixIT on sums of the clips of a batch, N neighbours each."""

    def __init__(self, config: SeparatorConfig, device: torch.device, ranks: Ranks) -> None:
        choice, data = config.separator, config.data
        self._config, self._device = config, device
        self._rank, self._world = ranks.rank, ranks.world
        separator_class = named(choice.name, SEPARATORS, "--separator")
        separator: TDCN = separator_class(**vars(choice.config))
        directory = ShardDirectory.open(data.shards)
        if directory.manifest.sample_rate_hz != separator.sample_rate_hz:
            raise ValueError(
                f"--separator.sample-rate-hz {separator.sample_rate_hz}: {data.shards} holds clips "
                f"of {directory.manifest.sample_rate_hz} Hz; give that"
            )
        window = separator.config.window_samples
        if round(data.clip_s * separator.sample_rate_hz) < window:
            raise ValueError(
                f"--clip-s {data.clip_s}: shorter than the {window} samples of a window of the "
                "separator; give longer clips"
            )
        self.model = MixitLearner(separator)
        self.columns = self.model.columns
        self.about = {"separator": Part(choice.name, separator.shape())._asdict()}
        self.sizes = f"{sum(p.numel() for p in separator.parameters()):,} in the separator"
        self.found = ""
        self._known = known_mixtures(config.mixing, separator.n_channels) if ranks.is_first else []
        self._heard: list[Tensor] = []

    def initialise(self, path: Path) -> str:
        """The weights of another separator of the same shape.

        Raises:
            ValueError: none there, or one of another shape.
        """
        separator = self.model.separator
        other = load_separator(path, **separator.shape())
        separator.load_state_dict(other.state_dict())
        return f"weights of the separator from {path}"

    def learnt_before(self, directory: ShardDirectory, saved: Saved | None) -> dict[str, Any]:
        """Nothing."""
        return {}

    def take(self, learnt: Mapping[str, Any]) -> None:
        """Nothing."""

    def compiled(self, device: torch.device) -> nn.Module:
        """The network, its loss and their gradients."""
        return compiled(self.model, device)

    def inputs(self, pcm: Tensor, seed: Seed, cut: Cut | None = None) -> Inputs:
        """Mixtures (K, N, T), and (K,) whether none of a sum is silent."""
        clips = normalise(to_float(pcm), self._config.data.normalise)
        drawn = varied(clips, self._config.mixing, seed, self._rank, self._world)
        return self._mixed(pcm, drawn)

    def _mixed(self, pcm: Tensor, clips: Tensor) -> Inputs:
        n = self._config.mixing.mixture_of
        loud = level_db(pcm) > self._config.mixing.silence_db
        return clips.unflatten(0, (-1, n)), loud.unflatten(0, (-1, n)).all(1)  # type: ignore[no-untyped-call]

    def begin(self, like: Tensor, seed: Seed) -> None:
        """Nothing: what is drawn for mixtures costs nothing."""

    def finite(self, inputs: Inputs) -> Tensor:
        """Whether the samples of a clip are."""
        mixtures: Tensor = inputs[0]
        return mixtures.isfinite().all(-1).flatten()

    def held_out(self, pcm: Tensor, seed: Seed, cut: Cut | None = None) -> Inputs:
        """Mixtures of clips as they are: neither gain nor roll."""
        n = self._config.mixing.mixture_of
        pcm = pcm[: len(pcm) // n * n]
        return self._mixed(pcm, normalise(to_float(pcm), self._config.data.normalise))

    @torch.no_grad()
    def validate(self, batches: Callable[[Any], Iterable[Any]]) -> dict[str, float]:
        """The mean loss of held-out mixtures; SI-SNR improvement where sources are known.

        Raises:
            ValueError: no mixture of clips that are not silent.
        """
        separator = copy.deepcopy(self.model.separator).float().eval()
        losses: list[Tensor] = []
        self._heard = []
        for mixtures, accepted in batches(self.held_out):
            if accepted.any():
                found = mixit(mixtures[accepted], separator(mixtures[accepted].sum(1))).loss
                losses.append(found)
                self._heard += list(mixtures[accepted])[: 4 - len(self._heard)]
        if not losses:
            raise ValueError(
                "validation: no mixture without a silent clip; give a larger --holdout, or a "
                "lower --silence-db"
            )
        measures = {TOTAL: float(torch.cat(losses).mean())}
        if self._known:
            measures[IMPROVEMENT] = float(np.mean(list(self.improvements(separator))))
        return measures

    def improvements(self, separator: TDCN) -> Iterator[float]:
        """SI-SNR improvement in dB of each mixture of known sources."""
        for known in self._known:
            sources = known.sources.to(self._device)[None]
            mixture = sources.sum(1)
            channels = separator(normalise(mixture, self._config.data.normalise))
            yield float(si_snr_improvement(mixture, channels, sources))

    def base_rates(self) -> dict[str, float]:
        """None: 0 dB is what a mixture reaches."""
        return {}

    def show(self, out: Path) -> Path | None:
        """The page of mixtures and channels; none where no mixture was held out or is known."""
        from slvr.train.channels_page import write_channels_page  # noqa: PLC0415 - matplotlib

        mixtures = [known.sources for known in self._known[:4]] or self._heard
        if not mixtures:
            return None
        names = [known.key for known in self._known[:4]] or [
            f"held-out mixture {i + 1}" for i in range(len(mixtures))
        ]
        separator = copy.deepcopy(self.model.separator).float().eval()
        how = "published" if not self._known else self._config.data.normalise
        shown = {
            name: (parts, separator_channels(separator, parts, self._known != [], how))
            for name, parts in zip(names, mixtures, strict=True)
        }
        return write_channels_page(out, shown, separator.sample_rate_hz, self._config.flat())


@torch.no_grad()
def separator_channels(separator: TDCN, parts: Tensor, raw: bool, how: Any) -> Tensor:
    """(M, T): the channels of the sum of some parts (N, T), at the level of the parts.

    Args:
        separator: frozen.
        parts: waveforms.
        raw: they are in [-1, 1]; otherwise they are normalised already.
        how: the normalisation.
    """
    mixture = parts.sum(0, keepdim=True).to(next(separator.parameters()).device)
    seen = normalise(mixture, how) if raw else mixture
    channels: Tensor = separator(seen)[0]
    if raw:
        channels = channels * (mixture.std() / seen.std().clamp(min=1e-8))
    return channels.cpu()


def level_db(pcm: Tensor) -> Tensor:
    """(B,): RMS of clips (B, T) int16 in dB below full scale."""
    power = to_float(pcm).square().mean(-1)
    return 10 * torch.log10(power + 1e-12)


def varied(clips: Tensor, mixing: Mixing, seed: Seed, rank: int, world: int) -> Tensor:
    """The clips (B, T), each begun elsewhere and at another level, as the mixing says.

    Draws are for the clips of all processes, of which these are one's share: how many processes
    there are changes nothing.
    """
    if not mixing.roll and mixing.gain_db == 0:
        return clips
    n, length = clips.shape
    numbers = seed if isinstance(seed, int) else list(seed)
    rng = np.random.default_rng(numbers)
    starts = rng.integers(0, length, n * world)[rank * n : (rank + 1) * n]
    gains_db = rng.uniform(-mixing.gain_db, mixing.gain_db, n * world)[rank * n : (rank + 1) * n]
    if mixing.roll:
        at = torch.from_numpy(starts).to(clips.device)[:, None]
        clips = clips.gather(1, (torch.arange(length, device=clips.device) + at) % length)
    gains = torch.from_numpy(10 ** (gains_db / 20)).to(clips)
    return clips * gains[:, None]


def known_mixtures(mixing: Mixing, n_channels: int) -> list[Known]:
    """Mixtures of a sources directory, of two sources at least and a channel for each.

    Raises:
        ValueError: no such directory or split, clips that are no sources, or no such mixture.
    """
    if mixing.sources is None:
        return []
    directory = ShardDirectory.open(mixing.sources)
    rows = directory.clips(mixing.sources_split)
    attributes = pd.DataFrame(list(rows["attributes"]), index=rows.index)
    if not {"of", "channel"} <= set(attributes.columns):
        raise ValueError(
            f"--sources {mixing.sources}: its clips have no attributes `of` and `channel`: they "
            "are no sources; `ingest demo-sources` makes some"
        )
    dataset = directory.dataset(mixing.sources_split)
    places = {key: i for i, key in enumerate(dataset.keys)}
    found: list[Known] = []
    for mixture, of_mixture in rows.join(attributes[["of", "channel"]]).groupby("of", sort=True):
        keys = of_mixture.sort_values("channel")["key"]
        if not 2 <= len(keys) <= n_channels or len(found) == MOST_MIXTURES:
            continue
        pcms = [torch.from_numpy(dataset[places[key]]) for key in keys]
        if len({len(pcm) for pcm in pcms}) != 1:
            raise ValueError(
                f"--sources {mixing.sources}: the sources of {mixture} have different lengths; "
                "they are to sum to it"
            )
        found.append(Known(str(mixture), to_float(torch.stack(pcms))))
    if not found:
        raise ValueError(
            f"--sources {mixing.sources}: no mixture of 2 to {n_channels} sources in split "
            f"{mixing.sources_split!r}; give another --sources-split"
        )
    return found
