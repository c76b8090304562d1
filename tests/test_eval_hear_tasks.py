"""`evaluate hear`, `events` and `pitch` on sets whose answer is known."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hear_sets
from conftest import write_run
from slvr.eval.cli import main
from slvr.eval.report import REPORT
from slvr.model.encoders.resnet18 import ResNet18

SPLITS = {"train": 10, "valid": 4, "test": 4}
FAST = ["--hidden-dim", "32", "--max-epochs", "90", "--check-every", "3", "--patience", "20"]
ENCODER = ["--encoder", "./spectra.py:embed", "--no-baselines", "--window-ms", "100"]
PITCHES = [45, 57, 69, 81]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    (tmp_path / "spectra.py").write_text(hear_sets.SPECTRA)
    for rate in (16_000, 32_000):
        (tmp_path / f"outside{rate}.py").write_text(hear_sets.OUTSIDE.format(rate=rate))
    return tmp_path


def results(folder: str) -> pd.DataFrame:
    return pd.read_csv(Path("results") / folder / "results.csv", keep_default_na=False)


def test_notes_by_the_kits_grid_beside_the_published(here: Path, capsys) -> None:
    hear_sets.notes(
        here / "notes", {"train": 24, "valid": 8, "test": 8}, PITCHES, task="nsynth_pitch-v2.2.3-5h"
    )
    assert main(["hear", *ENCODER, "--task", "notes", *FAST, "--grid-points", "3"]) == 0
    rows = results("spectra-hear")
    assert rows["metric"].tolist() == ["pitch_acc", "chroma_acc"]
    assert (rows["value"] > 0.5).all() and rows["selects"].tolist() == [True, False]
    assert set(rows["predictor"]) == {"kit"} and set(rows["hidden_layers"]) <= {1, 2}
    printed = " ".join(capsys.readouterr().out.split())
    assert "nsynth_pitch-5h, pitch_acc, beside the published results" in printed
    assert "CED-base" in printed and "chance" in printed
    assert "3 points of its grid" in printed and "whole clips" in printed


def test_pitch_shows_how_many_octaves_an_answer_is_off(here: Path) -> None:
    hear_sets.notes(here / "notes", {"train": 12, "valid": 8, "test": 8}, PITCHES)
    args = ["pitch", *ENCODER, "--task", "notes", *FAST, "--predictor", "linear", "--lr", "0.01"]
    assert main(args) == 0
    page = (here / "results" / "spectra-pitch" / REPORT).read_text()
    assert "octaves that the answer is off" in page and "octave 4" in page
    assert set(results("spectra-pitch")["hidden_layers"]) == {0}


def test_folds_are_each_tested_once_and_the_first_one_chooses(here: Path) -> None:
    hear_sets.notes(
        here / "folds",
        dict.fromkeys(("fold00", "fold01", "fold02"), 8),
        PITCHES,
        evaluation=["top1_acc"],
    )
    assert (
        main(["hear", *ENCODER, "--task", "folds", *FAST, "--grid-points", "2", "--seeds", "2"])
        == 0
    )
    row = results("spectra-hear").iloc[0]
    assert (row.n_folds, row.n_seeds) == (3, 2)
    assert 0.4 < row.value <= 1
    assert main(["few-shot", *ENCODER[:2], "--shards", "folds"]) == 2  # others want a split


def test_events_are_found_with_the_ceiling_beside(here: Path, capsys) -> None:
    hear_sets.scenes(here / "scenes", SPLITS, task="dcase2016_task2-hear2021-full")
    args = ["events", *ENCODER, "--task", "scenes", *FAST, "--grid-points", "2"]
    assert main([*args]) == 0
    rows = results("spectra-events")
    overall = rows[rows["class"] == ""].set_index("metric")
    onset_f = overall.loc["onset_f"]
    assert float(onset_f.value) > 0.8 and float(onset_f.ceiling) > 0.95
    assert int(onset_f.n_files) == 4 and int(onset_f.n_files_without) >= 1  # the empty scene
    assert int(onset_f.n_reference) == 9
    of_class = rows[rows["class"] != ""]
    assert set(of_class["class"]) == {"high", "low"}
    assert of_class.groupby("metric")["n_hits"].sum().nunique() == 1
    assert int(of_class["n_hits"].iloc[[0, 4]].sum()) == int(onset_f.n_hits)
    printed = " ".join(capsys.readouterr().out.split())
    assert "windows of 100 ms each 50 ms, stamped in the middle" in printed
    assert "PaSST 2lvl+mel (published)" in printed and "COLA (clip) (published), paper*" in printed
    assert main([*args, "--hop", "500", "--out", "coarse"]) == 0
    coarse = pd.read_csv("coarse/results.csv")
    assert float(coarse["ceiling"].iloc[0]) < 0.7  # events of one frame are left out
    assert main(["hear", *args[1:]]) == 0
    same = results("spectra-hear").set_index("metric")
    assert float(same.loc["onset_f"].value) == pytest.approx(float(onset_f.value))


def test_nothing_found_is_0_and_is_said(here: Path, capsys) -> None:
    hear_sets.scenes(here / "scenes", {"train": 2, "valid": 2, "test": 2})
    args = ["events", *ENCODER, "--task", "scenes", "--predictor", "linear", "--max-epochs", "3"]
    assert main([*args, "--min-duration-ms", "99999"]) == 0
    rows = results("spectra-events")
    assert rows[rows["class"] == ""]["value"].tolist()[:3] == ["0.0", "0.0", "0.0"]
    assert "nothing was estimated, so F is 0" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("rate", [16_000, 32_000])
def test_an_encoder_of_the_hear_interface_is_ranked_by_one_command(
    here: Path, capsys, rate: int
) -> None:
    hear_sets.scenes(here / "scenes", SPLITS)
    hear_sets.notes(here / "notes", {"train": 8, "valid": 4, "test": 4}, PITCHES)
    hear = ["--hear", f"./outside{rate}.py@weights.pt", "--no-baselines", *FAST]
    assert main(["events", *hear, "--task", "scenes", "--grid-points", "1"]) == 0
    rows = results(f"outside{rate}-events")
    assert float(rows["value"].iloc[0]) > 0.5
    assert "encoders of --hear have frames and stamps of their own" in capsys.readouterr().out
    assert main(["hear", *hear, "--task", "notes", "--grid-points", "1"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert ("takes 32000 Hz" in printed) == (rate != 16_000)


def test_frames_are_computed_once_and_taken_up_where_they_stopped(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slvr.eval import frames

    hear_sets.scenes(here / "scenes", SPLITS)
    args = ["events", *ENCODER, "--task", "scenes", "--predictor", "linear", "--max-epochs", "3"]
    whole, asked = frames.frames_of, []

    def failing(model, wave, how, batch):
        asked.append(len(wave))
        if len(asked) == 5:
            raise KeyboardInterrupt
        return whole(model, wave, how, batch)

    monkeypatch.setattr(frames, "frames_of", failing)
    assert main(args) == 130
    assert main(args) == 0
    assert len(asked) == 1 + sum(SPLITS.values())
    first = results("spectra-events")
    assert main([*args, "--cache", "elsewhere"]) == 0
    np.testing.assert_array_equal(first["value"], results("spectra-events")["value"])
    assert len(asked) == 1 + 2 * sum(SPLITS.values())
    assert main(args) == 0 and len(asked) == 1 + 2 * sum(SPLITS.values())


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["pitch", "--task", "scenes"], "so there is nothing to learn"),
        (["events", "--task", "notes"], "0 classes of events, so there is nothing to learn"),
        (["events", "--task", "scenes", "--hop", "network"], "has no frames of its own"),
        (["events", "--task", "scenes", "--hop", "often"], "--hop often: expected network, or"),
        (["hear", "--task", "notes", "--valid-split", "dev"], "no split 'dev'"),
        (["hear"], "no set: give --task SHARDS"),
        (["hear", "--task", "notes", "--threshold", "2"], "--threshold 2.0: out of range"),
    ],
)
def test_what_cannot_be_asked_gets_one_sentence(
    here: Path, capsys, args: list[str], sentence: str
) -> None:
    hear_sets.scenes(here / "scenes", {"train": 2, "valid": 2, "test": 2})
    hear_sets.notes(here / "notes", {"train": 4, "valid": 4, "test": 4}, PITCHES)
    assert main([*args, *ENCODER]) == 2
    stderr = capsys.readouterr().err
    assert sentence in stderr and "Traceback" not in stderr


def test_a_run_of_ours_is_judged_beside_its_baselines(here: Path) -> None:
    hear_sets.notes(here / "notes", {"train": 4, "valid": 4, "test": 4}, PITCHES)
    write_run(here / "runs" / "x", ResNet18(variant="bn", dim=8, width=4))
    args = ["hear", "--checkpoint", "runs/x", "--task", "notes", "--predictor", "linear"]
    assert main([*args, "--max-epochs", "3"]) == 0
    assert results("x-hear")["model"].nunique() == 5
    ours = ["--hear", "slvr.eval.hear@runs/x", "--no-baselines", "--predictor", "linear"]
    assert main(["hear", *ours, "--task", "notes", "--max-epochs", "3", "--out", "again"]) == 0
