"""Rules of the house that no single room can check."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from one_name import ROOMS

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "command": set(),
    "shards": set(),
    "model": set(),
    "ingest": {"command", "shards"},
    "pipeline": {"shards"},
    "train": {"command", "pipeline", "model", "shards"},
    "eval": {"command", "pipeline", "model", "shards"},
}
BASE = {"recipe", "decode", "expected", "download", "crew", "measure", "names", "endings"}
SOURCES_OF_CLIPS = {"archives", "youtube", "mirrors", "hear"}
MAY_IMPORT_IN_INGEST = {
    "expected": set(),
    "download": set(),
    "recipe": {"expected"},
    "crew": set(),
    "names": set(),
    "endings": set(),
    "decode": {"recipe"},
    "measure": {"crew"},
    **dict.fromkeys((*SOURCES_OF_CLIPS, "building"), BASE),
    "mirrors": BASE | {"archives"},  # zips
    "hear": BASE | {"archives"},
    "synthesis": set(),
    "recipes": BASE | SOURCES_OF_CLIPS | {"synthesis"},
    "all_sets": BASE | SOURCES_OF_CLIPS | {"recipes"},
    "looks": BASE | {"building"},
    "cli": BASE | {"building", "recipes", "all_sets", "looks"},
    "__main__": {"cli"},
    "__init__": set(),
}
SOURCES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def imports(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            modules.add(node.module)
    return modules


def of_ours(module: str) -> tuple[str, ...]:
    """`slvr.model.encoders.resnet18` -> ("model", "encoder"); a stranger's module -> ()."""
    package, *parts = module.split(".")
    return tuple(parts) if package == "slvr" else ()


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_import_reads_slvr(path: Path) -> None:
    bare = {module for module in imports(path) if module.split(".")[0] in ROOMS}
    assert not bare, "beside a user's model.py or train.py a bare name finds theirs"


def test_a_bare_room_fails_the_suite(tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests" / "one_name.py", tmp_path / "conftest.py")
    (tmp_path / "model.py").write_text("")
    (tmp_path / "test_it.py").write_text("def test_it():\n    import model\n")
    pytest_of_it = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(pytest_of_it, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 passed, 1 error" in done.stdout
    assert "{'model'}" in done.stdout


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    for module in imports(path):
        other = of_ours(module)[:1]
        if other and other[0] != room:
            assert other[0] in MAY_IMPORT[room], f"{room} must not import {module}"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "ingest").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_imports_inside_ingest_go_one_way(path: Path) -> None:
    part = path.relative_to(ROOT / "ingest").with_suffix("").parts[0]
    for module in imports(path):
        if of_ours(module)[:1] == ("ingest",):
            other = of_ours(module)[1]
            allowed = MAY_IMPORT_IN_INGEST[part] | {part}
            assert other in allowed, f"ingest/{part} must not import {module}"


def test_nothing_imports_in_a_circle() -> None:
    def name(path: Path) -> str:
        parts = path.relative_to(ROOT).with_suffix("").parts
        return ".".join(("slvr", *parts)).removesuffix(".__init__")

    modules = {name(path): ast.walk(ast.parse(path.read_text())) for path in SOURCES}
    graph = {
        module: {
            whole if (whole := f"{node.module}.{alias.name}") in modules else node.module
            for node in nodes
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for module, nodes in modules.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_eval_takes_features_from_the_pipeline_not_augmentations() -> None:
    # the one that measures how far augmentations move the features
    others = set((ROOT / "eval").rglob("*.py")) - {ROOT / "eval" / "tasks" / "invariance.py"}
    for path in others:
        assert not {
            m
            for m in imports(path)
            if m.startswith(("slvr.pipeline.aug", "slvr.pipeline.views.chains"))
        }


def test_every_package_ships() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {name for name in wheel["only-include"] if "/" not in name} == set(ROOMS)
    assert wheel["sources"] == {"src/slvr": "slvr"} | {room: f"slvr/{room}" for room in ROOMS}
    links = {path.name: path for path in (ROOT / "src" / "slvr").iterdir() if path.is_symlink()}
    assert {name: link.readlink() for name, link in links.items()} == {
        room: Path("../..", room) for room in ROOMS
    }


def test_every_dependency_is_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {
        "pyyaml": "yaml",
        "scikit-learn": "sklearn",
        "yt-dlp": "yt_dlp",
        "tensorboard": "torch.utils.tensorboard",
    }
    used = {module for path in SOURCES for module in imports(path)}
    used |= {"torchaudio"}  # imported by name in pipeline/torchaudio_import.py
    for requirement in project["dependencies"]:
        name = re.match(r"[a-z0-9-]+", requirement).group()
        module = names.get(name, name.replace("-", "_"))
        assert any(m == module or m.startswith(f"{module}.") for m in used), f"{name} is unused"
        # only the newest release of yt-dlp keeps up with YouTube
        assert "<" in requirement or name == "yt-dlp", f"{name} has no upper bound"


def test_nothing_heavy_or_foreign_is_committed() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.is_file():
            assert path.stat().st_size < 300_000, f"{name} is large"
            assert path.suffix not in {".wav", ".flac", ".tar", ".pt", ".safetensors", ".csv"}, name
