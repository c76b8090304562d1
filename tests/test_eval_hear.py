"""The rules of the HEAR 2021 interface (https://hearbenchmark.com/hear-api.html)."""

from pathlib import Path

import pytest
import torch

from conftest import write_run
from slvr.eval import hear
from slvr.model.encoders.resnet18 import ResNet18

SHAPE = {"variant": "bn", "dim": 16, "width": 4}


@pytest.fixture
def model(tmp_path: Path) -> hear.HearModel:
    return hear.load_model(str(write_run(tmp_path, ResNet18(**SHAPE))))


def noise(n_clips: int, length_s: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(int(1000 * length_s))
    return 2 * torch.rand(n_clips, int(length_s * 16_000), generator=generator) - 1


def test_the_model_is_a_module_with_the_attributes(model: hear.HearModel) -> None:
    assert isinstance(model, torch.nn.Module) and not model.training
    assert model.sample_rate in (16_000, 22_050, 32_000, 44_100, 48_000)
    for size in (model.scene_embedding_size, model.timestamp_embedding_size):
        assert isinstance(size, int) and size == 16


@pytest.mark.parametrize("length_s", [0.03, 1.07, 2.74, 25.0])
def test_scene_embeddings(model: hear.HearModel, length_s: float) -> None:
    embeddings = hear.get_scene_embeddings(noise(4, length_s), model)
    assert embeddings.shape == (4, 16) and embeddings.dtype == torch.float32
    assert embeddings.isfinite().all() and not embeddings.requires_grad
    alone = hear.get_scene_embeddings(noise(4, length_s)[2:3], model)
    torch.testing.assert_close(embeddings[2:3], alone, rtol=1e-3, atol=1e-3)


def test_a_long_scene_is_the_mean_of_its_pieces(model: hear.HearModel) -> None:
    audio = noise(2, 20.0)
    halves = [hear.get_scene_embeddings(half, model) for half in audio.chunk(2, dim=1)]
    expected = (halves[0] + halves[1]) / 2
    torch.testing.assert_close(
        hear.get_scene_embeddings(audio, model), expected, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("length_s", [0.03, 1.07, 1.98, 4.0])
def test_timestamp_embeddings(model: hear.HearModel, length_s: float) -> None:
    embeddings, stamps_ms = hear.get_timestamp_embeddings(noise(2, length_s), model)
    assert embeddings.ndim == 3 and embeddings.dtype == torch.float32
    assert embeddings.shape[:2] == stamps_ms.shape and embeddings.shape[2] == 16
    assert not embeddings.requires_grad
    assert (stamps_ms.diff(dim=1) == 50).all()
    assert stamps_ms.min() == 0
    assert 1000 * length_s - 50 <= stamps_ms.max() <= 1000 * length_s


def test_an_embedding_is_of_the_second_around_its_timestamp(model: hear.HearModel) -> None:
    audio = noise(1, 4.0)
    embeddings, stamps_ms = hear.get_timestamp_embeddings(audio, model)
    at = 40
    assert stamps_ms[0, at] == 2000
    around = model(audio[:, 24_000:40_000])
    torch.testing.assert_close(embeddings[:, at], around.detach(), rtol=1e-3, atol=1e-3)
    changed = audio.clone()
    changed[:, :16_000] = 0  # up to 1 s: timestamps from 1.5 s on do not hear it
    other, _ = hear.get_timestamp_embeddings(changed, model)
    torch.testing.assert_close(embeddings[:, 30:], other[:, 30:], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(embeddings[:, 29], other[:, 29])
