"""What the README and the pages beside it say is so: commands, Python, paths, tables."""

import importlib
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import soundfile
import yaml

from conftest import noise, run
from one_name import ROOMS
from slvr.ingest.cli import main as ingest
from slvr.ingest.recipes import RECIPES as DATASETS
from slvr.shards.clip import Clip, Source
from slvr.shards.rows import CLIPS, Row, read_rows, write_rows
from slvr.train.recipes import RECIPES
from test_house import MAY_IMPORT

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.S)
PYTHON = [
    code
    for page in (README, (ROOT / "docs" / "python.md").read_text())
    for code in re.findall(r"```python\n(.*?)```", page, flags=re.S)
]
SHELL = [text for kind, text in BLOCKS if kind == "sh"]
for page in ("mirrors.md", "hear.md"):
    SHELL += re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / page).read_text(), flags=re.S)
COMMANDS = [line for text in SHELL for line in text.splitlines() if line]


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
    kinds = ("ingest folder", "ingest verify", "ingest inspect")
    ours = [line for line in COMMANDS if line.startswith(kinds)]
    assert len(ours) == 4
    for line in ours:
        done = run(*shlex.split(line), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    shards = tmp_path / "shards" / "my_sounds"  # its table is what the README says of it
    assert (shards / "dataset.json").read_text().startswith('{\n "schema": 2,')
    assert '`"schema": 2`' in README and {"labels", "events", "attributes"} == {
        word
        for row in README.splitlines()
        if row.startswith(f"| `{CLIPS}`")
        for word in re.findall(r"`(\w+)`", row)
    }
    for row in read_rows(shards / CLIPS):
        clip = row.clip
        assert (clip.source_format, clip.source_codec) == ("wav", "pcm_s16le")
        assert (clip.source_rate_hz, clip.source_channels, clip.source_bytes) == (8000, 1, 8044)
    small = ("--recipe", "demo", "--steps", "1", "--batch", "2", "--clip-s", "0.2")
    done = run("train", *small, "--shards", "shards/my_sounds", "--out", "runs/mine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = []
    for code in PYTHON:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert re.match(r"class_\d_\d_wav_\w+ 8000 \['class_\d'\]\n", said[0])
    assert "torch.Size([2, 4, 16000]) ('pitch_shift', 'white_noise'" in said[1]
    assert said[2].startswith("torch.Size([256]) {'contrastive': slice(0, 128")
    assert said[3].startswith("{'ok': 4} ") and "int16" in said[3]
    assert said[4] == "torch.Size([2, 4, 16000]) True\n"
    assert said[5] == "torch.Size([2, 4, 3, 128, 32])\n"
    assert said[6].startswith("torch.Size([2, 256]) None {")


def test_the_example_of_diff_is_what_diff_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = (text for _, text in BLOCKS if text.startswith("$ ingest diff"))
    fates = {  # what the example says of a clip -> status and reason, and hash, in A and in B
        "same PCM (ok)": [("ok", "", "1"), ("ok", "", "1")],
        "same failure (gone: unavailable)": [("gone", "unavailable", "")] * 2,
        "different status or reason (ok -> gone: unavailable)": [
            ("ok", "", "1"),
            ("gone", "unavailable", ""),
        ],
        "different PCM (ok)": [("ok", "", "1"), ("ok", "", "2")],
    }
    counts = re.findall(r"^  (\d+) (.*)$", example, flags=re.M)
    for side in range(2):
        directory = tmp_path / "ab"[side]
        directory.mkdir()
        rows = []
        for n, fate in counts:
            status, reason, pcm = fates[fate][side]
            for _ in range(int(n)):
                known = {"status": status, "reason": reason, "pcm_sha256": pcm}
                rows.append(Row(Clip(f"clip_{len(rows)}", "eval", Source("x"), **known)))
        write_rows(directory / CLIPS, rows)
    assert ingest(["diff", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    assert capsys.readouterr().out == example.partition("\n")[2]


def test_names_in_the_readme_exist() -> None:
    for name in ("simclr", "simsiam", "predictive", "demo", "mtslvr-simsiam-bn"):
        assert name in RECIPES and name in README
    for name in DATASETS:
        assert f"ingest {name}" in README or f"make {name}" in README


def table(page: str, first: str) -> list[list[str]]:
    """The rows of the table whose first heading is this one, cells without backquotes."""
    lines = page.partition(f"| {first} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_paths_and_names_in_the_pages_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    folders = "|".join((*ROOMS, "tests", "src"))
    for path in re.findall(rf"`((?:{folders})/[\w/.]*)`", text):
        assert (ROOT / path).exists(), path
    for link in re.findall(r"\]\(([\w./-]+)\)", text):
        assert (ROOT / link).is_file(), link
    for name in re.findall(r"`(slvr\.[\w.]+\.[A-Z]\w+)`", text):
        module, _, found = name.rpartition(".")
        assert hasattr(importlib.import_module(module), found), name


def test_contributing_says_who_may_import_whom() -> None:
    said = {
        room.strip("/"): re.findall(r"\w+", who) for room, _, who in table(CONTRIBUTING, "room")
    }
    assert said == {room: sorted(may) for room, may in MAY_IMPORT.items()}
    assert {room.strip("/") for room, _ in table(README, "room")} == set(ROOMS)


def test_contributing_names_targets_of_make() -> None:
    for command, _ in table(CONTRIBUTING, "command"):
        line = [*command.split(), "--dry-run"]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def checks() -> list[str]:
    """What `make test` runs, in order."""
    # a make above this one would have it say which folder it enters
    line = ["make", "--no-print-directory", "--dry-run", "--assume-old=.venv/extras", "test"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_before_a_commit_runs_what_make_test_runs_but_the_tests() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    of_make = checks()
    assert [hook["entry"] for hook in repository["hooks"]] == of_make[:-1]
    assert ".venv/bin/pytest" in of_make[-1]


def test_the_workflow_runs_make_test_on_every_python_that_is_promised() -> None:
    (job,) = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"].values()
    runs = [step["run"] for step in job["steps"] if "run" in step]
    assert [run.split()[:2] for run in runs] == [["make", "test"]]
    promised = [name.rpartition(" ")[2] for name in PROJECT["classifiers"] if ":: 3." in name]
    assert job["strategy"]["matrix"]["python"] == promised
    assert PROJECT["requires-python"] == f">={promised[0]}"


def test_the_changelog_knows_this_version() -> None:
    versions = re.findall(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.M)
    assert versions[0] == "Unreleased"
    assert versions[1] == PROJECT["version"]
