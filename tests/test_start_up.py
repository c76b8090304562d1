"""What answers at once: torch takes seconds to load, so nothing loads it that does not compute.

`sys.modules` says so; a clock would only say how busy the machine is.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from slvr.eval.tasks.registry import FEW_SHOT, TASKS

MODULES = {
    "slvr": "slvr.command.cli",
    "ingest": "slvr.ingest.cli",
    "train": "slvr.train.cli",
    "evaluate": "slvr.eval.cli",
}
RUN_ALL = """
import contextlib, importlib, io, json, sys
results = []
for module, args in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = importlib.import_module(module).main(args)
        except SystemExit as end:
            code = end.code
    results.append((code, said.getvalue(), "torch" in sys.modules))
print(json.dumps(results))
"""


def run_all(lines: Sequence[str], cwd: Path) -> list[tuple[int, str, bool]]:
    """Exit code and output of each command line, all in one process, and whether torch is there."""
    calls = [(MODULES[name], args) for name, *args in map(str.split, lines)]
    line = [sys.executable, "-c", RUN_ALL, json.dumps(calls)]
    done = subprocess.run(line, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [(code, said, torch) for code, said, torch in json.loads(done.stdout)]


def test_import_slvr_loads_no_torch(tmp_path: Path) -> None:
    code = "import slvr, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0


def test_every_help_and_the_version_load_no_torch(tmp_path: Path) -> None:
    lines = ["slvr --version", "slvr --help", "ingest --help", "train --help", "evaluate --help"]
    said = dict(zip(lines, run_all(lines, tmp_path), strict=True))
    (choices,) = re.findall(
        r"\{([\w,-]+)\}\n", said["ingest --help"][1].partition("\n\n")[0] + "\n"
    )
    of_ingest = choices.split(",")
    of_evaluate = [name for name in TASKS if name != FEW_SHOT]
    assert {"demo", "folder", "audioset", "esc50", "all", "list", "verify", "diff", "retry"} <= set(
        of_ingest
    )
    assert all(f"evaluate {name}" in said["evaluate --help"][1] for name in of_evaluate)
    lines += [f"ingest {name} --help" for name in of_ingest]
    lines += [f"evaluate {name} --help" for name in of_evaluate]
    lines += ["slvr train --help"]
    for line, (code, text, torch) in zip(lines, run_all(lines, tmp_path), strict=True):
        assert code == 0, f"{line}: {text}"
        assert text.startswith(("usage: ", "slvr 0.")), line
        assert not torch, f"{line} loads torch"


@pytest.mark.parametrize(
    "line",
    [
        "ingest verify nope",
        "ingest status nope",
        "ingest diff nope nope",
        "train --shards nope",
        "evaluate --shards nope --checkpoint nope",
    ],
)
def test_a_path_that_is_not_there_is_named_before_torch_is_loaded(
    line: str, tmp_path: Path
) -> None:
    ((code, said, torch),) = run_all([line], tmp_path)
    assert code == 2
    assert "nope" in said and "Traceback" not in said
    assert not torch, f"{line} loads torch"
    assert not list(tmp_path.iterdir())
