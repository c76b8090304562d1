"""Every command and every line of Python in the README works as it stands."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from conftest import noise, run
from ingest.recipes import RECIPES as DATASETS
from train.config import RECIPES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.S)
COMMANDS = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines() if line]


def test_the_readme_shows_all_three_commands() -> None:
    assert {line.split()[0] for line in COMMANDS} == {"make", "ingest", "train", "evaluate"}


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_understood(line: str, tmp_path: Path) -> None:
    name, *args = shlex.split(line)
    if name == "make":
        done = subprocess.run(
            ["make", "--dry-run", *args], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return
    for path in tmp_path.glob("*"):
        path.unlink()
    (tmp_path / "my.yaml").write_text("lr: 1.0e-3\n")
    done = run(name, *args, "--print_config", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_folder_commands_and_the_python_do_what_they_say(tmp_path: Path) -> None:
    for i in range(4):
        for folder in (f"my_sounds/class_{i % 2}", "my_recordings"):
            path = tmp_path / folder / f"{i}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, noise(4000, i), 8000)
    ours = [line for line in COMMANDS if line.startswith(("ingest folder", "ingest verify"))]
    assert len(ours) == 3
    for line in ours:
        done = run(*shlex.split(line), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    for code in [text for kind, text in BLOCKS if kind == "python"]:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert re.fullmatch(r"class_\d_\d_wav_\w+ 8000 \['class_\d'\]\n", done.stdout)


def test_names_in_the_readme_exist() -> None:
    for name in ("simclr", "simsiam", "predictive", "demo", "mtslvr-simsiam-bn"):
        assert name in RECIPES and name in README
    for path in re.findall(r"`((?:ingest|pipeline|tests|model)/[\w/]+\.py)`", README):
        assert (ROOT / path).is_file(), path
    for name in DATASETS:
        assert f"ingest {name}" in README or f"make {name}" in README
