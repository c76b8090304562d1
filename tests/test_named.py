"""Names of registries, of the user's own classes, and of files, which run nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from slvr.command.named import loaded, named, stored

REGISTRY = {"decoder": "json.decoder:JSONDecoder"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_registry_s_entry_is_not_looked_for_in_the_working_folder(here: Path) -> None:
    """Nor is what our modules import: a stranger's torch.py is never ours."""
    for name in ("torch", "numpy", "scipy", "json"):
        (here / f"{name}.py").write_text("open('marker', 'w')\n")
    code = (
        "import sys\n"
        "from slvr.command.named import named, stored\n"
        "from slvr.model.encoders.registry import ENCODERS\n"
        "named('resnet18', ENCODERS, '--encoder'); stored('resnet18', ENCODERS, (), 'a file')\n"
        "assert sys.argv[1] not in sys.path, sys.path"
    )
    line = [sys.executable, "-P", "-c", code, str(here)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (here / "marker").exists()


def test_a_user_s_file_finds_its_neighbours(here: Path) -> None:
    (here / "sub").mkdir()
    (here / "sub" / "beside_it.py").write_text("VALUE = 7\n")
    (here / "sub" / "net.py").write_text("from beside_it import VALUE\nclass Net: value = VALUE\n")
    assert loaded("./sub/net.py:Net", "--encoder").value == 7


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("raise RuntimeError('not today')", "RuntimeError: not today"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("def f(:", "SyntaxError"),
        ("x = y", "NameError: name 'y' is not defined"),
        ("", "has no attribute 'Net'"),
    ],
)
def test_whatever_a_user_s_file_raises_is_a_sentence(here: Path, content: str, said: str) -> None:
    (here / "net.py").write_text(content)
    with pytest.raises(ValueError, match=r"--encoder ./net.py:Net: .*" + said):
        named("./net.py:Net", REGISTRY, "--encoder")


def test_what_a_file_names_is_run_only_where_the_same_text_was_typed(here: Path) -> None:
    (here / "evil_one.py").write_text("open('marker', 'w')\nclass X: pass\n")
    for typed in ((), "my_evil_one:X", ["my_evil_one:X"], "evil_one:X.real"):
        with pytest.raises(ValueError, match="names 'evil_one:X', which is none of ours"):
            stored("evil_one:X", REGISTRY, typed, "a file")
    with pytest.raises(ValueError, match="a file: names a list; expected text"):
        stored(["decoder"], REGISTRY, (), "a file")
    assert not (here / "marker").exists()
    assert stored("evil_one:X", REGISTRY, "evil_one:X", "a file").__name__ == "X"
    assert stored("decoder", REGISTRY, (), "a file").__name__ == "JSONDecoder"
