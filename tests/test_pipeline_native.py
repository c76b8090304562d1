"""The vocoder in C: built here where there is a compiler, and equal to PyTorch's."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from slvr.pipeline import native
from slvr.pipeline.augmentations import vocoder
from slvr.pipeline.augmentations.spectral import PitchShift, TimeStretch
from slvr.pipeline.augmentations.vocoder import frame_power, stft

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")


@pytest.fixture
def switched_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Switches C on and off; what is built lies in the test's own cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    native.library.cache_clear()

    def switch(on: bool) -> None:
        monkeypatch.setenv(native.SWITCH, "1" if on else "0")

    return switch


def sounds(n: int, n_samples: int) -> Tensor:
    """Noise, a tone, clicks after silence, silence, and a chirp, in turns."""
    generator = torch.Generator().manual_seed(0)
    t = torch.arange(n_samples) / 16_000
    clicks = torch.zeros(n_samples)
    clicks[n_samples // 2 :: 2_000] = 0.7
    kinds = [
        torch.randn(n_samples, generator=generator) * 0.1,
        0.5 * torch.sin(2 * torch.pi * 440 * t),
        clicks,
        torch.zeros(n_samples),
        0.3 * torch.sin(2 * torch.pi * (200 + 800 * t) * t),
    ]
    return torch.stack([kinds[i % len(kinds)] for i in range(n)])


@needs_compiler
@pytest.mark.parametrize("frame", [(2048, 512), (768, 256), (100, 25)])
def test_it_equals_pytorch(
    switched_on: Callable[[bool], None],
    frame: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Given the same loudness: of a steady sound rounding decides which frame is the loudest."""
    n_fft, hop = frame
    x = sounds(5, 16_000 if n_fft > 100 else 2_000)
    spectra = stft(x, n_fft, hop, 1 + x.shape[1] // hop)
    rate = torch.tensor([0.5, 0.77, 1.0, 1.21, 1.5], dtype=torch.float64)
    position = torch.arange(40 if n_fft > 100 else 70) * rate[:, None]
    powers: list[Tensor] = []

    def noted(magnitude: Tensor) -> Tensor:
        powers.append(frame_power(magnitude))
        return powers[-1]

    def given(*arguments: Tensor) -> Tensor:
        torch.testing.assert_close(measure(*arguments), powers[0], rtol=1e-5, atol=1e-12)
        return powers[0]

    measure = native.frame_powers
    monkeypatch.setattr(vocoder, "frame_power", noted)
    monkeypatch.setattr(native, "frame_powers", given)
    switched_on(False)
    expected = vocoder.phase_vocoder(spectra.clone(), position, hop / n_fft)
    switched_on(True)
    found = vocoder.phase_vocoder(spectra.clone(), position, hop / n_fft)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().square().sum() <= 1e-10 * theirs.abs().square().sum() + 1e-20


@needs_compiler
@pytest.mark.parametrize("augmentation", [PitchShift(), TimeStretch()], ids=["pitch", "stretch"])
@pytest.mark.parametrize("threads", [1, 2])
def test_rows_are_the_same_alone_and_on_several_threads(
    switched_on: Callable[[bool], None], augmentation: PitchShift | TimeStretch, threads: int
) -> None:
    switched_on(True)
    x = sounds(5, 8_000)
    params = augmentation.sample(5, torch.Generator().manual_seed(3), torch.device("cpu"))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        whole = augmentation.apply(x, params)
        alone = [
            augmentation.apply(x[[i]], {name: value[[i]] for name, value in params.items()})
            for i in range(5)
        ]
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(whole, torch.cat(alone), rtol=0, atol=1e-5)


def test_without_a_compiler_the_sentence_says_what_to_do(
    switched_on: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    switched_on(True)
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ValueError, match=r"no-such-compiler.*install a C compiler.*leave SLVR_NAT"):
        native.library()


@needs_compiler
def test_the_laws_of_pitch_and_stretch_hold_in_c(tmp_path: Path) -> None:
    """The same tests, once more, with C switched on."""
    here = Path(__file__).parent
    tests = str(here / "test_pipeline_spectral.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-x", tests],
        env=os.environ | {native.SWITCH: "1", "XDG_CACHE_HOME": str(tmp_path)},
        cwd=here.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
