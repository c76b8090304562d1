"""Rules of the house that no single room can check."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("command", "ingest", "shards", "pipeline", "model", "train", "eval")
MAY_IMPORT = {
    "command": set(),
    "shards": set(),
    "model": set(),
    "ingest": {"command", "shards"},
    "pipeline": {"shards"},
    "train": {"command", "pipeline", "model", "shards"},
    "eval": {"command", "pipeline", "model", "shards"},
}
SOURCES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


# yt-dlp has no upper bound: only its newest release keeps up with YouTube


def imports(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            modules.add(node.module)
    return modules


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    for module in imports(path):
        other = module.split(".")[0]
        if other in ROOMS and other != room:
            assert other in MAY_IMPORT[room], f"{room} must not import {module}"
        assert module != "eval", "only `from eval.x import y`: the bare name is a builtin's"


def test_eval_takes_features_from_the_pipeline_not_augmentations() -> None:
    # the one that measures how far augmentations move the features
    others = set((ROOT / "eval").rglob("*.py")) - {ROOT / "eval" / "invariance.py"}
    for path in others:
        assert not {m for m in imports(path) if m.startswith(("pipeline.aug", "pipeline.views"))}


def test_every_package_ships() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == set(ROOMS)
    assert set(project["tool"]["mypy"]["packages"]) == set(ROOMS)


def test_every_dependency_is_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {
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
