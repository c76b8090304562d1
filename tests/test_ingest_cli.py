"""The command line of `ingest`: what it offers, and how little it loads to say so."""

import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_type_hints

import pytest

from slvr.ingest import cli
from slvr.ingest.building.ledger import About, Ledger
from slvr.ingest.looks.commands import LOOKS
from slvr.ingest.recipes import RECIPES
from slvr.ingest.recipes.audioset import AudioSet


def begun(folder: Path, recipe: str) -> str:
    """A directory that `ingest RECIPE` has begun."""
    folder.mkdir()
    with Ledger(folder, "x", About(recipe, {"rate": 300.0, "classes": ["Dog"]}, "flac", 2.0, 1)):
        return str(folder)


# --- retry ------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_options_of_retry_are_fields_with_defaults(recipe: type) -> None:
    declared = {f.name: f for f in dataclasses.fields(recipe) if f.init}
    own = {f.name for f in dataclasses.fields(cli.Retry)}
    assert set(recipe.RETRY_OPTIONS) <= declared.keys() - own
    assert recipe.ONLINE or not recipe.RETRY_OPTIONS, "local files do not change by themselves"
    for name in recipe.RETRY_OPTIONS:
        assert declared[name].default is not dataclasses.MISSING


def test_recipes_mean_the_same_by_an_option_of_retry() -> None:
    kinds: dict[str, object] = {}
    for recipe in RECIPES.values():
        for name in recipe.RETRY_OPTIONS:
            kind = get_type_hints(recipe)[name]
            assert kinds.setdefault(name, kind) == kind


def test_help_of_retry_comes_from_the_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["retry", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert (
        "Videos an hour, above 0" in told and "`unlimited`. Default: as in the first run." in told
    )
    assert "{id} stands for its id. Not kept: give it as in the first run." in told


@dataclasses.dataclass(frozen=True)
class Quiet(AudioSet):
    """Ingests what knows one option for `retry`, and another than its rate."""

    NAME = "quiet"
    RETRY_OPTIONS = ("cookies",)


def test_retry_goes_on_with_the_first_runs_options_and_those_given_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = []
    monkeypatch.setattr(cli, "run", lambda *args: ran.append(args) or 0)
    online = begun(tmp_path / "s", "audioset")
    assert cli.main(["retry", online, "--proxy", "http://a:1", "http://b:2"]) == 0
    assert cli.main(["retry", online, "--status", "gone", "--rate", "unlimited"]) == 0
    first, second = ran
    assert first[0] == AudioSet(rate=300.0, classes=("Dog",), proxy=("http://a:1", "http://b:2"))
    assert first[1] == cli.Output(out=online, shard_mb=2.0) and first[2] == ["transient", "blocked"]
    assert second[0] == AudioSet(rate="unlimited", classes=("Dog",)) and second[2] == ["gone"]

    monkeypatch.setitem(cli.RECIPES, "quiet", Quiet)
    quiet = begun(tmp_path / "q", "quiet")
    capsys.readouterr()
    assert cli.main(["retry", quiet, "--rate", "5", "--cookies", "x"]) == 2
    said = capsys.readouterr().err
    assert f"--rate: {quiet} was made by `ingest quiet`; for it `ingest retry` takes --cook" in said
    assert cli.main(["retry", begun(tmp_path / "f", "folder"), "--rate", "5"]) == 2
    assert "made from local files" in capsys.readouterr().err
    assert len(ran) == 2


# --- start-up ---------------------------------------------------------------------------------

COMMANDS = (*RECIPES, *cli.ON_SETS, *LOOKS, "retry")


def loads_torch(lines: Sequence[Sequence[str]]) -> bool:
    """Whether a fresh interpreter that runs these commands has torch in it then."""
    code = (
        "import contextlib, sys; from slvr.ingest.cli import main\n"
        f"for line in {[list(line) for line in lines]!r}:\n"
        "    with contextlib.suppress(SystemExit): main(line)\n"
        "print('torch' in sys.modules)"
    )
    python = [sys.executable, "-c", code]
    done = subprocess.run(python, stdout=subprocess.PIPE, stderr=-3, text=True, check=True)
    return done.stdout.splitlines()[-1] != "False"


def test_no_help_loads_torch() -> None:
    assert not loads_torch([[], ["--help"], *([name, "--help"] for name in COMMANDS)])


@pytest.mark.parametrize(
    "line",
    [["list"], ["verify", "nope"], ["inspect", "nope"], ["status", "nope"], ["diff", "a", "b"]],
    ids=" ".join,
)
def test_what_reads_no_clip_loads_no_torch(line: list[str]) -> None:
    assert not loads_torch([line])
