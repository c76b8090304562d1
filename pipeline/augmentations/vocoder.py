"""A phase vocoder that stretches every row of a batch by its own rate.

Flanagan and Golden (1966), "Phase vocoder"; Dolson (1986), "The phase vocoder: a tutorial".
Letters: n rows, T samples, L frames of the source, K frames of the result, N samples a frame,
F = N/2 + 1 bins.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

# Far below any sound (-360 dB), yet its square is a normal float32: silence gets phase 0.
TINY = 1e-18


def stretch(x: Tensor, rate: Tensor, frame_samples: int, hop_samples: int) -> Tensor:
    """(n, T) float32 waveforms played ``rate`` times as fast at the same pitch.

    A row with rate above 1 ends at T / rate; what follows is its last frame, held. A slower one
    is cut at T. Rate 1 returns x.

    Args:
        x: (n, T) float32.
        rate: (n,) float64, positive.
        frame_samples: N; four hops, of which it must be a multiple.
        hop_samples: Between frames, of the source and of the result.
    """
    window = torch.hann_window(frame_samples, device=x.device)
    source = stft(x, window, hop_samples)
    position = torch.arange(source.shape[1], device=x.device) * rate[:, None]
    result = phase_vocoder(source, position)
    result = result * _phase_at_loudest_frame(source, result, position)
    return _restore_level(x, istft(result, window, hop_samples, x.shape[-1]), rate)


def stft(x: Tensor, window: Tensor, hop_samples: int) -> Tensor:
    """(n, T) -> (n, L, F) complex; frame l is centred on sample l * hop, with silence around."""
    n_samples, half = x.shape[-1], window.numel() // 2
    last = -(-n_samples // hop_samples) * hop_samples  # centre of the last frame
    x = pad(x, (half, last + half - n_samples))
    frames = x.unfold(-1, window.numel(), hop_samples)
    spectra: Tensor = torch.fft.rfft(frames * window)
    return spectra


def istft(spectra: Tensor, window: Tensor, hop_samples: int, n_samples: int) -> Tensor:
    """(n, K, F) complex -> (n, T), the least-squares inverse of ``stft`` (Griffin and Lim, 1984).

    ``sum_k w(t - k hop) frame_k(t) / sum_k w(t - k hop)^2``
    """
    n_frames, n_fft = spectra.shape[1], window.numel()
    inside = slice(n_fft // 2, n_fft // 2 + n_samples)
    wave = _overlap_add(torch.fft.irfft(spectra, n=n_fft), window, hop_samples)[:, inside]
    windows = window.expand(1, n_frames, n_fft)
    return wave / _overlap_add(windows, window, hop_samples)[:, inside]


def _overlap_add(frames: Tensor, window: Tensor, hop_samples: int) -> Tensor:
    """(n, K, N) frames, windowed and added ``hop_samples`` apart."""
    n, n_frames, n_fft = frames.shape
    n_hops = n_fft // hop_samples
    frames = frames.view(n, n_frames, n_hops, hop_samples)
    parts = window.view(n_hops, hop_samples)
    wave = frames.new_zeros(n, n_frames + n_hops - 1, hop_samples)
    for hop in range(n_hops):
        wave[:, hop : hop + n_frames].addcmul_(frames[:, :, hop], parts[hop])
    return wave.flatten(1)


def phase_vocoder(spectra: Tensor, position: Tensor) -> Tensor:
    """(n, L, F) complex read at fractional frames -> (n, K, F) complex.

    ``|Y_k| = (1 - a) |X_i| + a |X_{i+1}|`` and ``Y_k / |Y_k| = U_0 prod_{j<k} U_{i_j+1} U*_{i_j}``,
    where ``i = floor(position)``, ``a`` is the rest and ``U = X / |X|``. The usual form adds
    expected and measured phase advance; with equal hops before and after, the expected one is the
    same on both sides and cancels modulo 2 pi, so phases need no angle at all: unit phasors
    multiply. Their float32 product strays by about 1e-6 over 10 s.

    Args:
        spectra: (n, L, F) complex64, L at least 2.
        position: (n, K) float64 in frames, from 0, not falling; beyond the last frame it holds.
    """
    last = spectra.shape[1] - 1
    position = position.clamp(max=last)
    left = position.long().clamp(max=last - 1)
    spectra = spectra + TINY
    magnitude = spectra.abs()
    unit = spectra * magnitude.reciprocal()
    advance = unit.clone()  # advance[:, 0] is the initial phase, advance[:, l] = U_l U*_{l-1}
    advance[:, 1:] *= unit[:, :-1].conj()
    before = pad(left[:, :-1] + 1, (1, 0))
    # Rows are copied as pairs of floats: index_select is several times slower on complex numbers.
    pairs = _frames(torch.view_as_real(advance).flatten(2), before)
    phase = torch.view_as_complex(pairs.view(*before.shape, -1, 2)).cumprod(1)
    between = (position - left).float()[..., None]
    return torch.lerp(_frames(magnitude, left), _frames(magnitude, left + 1), between) * phase


def _frames(x: Tensor, index: Tensor) -> Tensor:
    """(n, L, F) at (n, K) frames of the own row -> (n, K, F)."""
    n, n_frames, n_values = x.shape
    first = torch.arange(n, device=x.device)[:, None] * n_frames
    return x.reshape(-1, n_values).index_select(0, (first + index).flatten()).view(n, -1, n_values)


def _phase_at_loudest_frame(source: Tensor, result: Tensor, position: Tensor) -> Tensor:
    """(n, 1, F) unit phasors that give the result the source's phases at its loudest frame.

    Each bin's phase is right up to a constant. Taken from the first frame, half of it silence,
    the constants do not fit each other between bins: tones came out up to 4 dB too low.
    """
    loudest = result.abs().square().sum(-1).argmax(-1, keepdim=True)
    left = position.gather(1, loudest).long().clamp(max=source.shape[1] - 1)
    row = torch.arange(len(source), device=source.device)[:, None]
    turn = (source[row, left] + TINY) * result[row, loudest].conj()
    return (turn + TINY) / (turn + TINY).abs()


def _restore_level(x: Tensor, y: Tensor, rate: Tensor) -> Tensor:
    """The stretched ``y``, row by row as loud as the part of ``x`` that it was made from.

    Bins whose phases no longer fit each other cancel where frames overlap: white noise loses up
    to 3.6 dB, tones nothing. The level would tell the rate.
    """
    n_samples = x.shape[-1]
    t = torch.arange(n_samples, device=x.device)
    rate = rate.float()[:, None]
    heard = torch.where(t < n_samples * rate, x, 0).square().sum(-1, keepdim=True)
    made = torch.where(t * rate < n_samples, y, 0).square().sum(-1, keepdim=True)
    # min(T, T rate) samples of x became min(T, T / rate) of y, which is 1 / rate times as many.
    gain = torch.sqrt(heard / (rate * made).clamp(min=TINY))
    return y * gain.clamp(0.5, 2)
