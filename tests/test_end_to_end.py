"""The main job as a user does it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from conftest import run
from slvr.eval.embedders import MEL_STATISTICS


def test_demo_corpus_to_model_to_accuracy(tmp_path: Path) -> None:
    """The commands of `make demo`, small."""
    steps = [
        ("ingest", "demo", "--n-train", "60", "--n-per-class", "4", "--out", "shards/demo"),
        ("ingest", "verify", "shards/demo"),
        (
            *("train", "--recipe", "demo", "--shards", "shards/demo", "--out", "runs/demo"),
            *("--steps", "20", "--batch", "16", "--resume"),
        ),
        (
            *("evaluate", "--checkpoint", "runs/demo", "--shards", "shards/demo"),
            *("--out", "results/demo", "--n-tasks", "500", "--classifier", "centroid"),
        ),
    ]
    for name, *args in steps:
        done = run(name, *args, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "report: results/demo/report.html" in done.stdout.replace("\\", "/")
    scores = pd.read_csv(tmp_path / "results/demo/results.csv")
    assert list(scores["model"]) == ["demo", "untrained", *MEL_STATISTICS]
    assert scores["accuracy"].between(0.2, 1.0).all() and (scores["ci95"] < 0.05).all()
    page = (tmp_path / "results/demo/report.html").read_text()
    assert "<svg" in page and "mean log-mel" in page and not re.search(r'(src|href)="http', page)
    features = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    assert len(features) == 2 + len(MEL_STATISTICS)
    again = run(steps[-1][0], *steps[-1][1:], cwd=tmp_path)
    assert again.returncode == 0
    # nothing is embedded twice
    assert features == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    for folder in ("shards/demo", "runs/demo", "results/demo"):
        record = json.loads((tmp_path / folder / "run.json").read_text())
        assert record["command"] in ("ingest", "train", "evaluate")


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
def test_speech_of_a_synthesiser_is_ingested_and_told_apart(tmp_path: Path) -> None:
    """Somebody's own audio: sentences in three languages, classes by folder."""
    for voice in ("en-us", "de", "it"):
        (tmp_path / "speech" / voice).mkdir(parents=True)
        for speed in range(120, 240, 20):
            wav = tmp_path / "speech" / voice / f"{speed}.wav"
            said = ["espeak-ng", "-v", voice, "-s", str(speed), "seven apples and two pears"]
            subprocess.run([*said, "-w", str(wav)], check=True)
    assert run("ingest", "folder", "speech", cwd=tmp_path).returncode == 0
    assert run("ingest", "verify", "shards/speech", cwd=tmp_path).returncode == 0
    train = ("--shards", "shards/speech", "--recipe", "demo", "--steps", "2", "--batch", "8")
    assert run("train", *train, "--out", "runs/x", cwd=tmp_path).returncode == 0
    evaluate = ("--checkpoint", "runs/x", "--shards", "shards/speech", "--n-way", "3")
    done = run("evaluate", *evaluate, "--n-tasks", "500", "--out", "r", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    scores = pd.read_csv(tmp_path / "r" / "results.csv").set_index("model")["accuracy"]
    assert scores["mean log-mel"] > 0.6  # one sentence a language: easy
