"""Front end, augmentations, losses and classifiers give the numbers that they gave.

`data/parity.npz` holds numbers of our own, so that these tests need nothing beside the checkout.
`python tests/test_parity.py` makes it anew, and only where the numbers of the original
implementation are at hand and every comparison with them passes.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from slvr.eval.classify import CLASSIFIERS
from slvr.model.objectives.losses import nt_xent, simsiam
from slvr.pipeline.augmentations import DEFAULT
from slvr.pipeline.frontends.mtslvr import MTSLVR
from test_pipeline_frontend import assert_same_image

HERE = Path(__file__).parent
PARITY = HERE / "data" / "parity.npz"
COMPARED = (
    "test_pipeline_frontend.py",
    "test_pipeline_augmentations.py",
    "test_model_losses.py",
    "test_eval_classify.py",
)
"""Where the comparisons with the original are."""
GIVEN = {  # augmentation -> parameters of two clips
    "pitch_shift": {"semitones": [-8.14, 3.86]},
    "fade": {"fade_in": [0.3, 0.1], "fade_out": [0.2, 0.4], "shape": [1, 2]},
    "white_noise": {"snr_db": [3.0, 20.0], "f_decay": [-0.5, -1.0], "noise_seed": [1, 2]},
    "mixed_noise": {"snr_db": [10.0, 5.0], "f_decay": [2.0, -2.0], "noise_seed": [3, 4]},
    "time_stretch": {"rate": [0.57, 1.41]},
    "time_masking": {"length": [0.1, 0.05], "position": [0.3, 0.9]},
    "time_shift": {"shift": [0.2, -0.45]},
}


def randn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def waves() -> torch.Tensor:
    """Two clips of 0.3 s: a rising tone, and one that breaks off, in noise: (2, 4800)."""
    t = torch.arange(4800) / 16_000
    tones = torch.stack(((2 * torch.pi * (300 + 2000 * t) * t).sin(), (5000 * t).sin() * (t < 0.2)))
    return 0.3 * tones + 0.01 * randn(0, 2, 4800)


def of_front_end() -> dict[str, np.ndarray]:
    return {"image": MTSLVR()(waves()).numpy()}


def of_augmentations() -> dict[str, torch.Tensor]:
    """One sample in three: less to store, and no less to notice."""
    by_name = {augmentation.name: augmentation for augmentation in DEFAULT}
    assert by_name.keys() == GIVEN.keys()
    return {
        name: by_name[name].apply(waves(), {k: torch.tensor(v) for k, v in given.items()})[:, ::3]
        for name, given in GIVEN.items()
    }


def of_losses() -> dict[str, np.ndarray]:
    """Values and gradients of the first embedding, for unlike views and for nearly equal ones."""
    arrays = {}
    for name, loss in (("nt_xent", lambda a, b: nt_xent(a, b, 0.07)), ("simsiam", halves)):
        for views, share in (("unlike", 0.0), ("alike", 0.9)):
            first = randn(1, 8, 16).requires_grad_()
            value = loss(first, share * first.detach() + (1 - share) * randn(2, 8, 16))
            value.backward()
            arrays[f"{name}_{views}"] = value.detach().numpy()
            arrays[f"{name}_{views}_gradient"] = first.grad.numpy()
    return arrays


def halves(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """SimSiam where the predictor is the first half of the values, the projector the other."""
    (p1, z1), (p2, z2) = first.chunk(2, 1), second.chunk(2, 1)
    return simsiam(p1, p2, z1, z2)


def of_classifiers() -> dict[str, np.ndarray]:
    """Scores (T, N, Q) of 4 tasks of 5 classes, 2 supports and 3 queries each."""
    classes = randn(3, 4, 5, 1, 12)
    clips = classes + randn(4, 4, 5, 5, 12)
    supports, queries = clips[:, :, :2].flatten(1, 2), clips[:, :, 2:].flatten(1, 2)
    products = supports @ supports.mT, supports @ queries.mT
    return {
        name: classify(*products, 5, torch.Generator().manual_seed(5)).numpy()
        for name, classify in CLASSIFIERS.items()
    }


CASES = {
    "front_end": of_front_end,
    "augmentations": of_augmentations,
    "losses": of_losses,
    "classifiers": of_classifiers,
}
TOLERANCE = {"pitch_shift": 1e-4, "time_stretch": 1e-4, "logistic": 1e-3}
"""Largest difference, as a share of the spread, where it is not 1e-5: vocoders and iterations."""


@pytest.mark.parametrize("case", CASES)
def test_numbers_are_those_that_agreed_with_the_original(case: str) -> None:
    with np.load(PARITY) as file:
        stored = {
            name.removeprefix(f"{case}/"): file[name]
            for name in file
            if name.startswith(f"{case}/")
        }
    ours = {name: np.asarray(array) for name, array in CASES[case]().items()}
    assert ours.keys() == stored.keys()
    for name, expected in stored.items():
        if name == "image":
            assert_same_image(torch.from_numpy(ours[name]), torch.from_numpy(expected))
            continue
        assert ours[name].shape == expected.shape
        spread = expected.std() if expected.size > 1 else abs(expected)
        worst = np.abs(ours[name] - expected).max()
        assert worst < TOLERANCE.get(name, 1e-5) * spread, name


def main() -> None:
    """Makes the file, once every comparison with the original has passed."""
    line = [sys.executable, "-m", "pytest", "-k", "original", *(HERE / name for name in COMPARED)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode or "skipped" in done.stdout:
        sys.exit(f"not made anew: the comparisons with the original\n{done.stdout}")
    arrays = {f"{case}/{name}": x for case, of in CASES.items() for name, x in of().items()}
    np.savez_compressed(PARITY, **arrays)


if __name__ == "__main__":
    main()
