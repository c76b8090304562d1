"""Separators by name, and the files of TensorFlow, whole, damaged and hostile."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import slvr
from separation import FIXTURES, draw, filled, original, tf_variables, write_tf
from slvr.model.checkpoint import write_checkpoint
from slvr.model.separators import crc32c, tf_bundle
from slvr.model.separators.load import untrained
from slvr.model.separators.tdcn import TDCN
from slvr.model.separators.tf_bundle import Bundle

SMALL = {"bottleneck": 6, "hidden": 10, "dilations": 3, "repeats": 2}
LEARNED = {"basis": "learned", "window_samples": 40, "hop_samples": 20, "n_coefficients": 12}
STFT = {"window_samples": 16, "hop_samples": 4}


def test_the_originals_own_checkpoint() -> None:
    numbers = original("separator.npz")
    separator = slvr.load_separator(FIXTURES / "tf_checkpoint" / "stft_small")
    waves = 0.1 * draw((2, 8000), 302)
    expected = torch.from_numpy(numbers["stft_small__out"])
    assert (separator(waves) - expected).abs().max() <= 1e-4 * expected.std()
    assert (separator.config.dilations, separator.config.repeats) == (4, 2)


def test_a_changed_byte_of_the_originals_is_noticed(tmp_path: Path) -> None:
    original("separator.npz")
    for end in (".index", ".data-00000-of-00001"):
        content = bytearray((FIXTURES / "tf_checkpoint" / f"stft_small{end}").read_bytes())
        for at in np.random.default_rng(0).integers(0, len(content) - 48, 4):
            for each in (FIXTURES / "tf_checkpoint").iterdir():
                shutil.copyfile(each, tmp_path / each.name)
            damaged = bytearray(content)
            damaged[at] ^= 0x10
            (tmp_path / f"stft_small{end}").write_bytes(damaged)
            with pytest.raises(ValueError, match=r"stft_small.*(damaged|cut off|cannot be read)"):
                slvr.load_separator(tmp_path / "stft_small")


@pytest.mark.parametrize(
    "shape",
    [
        SMALL | LEARNED | {"n_channels": 4},
        SMALL | LEARNED | {"n_channels": 2, "bottleneck": 12, "consistency": "uniform"},
        SMALL | STFT | {"n_channels": 3},
        SMALL | STFT | {"n_channels": 8, "consistency": "energy"},
    ],
)
def test_every_kind_of_checkpoint_gives_its_separator(tmp_path: Path, shape: dict) -> None:
    separator = filled(TDCN(**shape))
    variables = tf_variables(separator) | {
        "global_step": np.zeros(()),
        "dense_1/kernel/Adam": np.zeros((3, 3)),
    }
    if shape.get("basis") != "learned":
        renamed = {"dense_1/kernel": "dense/kernel", "dense_3/kernel": "mix_weights/dense/kernel"}
        variables = {renamed.get(name, name): values for name, values in variables.items()}
    write_tf(tmp_path / "model.ckpt-7", variables)
    told = {"dilations": 3, "consistency": shape.get("consistency", "predicted")}
    found = slvr.load_separator(tmp_path / "model.ckpt-7", **told)
    waves = draw((1, 300), 1)
    with torch.no_grad():
        assert torch.equal(found(waves), separator(waves))
    with pytest.raises(ValueError, match=r"6 blocks, and no \.meta beside it"):
        slvr.load_separator(tmp_path / "model.ckpt-7")
    with pytest.raises(ValueError, match="6 blocks are no repeats of 4 dilations"):
        slvr.load_separator(tmp_path / "model.ckpt-7", dilations=4)
    with pytest.raises(ValueError, match=r"n_channels is .*, and 5 was asked for"):
        slvr.load_separator(tmp_path / "model.ckpt-7", dilations=3, n_channels=5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda v: v.pop("initial_dense/dense/kernel"), "no bottleneck.weight of a TDCN"),
        (lambda v: v.pop("initial_dense/dense/bias"), "bottleneck.bias is missing"),
        (lambda v: v.update({"extra/kernel": np.zeros((2, 2))}), "expected the kernels of"),
        (
            lambda v: v.update(
                {"improved_tdcn/conv_block_0/tdcn_block/timeconv/separable_conv/bias": np.zeros(3)}
            ),
            r"blocks.0.conv.bias is \(3,\), expected \(10,\)",
        ),
    ],
)
def test_other_variables_are_sentences(tmp_path: Path, change: object, says: str) -> None:
    variables = tf_variables(untrained(0, **SMALL | LEARNED))
    change(variables)
    write_tf(tmp_path / "m", variables)
    with pytest.raises(ValueError, match=says):
        slvr.load_separator(tmp_path / "m", dilations=3)


def test_a_missing_or_short_data_file_is_a_sentence(tmp_path: Path) -> None:
    write_tf(tmp_path / "m", tf_variables(untrained(0, **SMALL | LEARNED)))
    data = tmp_path / "m.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-8])
    with pytest.raises(ValueError, match="cut off"):
        slvr.load_separator(tmp_path / "m", dilations=3)
    data.unlink()
    with pytest.raises(ValueError, match="no such file"):
        slvr.load_separator(tmp_path / "m", dilations=3)


def test_a_variable_larger_than_its_file_is_never_allocated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tf(tmp_path / "m", {"a": np.zeros(4)})
    bundle = Bundle(tmp_path / "m")
    entry = bundle.entries["a"]
    huge = type(entry)(1, (2**30, 2**9), 0, 0, 2**41, entry.crc, False)
    monkeypatch.setitem(bundle.entries, "a", huge)
    with pytest.raises(ValueError, match="says that it takes"):
        bundle.tensor("a")


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 6), st.booleans())
def test_whatever_bytes_are_changed_it_ends_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, seed: int, n: int, mended: bool
) -> None:
    """Also where whoever changed them has mended the checksums."""
    folder = tmp_path_factory.mktemp("fuzz")
    write_tf(folder / "m", {"dense/kernel": np.zeros((3, 4)), "b": np.ones(5)})
    rng = np.random.default_rng(seed)
    path = folder / "m.index"
    content = bytearray(path.read_bytes())
    for at in rng.integers(0, len(content), n):
        content[at] = rng.integers(256)
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        if mended:
            patch.setattr(tf_bundle, "masked_crc32c", lambda data: AnyNumber())
        try:
            bundle = Bundle(folder / "m")
            for name in bundle.entries:
                bundle.tensor(name)
        except ValueError as error:
            assert str(folder / "m") in str(error)


class AnyNumber(int):
    """A checksum that fits."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


def test_checksums_are_castagnolis() -> None:
    assert crc32c.crc32c(bytearray(b"123456789")) == 0xE3069283
    assert crc32c.crc32c(bytearray(32)) == 0x8A9136AA  # RFC 3720, B.4
    rng = np.random.default_rng(0)
    for n in (*range(70), 4095, 70_001):
        register, data = 0xFFFFFFFF, bytearray(rng.bytes(n))
        for byte in data:
            register ^= byte
            for _ in range(8):
                register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
        assert crc32c.crc32c(data) == register ^ 0xFFFFFFFF


def test_untrained_ones_are_functions_of_their_seed() -> None:
    first, same = (slvr.load_separator("untrained:3:demo") for _ in range(2))
    other = slvr.load_separator("untrained:4:demo", n_channels=2)
    assert first.fingerprint() == same.fingerprint() != other.fingerprint()
    assert not any(p.requires_grad for p in first.parameters()) and not first.training
    assert slvr.load_separator("untrained:0", **SMALL, n_channels=5).n_channels == 5
    for name in ("untrained:", "untrained:x", "untrained:1:huge", "untrained"):
        with pytest.raises(ValueError, match="untrained:SEED"):
            slvr.load_separator(name)


def write_separator(path: Path, separator: TDCN, **about: object) -> Path:
    tensors = {f"model.separator.{name}": tensor for name, tensor in separator.state_dict().items()}
    state = {"separator": {"name": separator.NAME, "shape": separator.shape()} | about}
    write_checkpoint(path, tensors, state)
    return path


def test_checkpoints_say_what_they_hold(tmp_path: Path) -> None:
    separator = untrained(5, **SMALL, n_channels=3)
    path = write_separator(tmp_path / "step-00000001.safetensors", separator)
    for where in (path, tmp_path):
        assert slvr.load_separator(where).fingerprint() == separator.fingerprint()
    with pytest.raises(ValueError, match="n_channels 3, expected 2"):
        slvr.load_separator(path, n_channels=2)
    with pytest.raises(ValueError, match="sample_rate_hz 16000, expected 22050"):
        slvr.load_separator(path, sample_rate_hz=22_050)
    with pytest.raises(ValueError, match="a separator has no 'rate'"):
        slvr.load_separator(path, rate=3)


@pytest.mark.parametrize(
    ("about", "says"),
    [
        ({"name": "os:system"}, "does not say which separator"),
        ({"shape": {"bottleneck": 2**14, "hidden": 2**14}}, "its sizes are not those of its"),
        ({"shape": {"bottleneck": 7}}, "is not what it says"),
        ({"shape": {"strange": 7}}, "is not what it says"),
        ({"shape": 3}, "is not what it says"),
    ],
)
def test_a_checkpoint_that_says_something_else_is_refused(
    tmp_path: Path, about: dict, says: str
) -> None:
    path = write_separator(tmp_path / "x.safetensors", untrained(0, **SMALL), **about)
    with pytest.raises(ValueError, match=says):
        slvr.load_separator(path)


def test_an_encoders_checkpoint_is_no_separator(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "x.safetensors", {}, {"encoder": {}})
    with pytest.raises(ValueError, match="holds an encoder; expected a checkpoint of `train sep"):
        slvr.load_separator(tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="no such checkpoint"):
        slvr.load_separator(tmp_path / "nothing")
