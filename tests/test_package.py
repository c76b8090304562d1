"""What a stranger's machine gets: one package, beside modules of theirs that are named like rooms.

The dependencies are lent by this environment through a path file, and what builds wheels is fetched
once; `make test-long` also installs everything anew, as a stranger does.
"""

import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pytest
import soundfile

from conftest import noise
from one_name import ROOMS

ROOT = Path(__file__).parents[1]
LENT = next(path for path in sys.path if path.endswith("site-packages"))
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "runs", "results")
# one worker of pytest-xdist, or each would make the wheel and the environments anew
pytestmark = pytest.mark.xdist_group("package")

STRANGERS = {
    **dict.fromkeys(
        ("train.py", "pipeline.py", "command.py", "shards/__init__.py", "eval/__init__.py"),
        "raise RuntimeError(f'the {__name__} of the stranger was imported')\n",
    ),
    "model.py": "from pathlib import Path\n"
    "Path('imported').write_text(__name__)\n"
    "def embed(waves):\n"
    "    return waves[:, :8000].unflatten(1, (8, 1000)).std(2)\n",
    "script.py": "import sys\n"
    "import slvr\n"
    "from slvr.shards.read import ShardDirectory\n"
    "clips = ShardDirectory.open('shards/sounds').dataset('train')\n"
    "assert len(clips[0]) == 16_000\n"
    f"assert not set(sys.modules) & {set(ROOMS)}\n"
    "print(len(clips), slvr.__file__)\n",
}


def ran(*line: str | Path, cwd: Path, **environment: str) -> str:
    """The output of a command that must succeed, in an environment that knows nothing of ours."""
    ours = {"PYTHONPATH", "VIRTUAL_ENV"}
    clean = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        [str(part) for part in line],
        cwd=cwd,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("package")


@pytest.fixture(scope="module")
def tools(place: Path) -> Path:
    """A folder with what builds wheels."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = [*project["build-system"]["requires"], "--target", place / "tools"]
    ran(sys.executable, "-m", "pip", "install", "--quiet", *needed, cwd=place)
    return place / "tools"


@pytest.fixture(scope="module")
def checkout(place: Path) -> Path:
    """The tree as a user has it after work: links, and data beside the code of `shards/`."""
    tree = place / "checkout"
    shutil.copytree(ROOT, tree, symlinks=True, ignore=NOT_COPIED)
    for data in (path for path in (tree / "shards").iterdir() if path.is_dir()):
        shutil.rmtree(data)
    shutil.copy(ROOT / ".gitignore", tree)
    for data in ("shards/mine/dataset.json", "shards/mine/code.py", "runs/x/run.json"):
        (tree / data).parent.mkdir(parents=True, exist_ok=True)
        (tree / data).write_text("")
    return tree


def built(kind: str, tree: Path, tools: Path, into: Path) -> Path:
    """The wheel or sdist of a tree."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", into]
    ran(*build, cwd=tree, PYTHONPATH=str(tools))
    (file,) = into.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return file


@pytest.fixture(scope="module")
def wheel(place: Path, checkout: Path, tools: Path) -> Path:
    return built("wheel", checkout, tools, place / "wheels")


@pytest.fixture(scope="module")
def from_sdist(place: Path, checkout: Path, tools: Path) -> Path:
    """The tree of the sdist."""
    with tarfile.open(built("sdist", checkout, tools, place / "sdists")) as tar:
        tar.extractall(place / "unpacked", filter="data")
    (tree,) = (place / "unpacked").iterdir()
    return tree


@pytest.fixture(scope="module")
def from_zip(place: Path, checkout: Path) -> Path:
    """The tree of a zip as forges make it, unpacked by Python: links arrive as text files."""
    with zipfile.ZipFile(place / "tree.zip", "w") as archive:
        for path in sorted(checkout.rglob("*")):
            name = str(path.relative_to(checkout))
            if path.is_symlink():
                link = zipfile.ZipInfo(name)
                link.external_attr = (stat.S_IFLNK | 0o777) << 16
                archive.writestr(link, str(path.readlink()))
            elif path.is_file():
                archive.write(path, name)
    with zipfile.ZipFile(place / "tree.zip") as archive:
        archive.extractall(place / "unzipped")
    return place / "unzipped"


@pytest.fixture(scope="module")
def without_links(place: Path, checkout: Path) -> Path:
    """A clone on a system without symbolic links."""
    if shutil.which("git") is None:
        pytest.skip("no git on the PATH")
    about = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    for line in (
        ("init", "--quiet", "."),
        ("add", "--all"),
        (*about, "commit", "--quiet", "-m", "x"),
        ("clone", "--quiet", "-c", "core.symlinks=false", ".", "../clone"),
    ):
        ran("git", *line, cwd=checkout)
    return place / "clone"


def environment(home: Path, *lent: Path) -> Path:
    """A virtual environment that borrows the dependencies; returns its folder of commands."""
    venv.create(home, symlinks=os.name != "nt", with_pip=False)
    (site,) = (home / "lib").glob("python*/site-packages")
    (site / "lent.pth").write_text("\n".join(str(path) for path in (LENT, *lent)) + "\n")
    return home / "bin"


def install(bin: Path, *what: str | Path) -> None:
    pip = [sys.executable, "-m", "pip", "--python", bin / "python", "install"]
    ran(*pip, "--no-deps", "--no-index", "--quiet", *what, cwd=bin)


@pytest.fixture(scope="module")
def installed(place: Path, wheel: Path) -> Path:
    """The commands of an environment with the wheel, and with a `model` that is not ours either."""
    bin = environment(place / "installed")
    install(bin, wheel)
    (site,) = bin.parent.glob("lib/python*/site-packages")
    (site / "model.py").write_text("raise RuntimeError('the installed model was imported')\n")
    return bin


@pytest.fixture(scope="module")
def folder(place: Path, installed: Path) -> Path:
    """A folder of a stranger's: sounds, modules named like our rooms, and shards of the sounds."""
    here = place / "folder"
    for i in range(8):
        path = here / f"sounds/class_{i % 2}/{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise(16_000, i), 16_000)
    for name, text in STRANGERS.items():
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text(text)
    # two spawned processes, which get this process's path
    ran(installed / "ingest", "folder", "sounds", "--workers", "2", cwd=here, PYTHONPATH=".")
    return here


def files(wheel: Path) -> Mapping[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_the_rooms_and_nothing_else(wheel: Path) -> None:
    expected = {f"slvr/{name}" for name in ("__init__.py", "__main__.py", "py.typed")}
    for room in ROOMS:
        paths = (ROOT / room).iterdir() if room == "shards" else (ROOT / room).rglob("*")
        expected |= {
            f"slvr/{path.relative_to(ROOT).as_posix()}"
            for path in paths
            if path.is_file() and "__pycache__" not in path.parts
        }
    held = {name for name in files(wheel) if ".dist-info/" not in name}
    assert held == expected
    assert "slvr/eval/report.html.j2" in held


def test_wheels_of_tree_sdist_and_zip_are_the_same(
    wheel: Path, from_sdist: Path, from_zip: Path, tools: Path, tmp_path: Path
) -> None:
    for tree in (from_sdist, from_zip):
        assert files(built("wheel", tree, tools, tmp_path / tree.name)) == files(wheel)


def test_the_three_commands_beside_a_strangers_modules(folder: Path, installed: Path) -> None:
    """Their `model` is found where they name it: before our room, and before the installed one."""
    train = ("--recipe", "demo", "--steps", "2", "--batch", "4", "--out", "runs/x")
    read = ("--workers", "1", "--resident", "off")
    evaluate = ("--checkpoint", "runs/x", "--encoder", "model:embed", "--out", "results/x")
    tasks = ("--n-way", "2", "--n-tasks", "20")
    shards = ("--shards", "shards/sounds")
    ran(installed / "slvr", "ingest", "verify", "shards/sounds", cwd=folder, PYTHONPATH=".")
    ran(installed / "train", *shards, *train, *read, cwd=folder, PYTHONPATH=".")
    assert not (folder / "imported").exists(), "their model.py"
    ran(installed / "evaluate", *shards, *evaluate, *tasks, cwd=folder)
    assert (folder / "imported").read_text() == "model"
    (folder / "imported").unlink()
    scores = pd.read_csv(folder / "results/x/results.csv")
    assert {"x", "model:embed"} <= set(scores["model"])
    assert scores["accuracy"].between(0, 1).all()


@pytest.mark.parametrize("room", ["ingest", "train", "eval"])
def test_rooms_run_as_modules_beside_a_strangers(room: str, folder: Path, installed: Path) -> None:
    module = (installed / "python", "-m", f"slvr.{room}")
    said = ran(*module, "--help", cwd=folder, PYTHONPATH=".")
    assert "usage:" in said
    assert not (folder / "imported").exists(), "their model.py"


def test_slvr_runs_as_a_module(folder: Path, installed: Path) -> None:
    said = ran(installed / "python", "-m", "slvr", "--version", cwd=folder)
    assert said.startswith("slvr 0.")


def test_a_script_beside_a_strangers_modules(folder: Path, installed: Path) -> None:
    n_clips, file = ran(installed / "python", "script.py", cwd=folder, PYTHONPATH=".").split()
    assert n_clips == "8"
    assert Path(file).is_relative_to(installed.parent)


def test_every_module_of_the_wheel_imports_under_one_name(tmp_path: Path, installed: Path) -> None:
    code = (
        "import importlib, pkgutil, sys, slvr\n"
        "modules = [m.name for m in pkgutil.walk_packages(slvr.__path__, 'slvr.')]\n"
        "for name in modules:\n"
        "    if name.endswith('__main__') or 'dali' in name:\n"
        "        continue\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "    except ModuleNotFoundError as missing:  # an extra\n"
        "        assert missing.name == 'triton' and 'fused' in name, name\n"
        f"assert not set(sys.modules) & {set(ROOMS)}\n"
        "print(len(modules))"
    )
    assert int(ran(installed / "python", "-c", code, cwd=tmp_path)) > 100


@pytest.fixture(scope="module")
def editable(place: Path, tools: Path) -> Callable[[Path], Path]:
    bin = environment(place / "editable", tools)

    def installed(tree: Path) -> Path:
        install(bin, "--no-build-isolation", "--editable", tree)
        return bin

    return installed


@pytest.mark.parametrize("kind", ["checkout", "from_sdist", "from_zip", "without_links"])
def test_an_editable_install_is_the_tree(
    kind: str, editable: Callable[[Path], Path], folder: Path, request: pytest.FixtureRequest
) -> None:
    tree: Path = request.getfixturevalue(kind)
    has_links = (tree / "src" / "slvr" / "ingest").is_symlink()
    assert has_links == (kind == "checkout")
    bin = editable(tree)
    code = (
        "import slvr.eval.episodes, slvr.ingest.recipes.esc50 as x\n"
        "from slvr.ingest.cli import main\n"
        "print(x.__file__)\n"
        "main(['list'])"
    )
    said = ran(bin / "python", "-c", code, cwd=folder, PYTHONPATH=".")
    file, _, listed = said.partition("\n")
    assert Path(file).resolve() == (tree / "ingest" / "recipes" / "esc50.py").resolve()
    assert "esc50" in listed


@pytest.mark.long
def test_a_clean_install_with_its_dependencies(folder: Path, wheel: Path, tmp_path: Path) -> None:
    """What a stranger types, with what the index gives today."""
    ran(sys.executable, "-m", "venv", "env", cwd=tmp_path)
    bin = tmp_path / "env" / "bin"
    ran(bin / "python", "-m", "pip", "install", "--quiet", wheel, cwd=tmp_path)
    ran(bin / "python", "-m", "pip", "check", cwd=tmp_path)
    test_the_three_commands_beside_a_strangers_modules(folder, bin)
