from functools import partial
from pathlib import Path

import pytest
import torch

from slvr.eval.embed import FrameEmbedder
from slvr.eval.embedders import (
    MEL_STATISTICS,
    CallableEmbedder,
    EncoderEmbedder,
    MelStatistics,
    encoder_embedder,
)
from slvr.model.encoders import resnet18
from slvr.model.encoders.contract import Encoder, Images
from slvr.pipeline.frontends import mtslvr
from slvr.pipeline.frontends.contract import FrontEnd
from slvr.pipeline.normalise import normalise

CPU = torch.device("cpu")
MODULE = """
import torch
from torch import nn

def moments(waves):
    return torch.stack([waves.mean(1), waves.std(1)], dim=1)

class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)
    def forward(self, image):
        return self.drop(image[:, 0].mean(-1))

frames = lambda waves: waves[:, None].expand(-1, 2, -1)
nothing = lambda waves: None
number = 3
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "stranger.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "stranger", raising=False)
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    return tmp_path


def test_a_function_takes_waveforms() -> None:
    model = CallableEmbedder("stranger:moments", "waveform", "none", CPU)
    waves = torch.randn(3, 4000)
    torch.testing.assert_close(model.embed(waves)[:, 1], waves.std(1))
    assert model.name == "stranger:moments" and model.heads == {"all": slice(0, 2)}


def test_a_module_takes_features_in_eval_mode() -> None:
    model = CallableEmbedder("stranger:Pooled", "features", "none", CPU)
    waves = 0.1 * torch.randn(3, 4000)
    torch.testing.assert_close(
        model.embed(waves), MelStatistics("mean log-mel", "none", CPU).embed(waves)
    )


@pytest.mark.parametrize("normalisation", ["published", "per-clip"])
def test_waveforms_are_normalised_as_the_protocol_says(normalisation: str) -> None:
    waves = torch.randn(2, 4000)
    for make in (
        partial(CallableEmbedder, "stranger:moments", "waveform", device=CPU),
        *(partial(MelStatistics, name, device=CPU) for name in MEL_STATISTICS),
    ):
        expected = make(normalisation="none").embed(normalise(waves, normalisation))
        torch.testing.assert_close(make(normalisation=normalisation).embed(waves), expected)
        prints = {make(normalisation=how).fingerprint for how in ("none", normalisation)}
        assert len(prints) == 2


def test_the_fingerprint_follows_what_the_callable_does(here: Path) -> None:
    before = CallableEmbedder("stranger:moments", "waveform", "none", CPU).fingerprint
    assert before == CallableEmbedder("stranger:moments", "waveform", "none", CPU).fingerprint
    import stranger

    stranger.moments = lambda waves: torch.stack([waves.mean(1), waves.amax(1)], dim=1)
    assert before != CallableEmbedder("stranger:moments", "waveform", "none", CPU).fingerprint


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("stranger", "give package.module:Class"),
        (":moments", "give package.module:Class"),
        ("nowhere_at_all:f", "No module named 'nowhere_at_all'"),
        ("stranger:missing", "no attribute 'missing'"),
        ("stranger:number", "int, which cannot be called"),
        ("stranger:frames", r"returned \(2, 2, 80000\) for 2 clips"),
        ("stranger:nothing", "returned NoneType for 2 clips"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(spec: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as error:
        CallableEmbedder(spec, "waveform", "none", CPU)
    assert f"--encoder {spec}" in str(error.value)


@pytest.mark.parametrize("variant", ["none", "split", "parallel"])
def test_heads_are_the_parts_of_the_embedding(variant: str) -> None:
    torch.manual_seed(0)
    encoder = resnet18.ResNet18(variant, dim=16, width=4).eval()
    model = EncoderEmbedder("x", encoder, mtslvr.MTSLVR(), "none", CPU)
    waves = torch.randn(2, 8000)
    with torch.inference_mode():
        features = model.embed(waves)
        assert features.shape == (2, 16)
        for head, part in model.heads.items():
            image = model._front_end(waves)
            expected = encoder(image, head)
            # folding rounds otherwise
            atol = 1e-4 * float(expected.abs().max())
            torch.testing.assert_close(features[:, part], expected, rtol=1e-4, atol=atol)


class Bands(FrontEnd):
    """One channel: levels of a few bands, every 10 ms."""

    NAME = "bands"
    channels, hop_s = 1, 0.01

    def __init__(self, n_mels: int = 4) -> None:
        super().__init__()
        self.n_mels = n_mels

    @classmethod
    def build(cls, config: object) -> "Bands":
        return cls()

    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        spectra = torch.fft.rfft(waves.unfold(-1, 160, 160)).abs()
        return spectra[..., : self.n_mels].mT[:, None]

    def shape(self) -> dict[str, int]:
        return {"n_mels": self.n_mels}


class Listens(Encoder):
    """An encoder of two tasks that has a frame for every two of the front end."""

    NAME = "listens"
    tasks = ("what", "when")
    frame_stride: int | None = 2

    def __init__(self, bands: int = 4, frame_stride: int | None = 2) -> None:
        super().__init__()
        self.bands, self.frame_stride = bands, frame_stride
        self.dims = {"what": bands, "when": 1, "all": bands + 1}

    @classmethod
    def build(cls, config: object, images: Images) -> "Listens":
        return cls(images.n_mels)

    def frames(self, x: torch.Tensor, task: str) -> tuple[torch.Tensor, torch.Tensor]:
        each = x[:, 0, :, : x.shape[-1] // 2 * 2].unflatten(-1, (-1, 2)).sum(-1).mT
        found = {"what": each, "when": each.sum(-1, keepdim=True)}
        frames = torch.cat(list(found.values()), -1) if task == "all" else found[task]
        return frames.mean(1), frames

    def forward(self, x: torch.Tensor, task: str) -> torch.Tensor:
        return self.frames(x, task)[0]

    def shape(self) -> dict[str, int | None]:
        return {"bands": self.bands, "frame_stride": self.frame_stride}


def test_an_encoder_with_frames_says_when() -> None:
    model = encoder_embedder("x", Listens(), Bands(), "none", CPU)
    assert isinstance(model, FrameEmbedder)
    assert model.heads == {"what": slice(0, 4), "when": slice(4, 5)} and model.dim == 5
    waves = torch.zeros(2, 16_000)
    waves[1, 8000:8010] = 1  # a click at 0.5 s
    frames = model.embed_frames(waves)
    assert frames.shape == (2, 50, 5)
    assert model.frame_s == pytest.approx(0.02)
    assert int(frames[1, :, 4].argmax()) * model.frame_s == pytest.approx(0.5)
    assert (frames[0] == 0).all()
    torch.testing.assert_close(model.embed(waves), frames.mean(1))


def test_an_encoder_without_frames_offers_none() -> None:
    model = encoder_embedder("x", Listens(frame_stride=None), Bands(), "none", CPU)
    assert not isinstance(model, FrameEmbedder)
    assert model.embed(torch.ones(1, 4000)).shape == (1, 5)


def test_the_fingerprint_follows_shape_and_front_end() -> None:
    def fingerprint(encoder: Encoder, front_end: FrontEnd) -> str:
        return encoder_embedder("any name", encoder, front_end, "none", CPU).fingerprint

    before = fingerprint(Listens(), Bands())
    assert before == fingerprint(Listens(), Bands())
    assert before != fingerprint(Listens(), Bands(5))
    assert before != fingerprint(Listens(3), Bands())
    assert before != fingerprint(Listens(frame_stride=None), Bands())
