"""Scores of whole clips and where frames are, by counting and against the kit's numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from slvr.eval.frames import Framing, frames_of
from slvr.eval.hear_config import Predicted
from slvr.eval.hear_scores import class_scores, multilabel_scores, octave_confusion, pitches_of
from slvr.eval.judged import Fold, folds_of, settings_of
from slvr.eval.published_hear import published_task

FIXTURES = Path(__file__).parents[2] / "shared" / "fixtures" / "k22"
FOUND = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the kit's own numbers are not here")


@FOUND
def test_scores_of_clips_are_the_kits() -> None:
    want = json.loads((FIXTURES / "hear_eval.json").read_text())["metrics"]
    arrays = np.load(FIXTURES / "hear_eval.npz")
    said, truth = arrays["pitch_logits"], arrays["pitch_labels_idx"]
    scores = class_scores(said, truth, range(21, 109))
    assert list(scores) == ["pitch_acc", "chroma_acc"]
    assert list(scores.values()) == pytest.approx([want["pitch_acc"], want["chroma_acc"]], abs=1e-7)
    assert class_scores(said, truth)["top1_acc"] == pytest.approx(want["top1_acc"], abs=1e-7)
    several = multilabel_scores(arrays["ap_scores"], arrays["ap_targets"])
    assert several["mAP"] == pytest.approx(want["mAP"], abs=1e-7)
    assert several["d_prime"] == pytest.approx(want["d_prime"], abs=1e-7)
    assert several["aucroc"] == pytest.approx(want["aucroc"], abs=1e-7)


def test_of_equal_answers_the_lowest_class_counts_and_a_class_of_no_clip_lowers_map() -> None:
    said = np.array([[0.5, 0.5], [0.2, 0.2]])
    assert class_scores(said, np.array([0, 1]))["top1_acc"] == 0.5
    scores = np.array([[0.9, 0.1], [0.2, 0.3]])
    assert multilabel_scores(scores, np.array([[1, 0], [0, 0]]))["mAP"] == 0.5


def test_pitches_are_numbers_and_octaves_are_counted_from_the_right_answer() -> None:
    assert pitches_of(["60", "72"]) == (60, 72) and pitches_of(["60", "c"]) is None
    said = np.eye(3)[[0, 1, 2, 1]]  # answers: 60, 72, 85, 72
    shares, octaves, distances = octave_confusion(said, np.array([0, 0, 2, 2]), (60, 72, 85))
    assert (octaves, distances) == ([4, 6], [-1, 0, 1])
    np.testing.assert_allclose(shares, [[0, 0.5, 0.5], [0.5, 0.5, 0]])
    assert class_scores(said, np.array([0, 0, 2, 2]), (60, 72, 85)) == {
        "pitch_acc": 0.5,
        "chroma_acc": 0.75,
    }


class Means:
    """The mean of a window; frames of its own each 100 ms."""

    name, fingerprint, heads = "means", "x", {"all": slice(0, 1)}
    frame_s = 0.1

    def embed(self, waves: torch.Tensor) -> torch.Tensor:
        return waves.mean(1, keepdim=True)

    def embed_frames(self, waves: torch.Tensor) -> torch.Tensor:
        return waves[:, : waves.shape[1] // 1600 * 1600].unflatten(1, (-1, 1600)).mean(2)[..., None]


def test_a_frame_is_of_the_window_around_its_stamp() -> None:
    wave = torch.arange(8000, dtype=torch.float32)
    values, times_ms = frames_of(Means(), wave, Framing(50.0, 100.0), 2)
    assert times_ms.tolist() == [50.0 * i for i in range(11)]
    at = 16 * 200  # 200 ms
    assert float(values[4]) == pytest.approx(float(wave[at - 800 : at + 800].mean()), rel=1e-5)
    assert float(values[0]) == pytest.approx(float(wave[:800].sum()) / 1600, rel=1e-5)


def test_the_networks_own_frames_are_stamped_in_their_middle_or_from_end_to_end() -> None:
    wave = torch.arange(8000, dtype=torch.float32)
    values, times_ms = frames_of(Means(), wave, Framing(None), 2)
    assert values.shape == (5, 1) and times_ms.tolist() == [50, 150, 250, 350, 450]
    _, ends = frames_of(Means(), wave, Framing(None, stamps="ends"), 2)
    assert ends.tolist() == [0, 125, 250, 375, 500]


class FoldsOnly:
    """What `folds_of` reads of a set."""

    class directory:  # noqa: N801
        splits = tuple(f"fold{i:02d}" for i in range(5))
        path = "folds"


@FOUND
def test_folds_take_turns_as_in_the_kit() -> None:
    config = Predicted(shards=("x",), encoder=("a:b",))
    wanted = json.loads((FIXTURES / "hear_eval.json").read_text())["metrics"]
    assert folds_of(FoldsOnly(), config) == [
        Fold(tuple(sorted(each["train"])), each["valid"][0], each["test"][0])
        for each in wanted["data_splits_from_5_folds"]
    ]


def test_epochs_and_validations_are_the_kits() -> None:
    config = Predicted(shards=("x",), encoder=("a:b",))
    kit = settings_of(config, "nsynth_pitch-v2.2.3-50h", 42)
    assert (kit.max_epochs, kit.check_every, kit.patience, kit.batch) == (500, 3, 20, 1024)
    assert settings_of(config, "dcase2016_task2-hear2021-full", 42).check_every == 10
    short = Predicted(shards=("x",), encoder=("a:b",), max_epochs=2)
    assert settings_of(short, "x", 42).check_every == 2  # else nothing would be selected
    linear = Predicted(shards=("x",), encoder=("a:b",), predictor="linear")
    assert settings_of(linear, "x", 42).max_epochs == 250


def test_tasks_are_told_by_the_names_of_their_folders() -> None:
    names = {
        "dcase2016_task2-hear2021-full": "dcase2016_task2",
        "nsynth_pitch-v2.2.3-50h": "nsynth_pitch-50h",
        "nsynth_pitch-v2.2.3-5h": "nsynth_pitch-5h",
        "speech_commands-v0.0.2-full": "speech_commands-full",
        "speech_commands-v0.0.2-5h": "speech_commands-5h",
        "speech_commands-v0.0.2-35": None,
        "esc50-v2.0.0-full": None,
    }
    assert {name: published_task(name) for name in names} == names
