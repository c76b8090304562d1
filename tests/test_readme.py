"""Every command and every line of Python in the README works as it stands."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from conftest import noise, run
from slvr.ingest.cli import main as ingest
from slvr.ingest.recipes import RECIPES as DATASETS
from slvr.shards.clip import Clip, Source
from slvr.shards.rows import CLIPS, Row, read_rows, write_rows
from slvr.train.config import RECIPES

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
    for code in [text for kind, text in BLOCKS if kind == "python"]:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert re.fullmatch(r"class_\d_\d_wav_\w+ 8000 \['class_\d'\]\n", done.stdout)


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
    for path in re.findall(r"`((?:ingest|pipeline|tests|model)/[\w/]+\.py)`", README):
        assert (ROOT / path).is_file(), path
    for name in DATASETS:
        assert f"ingest {name}" in README or f"make {name}" in README
