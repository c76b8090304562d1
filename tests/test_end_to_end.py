"""The main job as a user does it, and what a stranger's machine gets from the wheel."""

import json
import re
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

import pandas as pd
import pytest

from conftest import run

ROOT = Path(__file__).parents[1]


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
    assert list(scores["model"]) == ["demo", "untrained", "mean log-mel"]
    assert scores["accuracy"].between(0.2, 1.0).all() and (scores["ci95"] < 0.05).all()
    page = (tmp_path / "results/demo/report.html").read_text()
    assert "<svg" in page and "mean log-mel" in page and not re.search(r'(src|href)="http', page)
    features = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    assert len(features) == 3
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


def test_the_wheel_works_away_from_the_checkout(tmp_path: Path) -> None:
    """Built, installed into a clean environment, run from another folder; --help within 2 s.

    The dependencies are lent by this environment through a path file, the wheel is the built one.
    """
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", str(tmp_path)]
    subprocess.run([*build, str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("slvr-*.whl")
    home = tmp_path / "env"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--no-deps", "--quiet", str(wheel)], check=True)
    site = next((home / "lib").glob("python*/site-packages"))
    lent = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "lent.pth").write_text(lent + "\n")
    for name in ("ingest", "train", "evaluate"):
        seconds = []
        for _ in range(3):  # the first call writes the bytecode
            begun_s = time.monotonic()
            done = subprocess.run(
                [home / "bin" / name, "--help"],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )
            seconds.append(time.monotonic() - begun_s)
            assert done.returncode == 0, done.stderr
            assert f"usage: {name}" in done.stdout
        assert min(seconds) < 2, f"{name} --help took {min(seconds):.1f} s"
    found = subprocess.run(
        [python, "-c", "import slvr.eval.report; print(slvr.eval.report.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith(str(site))
    assert (site / "slvr" / "eval" / "report.html.j2").is_file()
    assert not (site / "slvr" / "shards" / "demo").exists()


@pytest.mark.parametrize("name", ["ingest", "train", "evaluate"])
def test_help_loads_no_torch(name: str, tmp_path: Path) -> None:
    module = {"evaluate": "eval"}.get(name, name)
    code = (
        f"import sys; from slvr.{module}.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"
