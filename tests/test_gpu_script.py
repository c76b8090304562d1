"""The script for a GPU machine: what a CPU can show of it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tests" / "benchmarks" / "gpu.sh"


def run(script: Path, out: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    """The script, with what it printed."""
    environment = {**os.environ, "PYTHON": sys.executable, "OUT": str(out), **variables}
    line = ["bash", str(script), *arguments]
    return subprocess.run(line, check=False, capture_output=True, text=True, env=environment)


def test_no_stage_ends_the_script_and_one_report_holds_all(tmp_path: Path) -> None:
    python = tmp_path / "python"  # fails in one stage, hangs in the next
    python.write_text(
        "#!/bin/sh\n"
        'case "$*" in *gpu.py*) echo broken; exit 3;; *augmentations*) sleep 60;; esac\n'
        "echo fine\n"
    )
    python.chmod(0o755)
    stages = ["imports", "gpu-tests", "views", "front-end"]
    done = run(SCRIPT, tmp_path, *stages, PYTHON=str(python), LIMIT_S="10")
    assert done.returncode == 1
    assert "| imports | done |" in done.stdout
    assert "| gpu-tests | failed: 3 |" in done.stdout
    assert "| views | stopped at its limit |" in done.stdout
    assert "| front-end | left out: no time |" in done.stdout
    report = (tmp_path / "report.txt").read_text()
    assert report.index("fine") < report.index("broken") < report.index("| views | stopped")


def test_an_unknown_stage_or_option_is_said(tmp_path: Path) -> None:
    done = run(SCRIPT, tmp_path, "veiws")
    assert done.returncode == 1
    assert "no stage veiws; expected some of card imports gpu-tests views" in done.stderr
    done = run(SCRIPT, tmp_path, "--devise", "cpu")
    assert done.returncode == 2 and "no option --devise" in done.stderr


def test_all_stages_fit_into_the_time_that_there_is() -> None:
    limits = re.findall(r"\bstage [\w-]+ (\d+) ", SCRIPT.read_text())
    assert len(limits) == 11
    assert sum(map(int, limits)) <= 520


def test_the_stages_run_on_a_cpu(tmp_path: Path) -> None:
    done = run(SCRIPT, tmp_path, "--device", "cpu", "--tiny", "imports", "front-end")
    assert done.returncode == 0, (tmp_path / "report.txt").read_text()
    assert "### Front end, 2 views of 1 s" in (tmp_path / "report.txt").read_text()


@pytest.mark.long
def test_a_rehearsal_of_every_stage_with_what_a_gpu_machine_has(tmp_path: Path) -> None:
    python = shutil.which("python3.12")
    works = python and not subprocess.run([python, "-c", ""], check=False).returncode
    if not works and not (ROOT / ".gpu" / "made").exists():
        pytest.skip("no Python 3.12")
    done = run(ROOT / "tests" / "benchmarks" / "gpu_rehearsal.sh", tmp_path, PYTHON="python3.12")
    assert done.returncode == 0, (ROOT / ".gpu" / "report.txt").read_text()
