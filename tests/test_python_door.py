"""What `import slvr` offers: batches of views that go on where they stopped, and embeddings."""

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

import slvr
from conftest import run, write_run
from slvr.command.named import loaded
from slvr.eval.embedders import encoder_embedder
from slvr.model.encoders.resnet18 import ResNet18
from slvr.pipeline.frontends.logmel import LogMel
from slvr.pipeline.loaders.batching import Batching
from slvr.pipeline.loaders.open import open_loader
from slvr.pipeline.stage import Stage
from slvr.shards.read import ShardDirectory

MakeDirectory = Callable[..., ShardDirectory]
CPU = torch.device("cpu")


@pytest.mark.parametrize("resident", [True, False])
def test_batches_go_on_to_the_bit_from_any_step(
    make_directory: MakeDirectory, resident: bool
) -> None:
    directory = make_directory(n_clips=7, lengths_s=(0.3, 0.6))
    how = {"batch": 3, "clip_s": 0.25, "seed": 5, "resident": resident, "workers": 0}
    batches = slvr.batches(directory, slvr.Views(max_ops=2), **how)
    states, seen = [batches.state()], []
    for batch in islice(batches, 6):  # more than two epochs
        states.append(json.loads(json.dumps(batches.state())))
        seen.append(batch)
    assert [state["step"] for state in states] == list(range(7))
    for step in (1, 4):
        again = slvr.batches(directory, slvr.Views(max_ops=2), **how, state=states[step])
        for expected, found in zip(seen[step:], again, strict=False):
            assert found.keys == expected.keys and torch.equal(found.views, expected.views)
            assert found.known.keys() == expected.known.keys() == {"labels", "differences"}
            for name, rows in found.known.items():
                assert torch.equal(rows, expected.known[name])


def test_they_are_what_training_sees(make_directory: MakeDirectory) -> None:
    directory, views = make_directory(n_clips=6, lengths_s=(0.3,)), slvr.Views()
    batches = slvr.batches(directory, views, batch=4, clip_s=0.25, seed=3, front_end=LogMel())
    loader, _ = open_loader(directory, "train", Batching(4, 4000, 3), CPU)
    for step, (found, batch) in enumerate(zip(batches, islice(loader.batches(), 2), strict=False)):
        images, known = Stage(views, LogMel())(batch.pcm, (3, step))
        assert found.keys == batch.keys and torch.equal(found.views, images)
        assert torch.equal(found.known["labels"], known["labels"])


@pytest.mark.parametrize(
    "other", [{"batch": 2}, {"seed": 1}, {"clip_s": 0.1}, {"normalise": "per-clip"}, {"views": 1}]
)
def test_a_state_of_other_settings_is_refused(
    make_directory: MakeDirectory, other: dict[str, object]
) -> None:
    directory = make_directory(n_clips=6)
    how = {"batch": 3, "clip_s": 0.15, "seed": 0}
    state = slvr.batches(directory, slvr.Views(), **how).state()
    views = slvr.Views(stretch_max_rate=1.4) if other.pop("views", None) else slvr.Views()
    with pytest.raises(ValueError, match=r"state: cannot go on from it: .* there, .* now"):
        slvr.batches(directory, views, **(how | other), state=state)


def test_only_sound_as_the_model_knows_it_is_embedded(tmp_path: Path) -> None:
    model = slvr.load_model(write_run(tmp_path / "run", ResNet18("bn", dim=8, width=8)))
    wave = np.random.default_rng(0).normal(0, 0.1, 8000)
    one, two = model.embed(wave, 16_000), model.embed(np.stack([wave, wave]), 16_000)
    assert one.clips.shape == (8,) and one.frames is None
    torch.testing.assert_close(two.clips, one.clips.expand(2, 8))
    assert model.embed(np.repeat(wave, 2), 32_000).clips.shape == (8,)
    for strange, said in (
        ((wave * 32767).astype(np.int16), "got int16 .*divide int16 samples by 32768"),
        (np.full(8000, np.nan), "holds NaN or infinity"),
        (np.zeros((1, 2, 8000)), r"got float64 \(1, 2, 8000\)"),
    ):
        with pytest.raises(ValueError, match=said):
            model.embed(strange, 16_000)


def test_features_follow_the_code_of_a_user_s_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = Path(__file__).parent / "strangers" / "mine.py"
    (tmp_path / "edited.py").write_text(source.read_text())
    encoder = loaded("./edited.py:MyEncoder", "--encoder")(4, 64)
    before = encoder_embedder("x", encoder, LogMel(), "none", CPU).fingerprint
    assert before == encoder_embedder("x", encoder, LogMel(), "none", CPU).fingerprint
    (tmp_path / "edited.py").write_text(source.read_text() + "\n# edited\n")
    assert before != encoder_embedder("x", encoder, LogMel(), "none", CPU).fingerprint


def test_training_follows_a_preview_in_the_same_folder(
    make_directory: MakeDirectory, tmp_path: Path
) -> None:
    make_directory("data", n_clips=3)
    line = ["--shards", "data", "--clip-s", "0.1", "--batch", "4", "--steps", "1", "--out", "run"]
    line += ["--encoder.width", "8", "--encoder.dim", "8"]
    assert run("train", *line, "--preview", "1", cwd=tmp_path).returncode == 0
    done = run("train", *line, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "a batch of 4 takes some of the 3 clips more than once" in done.stderr
