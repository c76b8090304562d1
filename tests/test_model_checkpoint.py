import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from slvr.command.named import stored
from slvr.model.checkpoint import (
    ENCODER,
    FindEncoder,
    LoadedModel,
    Part,
    checkpoint_name,
    checkpoints,
    load_model,
    read_checkpoint,
    write_checkpoint,
)
from slvr.model.encoders.registry import ENCODERS
from slvr.model.encoders.resnet18 import ResNet18

SHAPE = {"variant": "parallel", "dim": 20, "width": 4, "in_channels": 3}
FRONT_END = {"name": "mtslvr", "shape": {"n_mels": 128}}


def finder(*allow: str) -> FindEncoder:
    """What finds an encoder where the user typed `allow`."""
    return lambda name, where: stored(name, ENCODERS, allow, where)


def load(path: Path, *, allow: Sequence[str] = (), variant: str | None = None) -> LoadedModel:
    return load_model(path, finder(*allow), variant)


def write(
    path: Path, seed: int = 0, step: int = 5, name: str = "resnet18", **changes: object
) -> ResNet18:
    torch.manual_seed(seed)
    encoder = ResNet18(**SHAPE)
    tensors = {ENCODER + key: tensor for key, tensor in encoder.state_dict().items()}
    state = {
        "step": step,
        "config": {"recipe": "demo"},
        "encoder": {"name": name, "shape": SHAPE},
        "front_end": FRONT_END,
        "normalise": "clip",
    }
    write_checkpoint(path, tensors | {"optimiser.0.step": torch.tensor(3.0)}, state | changes)
    return encoder


def test_tensors_and_state_come_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = {
        "a": torch.randn(3, 4, dtype=torch.float64),
        "b": torch.tensor(7, dtype=torch.int64),
        "c": torch.zeros(0),
        "d": torch.randn(5, 6).T,
        "e": torch.randn(4).bfloat16(),
    }
    state = {"step": 3, "text": "ü", "list": [1, None, 0.1]}
    write_checkpoint(tmp_path / "x.safetensors", tensors, state)
    read, read_state = read_checkpoint(tmp_path / "x.safetensors")
    assert read_state == state and read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor) and read[name].dtype == tensor.dtype
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_the_newest_checkpoint_of_a_run_is_loaded(tmp_path: Path) -> None:
    write(tmp_path / checkpoint_name(5), seed=1, step=5)
    newest = write(tmp_path / checkpoint_name(12), seed=2, step=12)
    assert [path.name for path in checkpoints(tmp_path)] == [
        "step-00000005.safetensors",
        "step-00000012.safetensors",
    ]
    loaded = load(tmp_path)
    assert loaded.step == 12 and loaded.config == {"recipe": "demo"}
    assert loaded.front_end == Part("mtslvr", {"n_mels": 128}) and loaded.normalisation == "clip"
    assert not loaded.encoder.training
    x = torch.randn(2, 3, 128, 33)
    torch.testing.assert_close(loaded.encoder(x, "all"), newest.eval()(x, "all"), rtol=0, atol=0)
    assert loaded.fingerprint == load(tmp_path / checkpoint_name(12)).fingerprint
    assert loaded.fingerprint != load(tmp_path / checkpoint_name(5)).fingerprint


def test_the_fingerprint_covers_all_that_embeddings_depend_on(tmp_path: Path) -> None:
    def fingerprint(**changes: object) -> str:
        write(tmp_path / "x.safetensors", **changes)
        return load(tmp_path / "x.safetensors").fingerprint

    whole = fingerprint()
    assert whole == fingerprint(step=6, config={"recipe": "another"})
    others = [
        fingerprint(seed=1),
        fingerprint(front_end={"name": "logmel", "shape": {"n_mels": 128}}),
        fingerprint(front_end={"name": "mtslvr", "shape": {"n_mels": 64}}),
        fingerprint(normalise="published"),
    ]
    assert len({whole, *others}) == 5


def test_damage_is_found(tmp_path: Path) -> None:
    path = tmp_path / checkpoint_name(5)
    write(path)
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        read_checkpoint(path)
    flipped = bytearray(content)
    flipped[-100] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(ValueError, match="damaged"):
        read_checkpoint(path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / checkpoint_name(5)
    write(path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_checkpoint(path, {}, {"state": object()})
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_wrong_places_and_variants_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such checkpoint"):
        load(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"no checkpoint \(step-\*.safetensors\) there"):
        load(tmp_path)
    write(tmp_path / checkpoint_name(5))
    with pytest.raises(ValueError, match="variant 'parallel', expected 'bn'"):
        load(tmp_path, variant="bn")
    assert load(tmp_path, variant="parallel").step == 5


@pytest.mark.parametrize(
    "changes", [{"encoder": SHAPE}, {"front_end": None}, {"encoder": {"name": "resnet18"}}]
)
def test_a_checkpoint_of_another_form_is_a_sentence(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    write(tmp_path / checkpoint_name(5), **changes)
    with pytest.raises(ValueError, match=rf"does not say which {next(iter(changes))} it holds"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (SHAPE | {"depth": 3}, "depth"),
        (SHAPE | {"width": 8}, r"misshapen \(conv1\.weight"),
        (SHAPE | {"width": 10**7}, r"misshapen \(conv1\.weight"),
        (SHAPE | {"width": 10**30}, "Overflow"),
        (SHAPE | {"width": -4}, "expected a positive width"),
        (SHAPE | {"width": "4"}, "not supported"),
        (SHAPE | {"width": None}, "not supported"),
        (SHAPE | {"dim": 10**9 * 2}, r"misshapen \(heads"),
        (SHAPE | {"in_channels": 0}, "misshapen"),
        ({"variant": ["parallel"]}, "unknown variant"),
        ({}, "variant"),
    ],
)
def test_an_encoder_that_has_changed_since_is_a_sentence(
    tmp_path: Path, shape: dict[str, object], said: str
) -> None:
    write(tmp_path / checkpoint_name(5), encoder={"name": "resnet18", "shape": shape})
    with pytest.raises(ValueError, match=rf"(?s)resnet18 is not what it was.*{said}"):
        load(tmp_path)


def test_the_state_is_plain_json_in_the_header(tmp_path: Path) -> None:
    """Nothing is pickled: any safetensors reader gets everything."""
    path = tmp_path / checkpoint_name(5)
    write(path)
    size = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + size])
    state = json.loads(header["__metadata__"]["state"])
    assert state["encoder"] == {"name": "resnet18", "shape": SHAPE}
    assert state["front_end"] == FRONT_END


MINE = """
from pathlib import Path
from slvr.model.encoders.resnet18 import ResNet18

Path("ran").touch()

class Net(ResNet18):
    NAME = "net"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder, with modules that leave a trace when they are run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("evil.py").write_text(MINE)
    Path("evil_package").mkdir()
    Path("evil_package", "__init__.py").write_text("from pathlib import Path\nPath('ran').touch()")
    Path("evil_package", "module.py").write_text(MINE)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("evil"):
            del sys.modules[name]


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "./evil.py:Net",
        "evil.py:Net",
        "evil:Net",
        "evil_package.module:Net",
        "evil_package.module",
        "slvr.model.encoders.resnet18:ResNet18",
        "resnet18 ",
        "",
    ],
)
def test_what_a_checkpoint_names_is_not_run(folder: Path, name: str) -> None:
    """Not even imported; an entry of the registry spelled out is a stranger too."""
    write(folder / checkpoint_name(5), encoder={"name": name, "shape": {"command": "touch ran"}})
    before = set(sys.modules)
    with pytest.raises(ValueError, match="which is none of ours") as error:
        load(folder, allow=("./other.py:Net", "resnet18"))
    said = str(error.value)
    assert f"names {name!r}" in said and "is not run" in said
    assert f"--allow {name}" in said and str(folder / checkpoint_name(5)) in said
    assert not Path("ran").exists() and set(sys.modules) == before


@pytest.mark.parametrize("name", ["./evil.py:Net", "evil:Net", "evil_package.module:Net"])
def test_what_the_user_typed_is_run(folder: Path, name: str) -> None:
    expected = write(folder / checkpoint_name(5), name=name)
    loaded = load(folder, allow=(name,))
    assert type(loaded.encoder).__name__ == "Net" and Path("ran").exists()
    x = torch.randn(1, 3, 128, 33)
    assert torch.equal(loaded.encoder(x, "all"), expected.eval()(x, "all"))


def test_what_is_no_encoder_is_not_called_though_it_was_typed(folder: Path) -> None:
    shape = {"command": "touch ran"}
    write(folder / checkpoint_name(5), encoder={"name": "os:system", "shape": shape})
    with pytest.raises(ValueError, match=r"os:system is <built-in.*not a subclass of Encoder"):
        load(folder, allow=("os:system",))
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "state",
    [
        {"step": -1},
        {"step": "5"},
        {"step": None},
        {"step": True},
        {"step": 1e300},
        {"config": []},
        {"normalise": None},
        {"front_end": []},
        {"front_end": {"name": "mtslvr", "shape": [], "more": 1}},
    ],
)
def test_fields_that_cannot_be_are_a_sentence(tmp_path: Path, state: dict[str, object]) -> None:
    path = tmp_path / checkpoint_name(5)
    write(path)
    tensors, stated = read_checkpoint(path)
    write_checkpoint(path, tensors, stated | state)
    with pytest.raises(ValueError, match=r"00005\.safetensors: "):
        load(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x * float("nan"), "holds NaN or infinity"),
        (lambda x: x.to(torch.complex64), "complex64, expected torch.float32"),
        (lambda x: x.to(torch.int8), "int8, expected torch.float32"),
        (lambda x: x.to(torch.bool), "bool, expected torch.float32"),
        (lambda x: x[:0], "misshapen"),
    ],
)
def test_weights_that_cannot_be_are_a_sentence(
    tmp_path: Path, change: Callable[[torch.Tensor], torch.Tensor], said: str
) -> None:
    path = tmp_path / checkpoint_name(5)
    write(path)
    tensors, state = read_checkpoint(path)
    name = f"{ENCODER}conv1.weight"
    write_checkpoint(path, tensors | {name: change(tensors[name])}, state)
    with pytest.raises(ValueError, match=said):
        load(path)
    del tensors[name]
    write_checkpoint(path, tensors, state)
    with pytest.raises(ValueError, match=r"1 missing \(conv1\.weight\)"):
        load(path)


def header_of(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), content[8 + size :]


@pytest.mark.parametrize("field", ["step", "width", "dtype", "shape"])
def test_the_checksum_covers_state_types_and_shapes(tmp_path: Path, field: str) -> None:
    path = tmp_path / checkpoint_name(5)
    write(path)
    header, body = header_of(path)
    if field in ("step", "width"):
        state = header["__metadata__"]["state"]
        changed = state.replace('"step": 5', '"step": 6').replace('"width": 4', '"width": 5')
        header["__metadata__"]["state"] = changed
    elif field == "dtype":
        header[f"{ENCODER}conv1.weight"]["dtype"] = "I32"
    else:
        header[f"{ENCODER}conv1.weight"]["shape"] = [3, 4, 7, 7]
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    with pytest.raises(ValueError, match="damaged, its checksum does not fit"):
        read_checkpoint(path)


def test_a_safetensors_file_of_another_maker_is_a_sentence(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="a safetensors file that `train` did not write"):
        load(tmp_path / "x.safetensors")
    for content in (b"", b"text", b"\xff" * 100):
        (tmp_path / "x.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match="not a readable checkpoint"):
            load(tmp_path / "x.safetensors")
