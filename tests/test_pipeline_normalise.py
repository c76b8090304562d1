"""Normalised waveforms have the statistics they promise."""

import pytest
import torch

from slvr.pipeline.normalise import PUBLISHED_MEAN, PUBLISHED_STD, normalise, to_float


def test_published_constants_map_their_own_statistics_to_zero_and_one():
    waves = torch.tensor([[PUBLISHED_MEAN, PUBLISHED_MEAN + PUBLISHED_STD]])
    assert torch.allclose(normalise(waves), torch.tensor([[0.0, 1.0]]))


def test_per_clip():
    waves = torch.randn(3, 1000, generator=torch.Generator().manual_seed(0))
    loud = waves * torch.tensor([[0.01], [1.0], [0.3]]) + 0.2
    result = normalise(loud, "per-clip")
    assert torch.allclose(result.mean(-1), torch.zeros(3), atol=1e-5)
    assert torch.allclose(result.std(-1), torch.ones(3), atol=1e-3)
    assert (normalise(torch.full((1, 100), 0.25), "per-clip") == 0).all()


def test_full_scale_is_one():
    pcm = torch.tensor([[-32768, 0, 16384]], dtype=torch.int16)
    assert to_float(pcm).tolist() == [[-1.0, 0.0, 0.5]]


def test_an_unknown_way_is_refused():
    with pytest.raises(ValueError, match="got 'global'"):
        normalise(torch.zeros(1, 8), "global")
