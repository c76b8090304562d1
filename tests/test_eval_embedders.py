from pathlib import Path

import pytest
import torch

from slvr.eval.embedders import CallableEmbedder, EncoderEmbedder, MeanLogMel
from slvr.model.encoders.resnet18 import Encoder
from slvr.pipeline.frontends.mtslvr import FrontEnd
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
    torch.testing.assert_close(model.embed(waves), MeanLogMel("none", CPU).embed(waves))


@pytest.mark.parametrize("normalisation", ["published", "per-clip"])
def test_waveforms_are_normalised_as_the_protocol_says(normalisation: str) -> None:
    waves = torch.randn(2, 4000)
    for make in (
        lambda how: CallableEmbedder("stranger:moments", "waveform", how, CPU),
        lambda how: MeanLogMel(how, CPU),
    ):
        expected = make("none").embed(normalise(waves, normalisation))
        torch.testing.assert_close(make(normalisation).embed(waves), expected)
        assert make("none").fingerprint != make(normalisation).fingerprint


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
    encoder = Encoder(variant, dim=16, width=4).eval()
    model = EncoderEmbedder("x", encoder, FrontEnd(), "none", CPU)
    waves = torch.randn(2, 8000)
    with torch.inference_mode():
        features = model.embed(waves)
        assert features.shape == (2, 16)
        for head, part in model.heads.items():
            image = model._front_end(waves)
            expected = encoder(image, head)
            # folding rounds otherwise
            torch.testing.assert_close(features[:, part], expected, rtol=1e-4, atol=1e-5)
