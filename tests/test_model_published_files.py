"""Published `.pt` files: read without running them, their variant from their name."""

import os
import pickle
from pathlib import Path

import pytest
import torch

from slvr.model.checkpoint import PUBLISHED_FRONT_END, load_model
from slvr.model.encoders.resnet18 import ResNet18
from slvr.model.released import ReleasedName, parse_released_name, published_names, read_released

NAME = "AS_BAL_simsiam_trans_1_0_parallel_2_3__100_5e-05_21022023-145537.pt"


def unasked(name: str, where: str) -> type[ResNet18]:
    raise AssertionError("a published file names no class")


def published(path: Path, variant: str, prefix: str = "backbone.") -> ResNet18:
    torch.manual_seed(0)
    encoder = ResNet18(variant)
    names = published_names(encoder)
    tensors = {prefix + names[name]: tensor for name, tensor in encoder.state_dict().items()}
    torch.save(tensors, path)
    return encoder.eval()


def test_the_name_tells_how_it_was_trained() -> None:
    assert parse_released_name(Path("x") / NAME) == ReleasedName(
        data="AS_BAL",
        contrastive="simsiam",
        variant="parallel",
        predictive_weight=1.0,
        batch=100,
        lr=5e-5,
    )
    other = NAME.replace("simsiam", "simclrv1").replace("parallel", "None")
    found = parse_released_name(Path(other))
    assert found is not None and (found.contrastive, found.variant) == ("simclr", "none")
    assert parse_released_name(Path("model.pt")) is None


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.backbone."])
def test_a_published_file_is_an_encoder(tmp_path: Path, prefix: str) -> None:
    expected = published(tmp_path / NAME, "parallel", prefix)
    loaded = load_model(tmp_path / NAME, unasked)
    x = torch.randn(1, 3, 128, 33)
    assert torch.equal(loaded.encoder(x, "all"), expected(x, "all"))
    assert loaded.config["encoder"] == {"variant": "parallel"} and loaded.step == 0
    assert loaded.front_end == PUBLISHED_FRONT_END and loaded.normalisation == "published"
    assert loaded.config["recipe"] == f"published {NAME}"


def test_a_wrong_or_unknown_variant_is_a_sentence(tmp_path: Path) -> None:
    published(tmp_path / NAME, "bn")
    with pytest.raises(ValueError, match=r"does not fit variant 'parallel'.*variant 'bn'"):
        load_model(tmp_path / NAME, unasked)
    assert load_model(tmp_path / NAME, unasked, variant="bn").encoder.shape()["variant"] == "bn"
    (tmp_path / NAME).rename(tmp_path / "mine.pt")
    with pytest.raises(ValueError, match=r"does not say which variant.*--variant"):
        load_model(tmp_path / "mine.pt", unasked)


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("ran",)


def test_nothing_in_a_file_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"x": Malicious()}, "evil.pt")
    Path("pickle.pt").write_bytes(pickle.dumps(Malicious()))
    Path("text.pt").write_text("not a model")
    torch.save([1, 2], "list.pt")
    for name in ("evil.pt", "pickle.pt", "text.pt"):
        with pytest.raises(ValueError, match="not a file of plain tensors"):
            read_released(Path(name))
    with pytest.raises(ValueError, match="expected a state dict"):
        read_released(Path("list.pt"))
    with pytest.raises(ValueError, match="no such file"):
        read_released(Path("none.pt"))
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"text", b"PK\x03\x04", b"\x80\x04N.", b"\x80\x04]" + b"(" * 50, b"\xff" * 300],
    ids=["empty", "text", "zip", "none", "list", "noise"],
)
def test_what_is_no_file_of_tensors_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / NAME
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"not a file of plain tensors|expected a state dict"):
        read_released(path)


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 1j])
def test_weights_that_are_no_finite_numbers_are_a_sentence(tmp_path: Path, value: complex) -> None:
    torch.save({"conv1.weight": torch.full((3,), value)}, tmp_path / NAME)
    with pytest.raises(ValueError, match=r"conv1\.weight holds torch\..* no finite real numbers"):
        read_released(tmp_path / NAME)
