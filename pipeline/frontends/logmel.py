"""Waveforms to log-mel spectra, the commonest input of audio networks, as any of them wants them.

Letters: B clips, T samples, L frames, N samples of an FFT, F = N // 2 + 1 bins, M mel bands.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from slvr.pipeline.blocks import block_rows, in_blocks
from slvr.pipeline.frontends.bank import mel_bank, sliced, summed
from slvr.pipeline.frontends.contract import FrontEnd
from slvr.shards.clip import SAMPLE_RATE_HZ

_NARROW = 0.01
"""A band whose deviation is less than this share of all bands' is divided by that: one that was
silent in every clip would magnify whatever comes later."""
CHOICES = {
    "spectrum": ("power", "magnitude"),
    "window_norm": ("none", "energy"),
    "scale": ("htk", "slaney"),
    "triangles": ("hz", "mel"),
    "log": ("decibel", "natural", "none"),
    "floor_is": ("added", "least"),
    "statistics": ("none", "all", "bands"),
}


class LogMel(FrontEnd):
    """(B, T) waveforms at 16 kHz -> (B, 1, M, L) float32.

    With w the periodic Hann window, X the FFT of `fft_samples` of each frame and S = |X|^2 or |X|
    (`spectrum`), divided by sum(w^2) or its root where `window_norm` is `energy`:

        y = log(S bank + floor), log(max(S bank, floor)) or S bank;  image = (y - mean) / deviation

    `log` is 10 log10 of power and 20 log10 of magnitude, the natural logarithm, or none. Mean and
    deviation are those of training clips, of all bands together or each by itself; none by default.
    L = T // hop + 1 where frames are centred, the clip reflected by half a frame at both ends;
    otherwise 1 + (T - frame) // hop, whole frames alone. What published systems set is in
    `slvr.pipeline.frontends.published`.

    Args:
        mean: of `y` over training clips, one number or one a band; `fit` finds it.
        deviation: likewise.
        settings: those of `Config`.

    Raises:
        ValueError: values that cannot be, or more bands than the FFT can tell apart.
    """

    NAME: ClassVar[str] = "logmel"
    has_kernels = True
    channels = 1
    bank: Tensor
    window: Tensor
    mean: Tensor | None
    deviation: Tensor | None

    @dataclass(frozen=True)
    class Config:
        """Mel bands of a short-time spectrum, by default their power in dB: one channel."""

        n_mels: int = 64
        """Mel bands, 1 or more."""
        low_hz: float = 0.0
        """Where the first band begins, 0 or more."""
        high_hz: float = 8000.0
        """Where the last band ends, up to 8000."""
        frame_samples: int = 400
        """Samples of a frame and its Hann window at 16 kHz, even."""
        hop_samples: int = 160
        """Samples from one frame to the next, 1 or more."""
        fft_samples: int | None = None
        """Samples of the FFT, zeros behind the frame; as many as the frame has by default."""
        centred: bool = True
        """Frames around every hop, the clip reflected at its ends; otherwise whole frames alone."""
        spectrum: Literal["power", "magnitude"] = "power"
        """What the bands sum."""
        window_norm: Literal["none", "energy"] = "none"
        """Divide power by the sum of the squared window, magnitude by its root, or by nothing."""
        scale: Literal["htk", "slaney"] = "htk"
        """Mel scale."""
        triangles: Literal["hz", "mel"] = "hz"
        """Over which axis the bands' flanks are straight."""
        area: bool = False
        """Bands of unit area over Hz, otherwise of unit height."""
        log: Literal["decibel", "natural", "none"] = "decibel"
        """Logarithm of the bands."""
        floor: float = 2.220446049250313e-16
        """What keeps the logarithm finite, above 0."""
        floor_is: Literal["added", "least"] = "added"
        """The floor is added to every value, or is the least of them."""
        statistics: Literal["none", "all", "bands"] = "none"
        """Zero mean and unit deviation over training clips: of all bands together or of each."""
        statistics_clips: int = 1000
        """Training clips that these are taken from, 1 or more; all where there are fewer."""

        def __post_init__(self) -> None:
            frame, n_fft = self.frame_samples, self.fft_samples
            fits = {
                "n_mels": self.n_mels >= 1,
                "low_hz": 0 <= self.low_hz < self.high_hz,
                "high_hz": self.high_hz <= 8000,
                "frame_samples": frame >= 4 and frame % 2 == 0,
                "hop_samples": self.hop_samples >= 1,
                "fft_samples": n_fft is None or n_fft >= frame,
                "floor": self.floor > 0,
                "statistics_clips": self.statistics_clips >= 1,
            }
            fits |= {name: getattr(self, name) in choices for name, choices in CHOICES.items()}
            for name, fitting in fits.items():
                if not fitting:
                    flag = f"--front-end.{name.replace('_', '-')}"
                    raise ValueError(
                        f"{flag} {getattr(self, name)}: out of range; expected "
                        f"{' or '.join(CHOICES.get(name, ('what',)))} as `train --front-end "
                        "logmel --help` says"
                    )

    def __init__(
        self,
        *,
        mean: Sequence[float] | None = None,
        deviation: Sequence[float] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        config = self.config = self.Config(**settings)
        n_fft = self.n_fft = config.fft_samples or config.frame_samples
        self.n_mels = config.n_mels
        self.hop_s = config.hop_samples / SAMPLE_RATE_HZ
        self.fit_clips = 0 if config.statistics == "none" else config.statistics_clips

        window = torch.hann_window(config.frame_samples, dtype=torch.float64)
        if config.window_norm == "energy":
            window /= window.square().sum().sqrt()
        bins_hz = np.arange(n_fft // 2 + 1) * SAMPLE_RATE_HZ / n_fft
        bank = mel_bank(
            *(bins_hz, config.n_mels, config.low_hz, config.high_hz),
            scale=config.scale,
            triangles=config.triangles,
            area=config.area,
        )
        if not bank.any(0).all():
            raise ValueError(
                f"front end: n_mels {config.n_mels} are too many for an FFT of {n_fft} samples, "
                "some would hold no frequency; give fewer n_mels or more fft_samples"
            )
        self.register_buffer("window", window.float(), False)
        self.register_buffer("bank", bank, False)
        self._slices = sliced(bank)
        self._set(mean, deviation)

    @property
    def _db(self) -> int:
        """Decibels of a decade."""
        return 10 if self.config.spectrum == "power" else 20

    @classmethod
    def build(cls, config: Any) -> "LogMel":
        """The front end of a configuration."""
        return cls(**asdict(config))

    def shape(self) -> dict[str, Any]:
        """What `type(self)(**shape)` makes the same of, statistics that were found included."""
        found = {"mean": self.mean, "deviation": self.deviation}
        values = {name: x.flatten().tolist() for name, x in found.items() if x is not None}
        return asdict(self.config) | values

    def forward(self, waves: Tensor) -> Tensor:
        """(B, T) float -> (B, 1, M, L) float32, contiguous.

        Raises:
            ValueError: clips too short for a frame, or statistics that nobody has taken yet.
        """
        if self.fit_clips and self.mean is None:
            raise ValueError(
                f"front end logmel: the statistics of {self.config.statistics} are not there; "
                "`train` takes them from its clips, in Python call fit(waves) first"
            )
        images = self._blocks(waves)
        if self.mean is None or self.deviation is None:
            return images
        return (images - self.mean) / self.deviation

    def heard(self, waves: Tensor) -> Tensor:
        """(B, T) -> (B, M, L) in dB, without floor and statistics of its own."""
        bands = self._blocks(waves, logarithm=False)[:, 0]
        return self._db * bands.clamp(min=1e-10).log10()

    def fit(self, waves: Iterable[Tensor]) -> None:
        """Takes mean and deviation from batches (B, T) of training clips.

        Batches are joined by m = sum n_i m_i / n and v = sum n_i (v_i + (m_i - m)^2) / n in
        float64: no difference of large squares.

        Raises:
            ValueError: no clips.
        """
        counts: list[int] = []
        means: list[Tensor] = []
        variances: list[Tensor] = []
        for batch in waves:
            values = self._blocks(batch)[:, 0].double()  # (B, M, L)
            variance, mean = torch.var_mean(values, (0, 2), correction=0)
            counts.append(values[:, 0].numel())
            means.append(mean.cpu())
            variances.append(variance.cpu())
        if not counts:
            raise ValueError("front end logmel: no clips to take statistics from")
        share = torch.tensor(counts).double()[:, None] / sum(counts)
        mean = (share * torch.stack(means)).sum(0)
        variance = (share * (torch.stack(variances) + (torch.stack(means) - mean).square())).sum(0)
        whole_mean = mean.mean()
        whole = (variance + (mean - whole_mean).square()).mean().sqrt()
        if self.config.statistics == "all":
            mean, deviation = whole_mean[None], whole[None]
        else:
            deviation = variance.sqrt().clamp(min=_NARROW * float(whole))
        self._set(mean.tolist(), deviation.clamp(min=1e-8).tolist())

    def _set(self, mean: Sequence[float] | None, deviation: Sequence[float] | None) -> None:
        """Mean and deviation, to be broadcast over (B, 1, M, L)."""
        for name, values in (("mean", mean), ("deviation", deviation)):
            expected = {"none": 0, "all": 1, "bands": self.n_mels}[self.config.statistics]
            if values is not None and len(values) != expected:
                raise ValueError(
                    f"front end logmel: {name} of {len(values)} values, expected {expected} with "
                    f"statistics {self.config.statistics!r}"
                )
            column = None if values is None else torch.tensor(values).float().view(-1, 1)
            self.register_buffer(
                name, None if column is None else column.to(self.bank.device), False
            )
        if mean is not None and deviation is not None:
            spread = [
                f"{min(x):.3f}" + f" to {max(x):.3f}" * (len(x) > 1) for x in (mean, deviation)
            ]
            self.found = f"statistics of training clips: mean {spread[0]}, deviation {spread[1]}"

    def _blocks(self, waves: Tensor, *, logarithm: bool = True) -> Tensor:
        """(B, T) -> (B, 1, M, L) before statistics."""
        half = self.config.frame_samples // 2
        least = half + 1 if self.config.centred else self.config.frame_samples
        if waves.shape[-1] < least:
            raise ValueError(
                f"front end: clips of {waves.shape[-1]} samples; expected more than {least - 1}, "
                f"{'half a' if self.config.centred else 'a'} frame: pad or repeat shorter clips"
            )

        def compute(part: Tensor) -> Tensor:
            bands = self._bands(part)
            return self._logarithm(bands) if logarithm else bands

        # float32 under autocast too: spectra span more decades than half precision has
        with torch.autocast(waves.device.type, enabled=False):
            if torch.compiler.is_compiling():
                return compute(waves)
            return in_blocks(compute, block_rows(waves), waves)

    def _bands(self, waves: Tensor) -> Tensor:
        """(B, T) -> (B, 1, M, L), power or magnitude."""
        waves, half = waves.float(), self.config.frame_samples // 2
        if self.config.centred:
            waves = pad(waves[:, None], (half, half), mode="reflect")[:, 0]
        frames = waves.unfold(-1, self.config.frame_samples, self.config.hop_samples) * self.window
        # by parts, since compilers do not make code for complex numbers
        spectra = torch.view_as_real(torch.fft.rfft(frames, self.n_fft)).square().sum(-1)
        spectra = spectra if self.config.spectrum == "power" else spectra.sqrt_()
        return summed(spectra, self.bank, self._slices).mT[:, None].contiguous()

    def _logarithm(self, bands: Tensor) -> Tensor:
        if self.config.log == "none":
            return bands
        bands = (
            bands + self.config.floor
            if self.config.floor_is == "added"
            else bands.clamp(min=self.config.floor)
        )
        return bands.log_() if self.config.log == "natural" else bands.log10_().mul_(self._db)
