"""Published PANNs: read without running anything in them, embedded behind their own front end."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import slvr
from conftest import write_directory
from slvr.eval.cli import main
from slvr.eval.loaded import open_trained
from slvr.model.encoders.cnn14 import CNN14
from slvr.model.panns import FRONT_END, load_panns
from slvr.pipeline.frontends.logmel import LogMel


def published(**others: object) -> dict[str, object]:
    """A small Cnn14 as the PANNs' training writes it, and the encoder that is in it."""
    torch.manual_seed(0)
    encoder = CNN14(2, 10, rectified=True).eval()
    with torch.no_grad():
        for tensor in encoder.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand_like(tensor))
    model = dict(encoder.state_dict()) | {
        "spectrogram_extractor.stft.conv_real.weight": torch.zeros(257, 1, 512),
        "spectrogram_extractor.stft.conv_imag.weight": torch.zeros(257, 1, 512),
        "logmel_extractor.melW": torch.zeros(257, 64),
        "fc_audioset.weight": torch.zeros(527, 10),
        "fc_audioset.bias": torch.zeros(527),
    }
    sampler = {"indexes": np.arange(5), "pointer": 3, "of": np.float64(2)}
    return {
        "encoder": encoder,
        "file": {"iteration": 7, "model": model | others, "sampler": sampler},
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.save(published()["file"], tmp_path / "Cnn14_16k_mAP=0.438.pth")
    return tmp_path / "Cnn14_16k_mAP=0.438.pth"


def test_its_embedding_is_the_layer_before_the_classifier(path: Path) -> None:
    waves = 0.1 * torch.randn(2, 16_000, generator=torch.Generator().manual_seed(1))
    encoder = published()["encoder"]
    assert isinstance(encoder, CNN14)
    images = LogMel(**FRONT_END)(waves)
    with torch.no_grad():
        pooled = encoder._columns(images, "all")
        expected = F.relu(encoder.fc1(pooled.amax(2) + pooled.mean(2)))
    found = slvr.load_model(path).embed(waves.numpy(), 16_000)
    torch.testing.assert_close(found.clips, expected, rtol=1e-4, atol=1e-4)
    assert found.frames is not None and found.frames.shape == (2, 3, 10)
    trained = open_trained(path)
    assert trained.normalisation == "none" and trained.front_end.shape() == images_shape()


def images_shape() -> dict[str, object]:
    return LogMel(**FRONT_END).shape()


def test_a_state_dict_alone_and_the_prefix_of_several_gpus_are_read_too(tmp_path: Path) -> None:
    whole = published()
    model = whole["file"]["model"]  # type: ignore[index]
    torch.save({f"module.{name}": x for name, x in model.items()}, tmp_path / "a.pth")
    again = load_panns(tmp_path / "a.pth").state_dict()
    expected = whole["encoder"].state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(again[name], tensor) for name, tensor in expected.items())


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("touched"),)  # type: ignore[return-value]


def test_what_is_in_a_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = published()["file"] | {"sampler": Evil()}  # type: ignore[operator]
    torch.save(whole, "evil.pth")
    Path("plain.pth").write_bytes(pickle.dumps(whole))
    Path("text.pth").write_text("<html>404</html>")
    Path("empty.pth").write_bytes(b"")
    Path("cut.pth").write_bytes(Path("evil.pth").read_bytes()[:5000])
    for name in ("evil", "plain", "text", "empty", "cut"):
        with pytest.raises(ValueError, match=rf"{name}\.pth: not a file of plain tensors"):
            load_panns(Path(f"{name}.pth"))
    assert not Path("touched").exists()
    with pytest.raises(ValueError, match=r"gone\.pth: no such file; expected a Cnn14 at 16 kHz"):
        load_panns(Path("gone.pth"))


@pytest.mark.parametrize(
    ("others", "why"),
    [
        ({_name: torch.zeros(513, 1, 1024)}, "has 1024 samples a frame, that of 16 kHz 512")
        for _name in ("spectrogram_extractor.stft.conv_real.weight",)
    ]
    + [
        ({"logmel_extractor.melW": torch.zeros(257, 128)}, "has 128 bands"),
        ({"fc1.weight": torch.zeros(10, 63)}, r"fc1.weight \(10, 63\) for \(10, 64\)"),
        ({"conv_block7.conv1.weight": torch.zeros(1)}, r"1 unexpected \(conv_block7"),
        ({"fc1.weight": torch.zeros(2**15, 1)}, "32768 values an embedding"),
        ({"fc1.weight": torch.zeros(())}, "no Cnn14, it has no conv_block1.conv1 and fc1"),
        ({"extra": 3}, "holds no state dict"),
    ],
)
def test_other_networks_are_a_sentence(tmp_path: Path, others: dict[str, object], why: str) -> None:
    torch.save(published(**others)["file"], tmp_path / "a.pth")
    with pytest.raises(ValueError, match=why):
        load_panns(tmp_path / "a.pth")


def test_other_files_are_a_sentence(tmp_path: Path) -> None:
    for content in ([1, 2], {"model": {}}, {"resnet.weight": torch.zeros(3)}):
        torch.save(content, tmp_path / "a.pth")
        with pytest.raises(ValueError, match=r"state dict|no Cnn14"):
            load_panns(tmp_path / "a.pth")


def test_it_is_evaluated_beside_others(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(path.parent)
    write_directory(Path("sounds"), n_clips=12, lengths_s=(0.6,), split="eval")
    line = ["retrieve", "--checkpoint", path.name, "--shards", "sounds", "--piece", "0.5"]
    assert main([*line, "--out", "found", "--device", "cpu"]) == 0, capsys.readouterr().err
    assert "Cnn14_16k_mAP=0.438" in Path("found/report.html").read_text()
