import json
from pathlib import Path

import pytest
import torch

from slvr.model.checkpoint import (
    ENCODER,
    checkpoint_name,
    checkpoints,
    load_encoder,
    read_checkpoint,
    write_checkpoint,
)
from slvr.model.encoders.resnet18 import Encoder

SHAPE = {"variant": "parallel", "dim": 20, "width": 4}


def write(path: Path, seed: int = 0, step: int = 5) -> Encoder:
    torch.manual_seed(seed)
    encoder = Encoder(**SHAPE)
    tensors = {ENCODER + name: tensor for name, tensor in encoder.state_dict().items()}
    state = {"step": step, "config": {"recipe": "demo"}, "encoder": SHAPE}
    write_checkpoint(path, tensors | {"optimiser.0.step": torch.tensor(3.0)}, state)
    return encoder


def test_tensors_and_state_come_back(tmp_path: Path) -> None:
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
    loaded = load_encoder(tmp_path)
    assert loaded.step == 12 and loaded.config == {"recipe": "demo"}
    assert not loaded.encoder.training
    x = torch.randn(2, 3, 128, 33)
    torch.testing.assert_close(loaded.encoder(x, "all"), newest.eval()(x, "all"), rtol=0, atol=0)
    assert loaded.fingerprint == load_encoder(tmp_path / checkpoint_name(12)).fingerprint
    assert loaded.fingerprint != load_encoder(tmp_path / checkpoint_name(5)).fingerprint


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
        load_encoder(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"no checkpoint \(step-\*.safetensors\) there"):
        load_encoder(tmp_path)
    write(tmp_path / checkpoint_name(5))
    with pytest.raises(ValueError, match="variant 'parallel', expected 'bn'"):
        load_encoder(tmp_path, variant="bn")


def test_the_state_is_plain_json_in_the_header(tmp_path: Path) -> None:
    """Nothing is pickled: any safetensors reader gets everything."""
    path = tmp_path / checkpoint_name(5)
    write(path)
    size = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + size])
    assert json.loads(header["__metadata__"]["state"])["encoder"] == SHAPE
