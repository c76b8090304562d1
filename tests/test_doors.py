"""What a stranger adds behind each door, from outside the package, by the real commands.

`strangers/mine.py` and `strangers/my_task.py` are copied beside the data, and named as a user types
them.
"""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import slvr
from conftest import run, write_directory
from slvr.eval import cli as evaluate
from slvr.model.checkpoint import checkpoints, read_checkpoint, write_checkpoint
from slvr.train import cli as train
from slvr.train.configure import DOORS, configure, from_command_line, parser_of
from slvr.train.recipes import recipe_named

STRANGERS = Path(__file__).parent / "strangers"
STEPS = 20
MINE = {
    "front-end": "logmel",
    "encoder": "./mine.py:MyEncoder",
    "encoder.dim": "6",
    "views": "./mine.py:Crops",
    "views.crop-s": "0.15",
    "objectives": "./mine.py:Two@all:a=1,b=0.5",
    "objectives.two.scale": "0.5",
}
SMALL = {
    "shards": "data",
    "clip-s": "0.2",
    "batch": "4",
    "steps": str(STEPS),
    "lr": "1e-2",
    "log-every": "1",
    "checkpoint-every": "10",
    "holdout": "0.4",
    "validate-every": "10",
    "workers": "0",
    "accelerator": "cpu",
}


def flags(**others: str) -> list[str]:
    """The options of all tests here, with some changed: `crop_s` is --crop-s."""
    changed = {name.replace("__", ".").replace("_", "-"): value for name, value in others.items()}
    options = MINE | SMALL | changed
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def weights(out: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(checkpoints(out)[-1])[0]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a stranger's files, shards, and `run`: what they have trained there."""
    path = tmp_path_factory.mktemp("stranger")
    for name in ("mine.py", "my_task.py"):
        shutil.copy(STRANGERS / name, path)
    write_directory(path / "data", n_clips=24, lengths_s=(0.3, 0.5))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        assert train.main(flags(out="run")) == 0
    return path


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder, as the working folder of this process."""
    monkeypatch.chdir(place)
    return place


def test_it_trains_and_validates_under_the_names_of_its_terms(place: Path) -> None:
    log = rows(place / "run/log.csv")
    assert list(log[0]) == ["step", "lr", "total", "two.a", "two.b"]
    assert [int(row["step"]) for row in log] == list(range(1, STEPS + 1))
    for row in log:
        weighed = float(row["two.a"]) + 0.5 * float(row["two.b"])
        assert float(row["total"]) == pytest.approx(weighed)
    held = rows(place / "run/validation.csv")
    assert list(held[0]) == ["step", "total", "two.a", "two.b", "two.right_way"]
    assert [row["step"] for row in held] == ["10", "20"]
    tensors = weights(place / "run")
    assert tensors["model.heads.two.shared.weight"].shape == (6, 6)
    assert tensors["model.encoder.layer.weight"].shape == (6, 64, 4)


def test_the_report_shows_its_terms_and_measures(place: Path) -> None:
    page = (place / "run/report.html").read_text()
    for name in ("two.a", "two.b", "two.right_way", "What two has learnt"):
        assert name in page
    for text in (MINE["encoder"], MINE["views"], "./mine.py:Two"):
        assert text in page


def test_a_preview_shows_three_views_of_its_own_length(here: Path) -> None:
    assert train.main([*flags(out="seen"), "--preview", "2"]) == 0
    page = (here / "seen/preview.html").read_text()
    assert page.count("<article>") == 2 and page.count("<audio") == 2 * (1 + 3)
    assert "1. crop_and_shift" in page and "view 3" in page and "semitones" in page


def test_a_run_that_was_killed_goes_on_to_the_bit_in_spawned_workers(place: Path) -> None:
    """In another process, from the checkpoint at half and tables that a kill cut off later.

    The clips were resident, and now come from worker processes.
    """
    whole, killed = place / "run", place / "killed"
    shutil.copytree(whole, killed)
    for name in ("step-00000020.safetensors", "report.html"):
        (killed / name).unlink()
    for name in ("log.csv", "validation.csv"):
        text = (whole / name).read_text()
        (killed / name).write_text(text[: -len(text) // 3])
    line = flags(out="killed", workers="1", resident="off")
    done = run("train", *line, "--resume", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "clips are read from the shards by 1 workers" in done.stderr
    for name in ("log.csv", "validation.csv"):
        assert (killed / name).read_text() == (whole / name).read_text()
    found, expected = weights(killed), weights(whole)
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name
    assert (killed / "report.html").exists()


def test_two_processes_take_the_clips_and_views_of_one(place: Path) -> None:
    done = run("train", *flags(out="two", devices="2"), cwd=place)
    assert done.returncode == 0, done.stderr
    one, two = rows(place / "run/log.csv"), rows(place / "two/log.csv")
    assert len(one) == len(two) == STEPS
    for a, b in zip(one, two, strict=True):
        for name, value in a.items():
            # the vocoder rounds otherwise beside other clips
            assert float(b[name]) == pytest.approx(float(value), abs=1e-3), (a["step"], name)


def test_a_file_of_settings_is_typed_by_the_user_too(here: Path) -> None:
    (here / "mine.yaml").write_text(
        "front_end: {name: logmel}\n"
        "encoder: {name: ./mine.py:MyEncoder, dim: 6}\n"
        "views: {name: ./mine.py:Crops, crop_s: 0.15}\n"
        'objectives: {heads: ["./mine.py:Two@all:a=1,b=0.5"], two: {scale: 0.5}}\n'
    )
    named = [part for name in MINE for part in (f"--{name}", MINE[name])]
    by_flags = from_command_line(["--shards", "data", *named])
    assert from_command_line(["--shards", "data", "--config", "mine.yaml"]) == by_flags
    assert by_flags.parts.encoder.config.dim == 6
    assert by_flags.parts.objectives["two"].weights == {"a": 1, "b": 0.5}


@pytest.mark.parametrize(
    ("text", "name", "task", "weight", "weights"),
    [
        ("mlap@predictive:bce=2", "mlap", "predictive", 1, {"bce": 2}),
        ("./mine.py:Two", "./mine.py:Two", "all", 1, {}),
        ("./mine.py:Two=0.5", "./mine.py:Two", "all", 0.5, {}),
        ("./mine.py:Two@all:a=1,b=0.5", "./mine.py:Two", "all", 1, {"a": 1, "b": 0.5}),
        ("strangers.mine:Two@all=2", "strangers.mine:Two", "all", 2, {}),
        ("mine:Two=2", "mine:Two", "all", 2, {}),
        ("mine:Two:b=2", "mine:Two", "all", 1, {"b": 2}),
    ],
)
def test_an_objective_is_a_name_or_a_class_with_task_and_weights(
    here: Path, text: str, name: str, task: str, weight: float, weights: dict[str, float]
) -> None:
    config = configure(settings={"shards": "data", "objectives.heads": [text]})
    (head,) = config.parts.objectives.values()
    assert (head.name, head.task, head.weight, head.weights) == (name, task, weight, weights)


def test_help_lists_the_options_of_a_strangers_parts(here: Path) -> None:
    own = {f"{door}.name": MINE[door.replace("_", "-")] for door in DOORS}
    own["objectives.heads"] = [MINE["objectives"]]
    words = " ".join(parser_of(recipe_named("simclr"), own).format_help().split())
    assert "--encoder.dim DIM Values of an embedding, 1 or more." in words
    assert "--views.crop-s CROP_S Length of a view in seconds" in words
    assert "--objectives.two.scale SCALE Of the pitch." in words
    assert "--encoder.variant" not in words


def without(*names: str) -> list[str]:
    """The options but for those of some of the stranger's parts."""
    options = MINE | SMALL
    left = {k: v for k, v in options.items() if k.partition(".")[0] not in names}
    return [part for name, value in left.items() for part in (f"--{name}", value)]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            [*without("objectives"), "--objectives", "mlap@all"],
            "objective mlap needs labels, which these views do not know; they know pitch",
        ),
        (
            [*without("views"), "--views", "chains"],
            "objective two looks at 3 views of a clip, and there are 2",
        ),
        (
            [*without("encoder", "front-end"), "--encoder", "resnet18"],
            "objective two looks at frames, and encoder resnet18 gives none",
        ),
        (
            flags(objectives="./mine.py:Two@all:a=1,c=2"),
            "objective two has no term c to weigh; its terms are a, b",
        ),
        (flags(objectives="./mine.py:Two@clips"), "encoder mine has no task 'clips'"),
        (flags(front_end="mtslvr"), "--encoder mine: takes 1 channel, got 3"),
        (flags(views__crop_s="0.2"), "a crop of 3200 samples does not fit into a clip of 3200"),
        (flags(encoder="./mine.py:Nobody"), "--encoder ./mine.py:Nobody: module"),
        (
            flags(encoder="./mine.py:Crops"),
            "--encoder ./mine.py:Crops: expected a class with NAME, Config, build, embed, Config "
            "a dataclass; it lacks embed",
        ),
        (flags(objectives="./mine.py:CropPlan=2"), "it lacks NAME, Config, build, terms"),
        (flags(encoder="./nowhere.py:X"), "--encoder ./nowhere.py:X: "),
    ],
)
def test_parts_that_do_not_fit_each_other_are_named(
    here: Path, capsys: pytest.CaptureFixture[str], line: list[str], sentence: str
) -> None:
    assert train.main([*line, "--out", "refused"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("train: error: ") and sentence in said
    assert said.count("\n") == 1 and not (here / "refused").exists()


def test_a_strangers_task_scores_a_strangers_encoder(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of them typed in this command."""
    line = ["./my_task.py:MyTask", "--checkpoint", "run", "--shards", "data", "--piece", "whole"]
    line += ["--device", "cpu", "--allow", "./mine.py:MyEncoder", "--n-clips", "20"]
    assert evaluate.main([*line, "--out", "scores"]) == 0
    (row,) = rows(here / "scores/results.csv")
    assert (row["model"], row["set"], row["n_clips"], row["dim"]) == ("run", "data", "20", "6")
    distance = f"{float(row['distance']):.3f}"
    assert float(distance) > 0 and distance in capsys.readouterr().out
    assert "Apart" in (here / "scores/report.html").read_text()


def test_a_program_of_ones_own_gets_its_embeddings(here: Path) -> None:
    model = slvr.load_model("run", allow=["./mine.py:MyEncoder"])
    clips, frames = model.embed(torch.randn(3, 8000), 16_000)
    # 51 frames of 10 ms, 4 a frame embedding
    assert clips.shape == (3, 6) and frames.shape == (3, 12, 6)
    assert model.frame_s == pytest.approx(0.04)
    torch.testing.assert_close(frames.mean(1), clips)


def test_a_strangers_encoder_runs_only_where_it_is_typed(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["retrieve", "--checkpoint", "run", "--shards", "data", "--device", "cpu"]
    assert evaluate.main([*line, "--out", "refused"]) == 2
    said = capsys.readouterr().err
    assert "names './mine.py:MyEncoder', which is none of ours" in said
    assert "add --allow ./mine.py:MyEncoder" in said


Forge = Callable[[str, str, dict[str, object]], Path]


@pytest.fixture
def forge(here: Path, tmp_path: Path) -> Forge:
    """A run whose checkpoint names something else as one of its parts."""

    def forged(part: str, name: str, shape: dict[str, object]) -> Path:
        tensors, state = read_checkpoint(checkpoints(here / "run")[-1])
        state[part] = {"name": name, "shape": shape}
        (tmp_path / "forged").mkdir()
        write_checkpoint(tmp_path / "forged/step-00000020.safetensors", tensors, state)
        return tmp_path / "forged"

    return forged


@pytest.mark.parametrize("part", ["encoder", "front_end"])
@pytest.mark.parametrize("name", ["os:system", "./evil.py:X"])
def test_what_a_checkpoint_names_is_not_run(
    here: Path,
    tmp_path: Path,
    forge: Forge,
    capsys: pytest.CaptureFixture[str],
    part: str,
    name: str,
) -> None:
    marker = tmp_path / "marker"
    (here / "evil.py").write_text(f"open({str(marker)!r}, 'w')\ndef X(**shape): pass\n")
    forged = forge(part, name, {"command": f"touch {marker}"})
    line = ["--checkpoint", str(forged), "--shards", "data", "--device", "cpu"]
    allowed = ["--allow", "./mine.py:MyEncoder"]
    assert evaluate.main(["retrieve", *line, *allowed, "--out", str(tmp_path / "scores")]) == 2
    said = capsys.readouterr().err
    assert f"names {name!r}, which is none of ours" in said and "is not run" in said
    assert not marker.exists() and not (tmp_path / "scores").exists()


def test_weights_are_taken_from_a_checkpoint_and_no_name_in_it_is_run(
    here: Path, tmp_path: Path, forge: Forge, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = tmp_path / "marker"
    forged = forge("encoder", "os:system", {"command": f"touch {marker}"})
    assert train.main([*flags(out=str(tmp_path / "run"), steps="1"), "--init", str(forged)]) == 0
    assert "weights of encoder, two from" in capsys.readouterr().err
    # a run goes on with what the user typed
    assert train.main([*flags(out=str(forged)), "--resume"]) == 0
    assert not marker.exists()
