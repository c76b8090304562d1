import contextlib
import dataclasses
import json
import pickle
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import described, noise, run
from evaluation_sets import TOYS, packed, sound
from hear_tasks import prepared, write_tree
from loopback import Route, serve, tones
from slvr.ingest.recipe import ClipPlan, Recipe
from slvr.ingest.recipes import EVALUATION_SETS, RECIPES
from slvr.ingest.recipes.demo import Demo
from slvr.ingest.recipes.folder import Folder
from slvr.ingest.recipes.fsd50k import FSD50K
from slvr.ingest.recipes.hear import Hear
from slvr.ingest.synthesis import EVALUATION_CLASSES, TRAINING_CLASSES
from slvr.shards.audio import decode
from slvr.shards.clip import OK, SAMPLE_RATE_HZ
from slvr.shards.read import ShardDirectory
from slvr.shards.write import finish

LABELS = 'index,mid,display_name\n0,/m/09x0r,Speech\n1,/t/dd00088,"Gush, spurt"\n'


@contextlib.contextmanager
def small(name: str, tmp_path: Path) -> Iterator[Recipe]:
    """A recipe of a few clips; where it needs a network, on this machine."""
    if name == "demo":
        yield Demo(n_train=3, n_per_class=1)
    elif name == "demo-sources":
        made = Demo(n_train=2, n_per_class=1, two_sources=0.5, n_mixtures=1)
        (tmp_path / "demo").mkdir()
        options = made.plan(tmp_path).options
        finish(tmp_path / "demo", [], [], described("demo", recipe="demo", options=options))
        yield RECIPES[name](str(tmp_path / "demo"))
    elif name == "folder":
        (tmp_path / "in" / "dog").mkdir(parents=True)
        soundfile.write(tmp_path / "in" / "dog" / "a.wav", noise(900, 0), 16_000)
        yield Folder(str(tmp_path / "in"))
    elif name == "audioset":
        (tmp_path / "labels.csv").write_text(LABELS)
        (tmp_path / "segments.csv").write_text('# x\n--PJHxphWEs, 1.000, 2.500, "/m/09x0r"\n')
        lists = {"segments": "segments.csv", "label_names": "labels.csv"}
        with serve({"/--PJHxphWEs": Route(tones("m4a", 3))}) as server:
            yield RECIPES[name](
                **{option: str(tmp_path / file) for option, file in lists.items()},
                source_url=server.url("/{id}"),
                proxy=("",),
            )
    elif name == "hear":
        lists = {"train": {"a.wav": ["x"]}, "test": {"b.wav": ["y"]}}
        yield Hear(str(write_tree(tmp_path / "task", prepared(lists, ["x", "y"]))))
    elif name == "fsd50k":
        members = {"FSD50K.dev_audio/1.wav": sound("WAV", 44_100)}
        for part, head in (
            ("dev", "fname,labels,mids,split\n1,x,/m/1,val\n"),
            ("eval", "fname,labels\n"),
        ):
            members[f"{part}.csv"] = head.encode()
            members[f"{part}_clips_info_FSD50K.json"] = b'{"1": {"license": "here"}}'
        members["vocabulary.csv"] = b"0,x,/m/1\n"
        yield FSD50K(str(write_tree(tmp_path / "in", members)))
    else:
        toy = TOYS[name]()
        (tmp_path / "in").mkdir()
        for file, content in packed(toy).items():
            (tmp_path / "in" / file).write_bytes(content)
        parts = {"train": sorted(set(toy.labels.values())), "val": [], "test": []}
        (tmp_path / "parts.json").write_text(json.dumps(parts))
        yield RECIPES[name](source=str(tmp_path / "in"), split_file=str(tmp_path / "parts.json"))


def planned(name: str, tmp_path: Path) -> ClipPlan:
    with small(name, tmp_path) as recipe:
        return recipe.plan(tmp_path)


# the evaluation sets have a contract test of their own, on toy archives
@pytest.mark.parametrize("name", sorted(RECIPES.keys() - EVALUATION_SETS.keys()))
def test_every_recipe_keeps_the_contract(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name]
    assert name == recipe.NAME and recipe.VERSION and recipe.LICENCE
    assert isinstance(recipe.ONLINE, bool) and 0 <= recipe.MAX_FAIL <= 1
    assert dataclasses.is_dataclass(recipe) and recipe.__dataclass_params__.frozen
    plan = planned(name, tmp_path)
    assert plan.clips and len({clip.key for clip in plan.clips}) == len(plan.clips)
    assert all(clip.status == "planned" and clip.audio is None for clip in plan.clips)
    assert {label for clip in plan.clips for label in clip.labels} <= set(plan.labels)
    assert all(clip.n_samples > 0 for clip in plan.clips)
    json.dumps([plan.options, dict(plan.labels), dict(plan.extra)])


@pytest.fixture(scope="module")
def another_process() -> Iterator[Executor]:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_pickles_and_makes_the_same_clip_in_another_process(
    name: str, tmp_path: Path, another_process: Executor
) -> None:
    with small(name, tmp_path) as recipe:
        clip = recipe.plan(tmp_path).clips[0]
        made = recipe.make(clip, "flac")
        assert made.status == OK and made.audio
        copy = pickle.loads(pickle.dumps(recipe))  # after a clip: a run's connections are open
        assert copy == recipe
        assert another_process.submit(copy.make, clip, "flac").result(120) == made


def test_demo_classes_of_the_evaluation_split_never_occur_in_training() -> None:
    plan = Demo(n_train=200, n_per_class=4).plan(Path())
    train = [clip for clip in plan.clips if clip.split == "train"]
    evaluation = [clip for clip in plan.clips if clip.split == "eval"]
    assert len(TRAINING_CLASSES) + len(EVALUATION_CLASSES) >= 40
    heard = {clip.source.uri.removeprefix("synthesis:").split("?")[0] for clip in train}
    assert heard == set(TRAINING_CLASSES)
    assert not heard & {label for clip in evaluation for label in clip.labels}
    assert all(clip.labels == () for clip in train)
    assert Counter(clip.labels[0] for clip in evaluation) == dict.fromkeys(EVALUATION_CLASSES, 4)
    lengths_s = np.array([clip.n_samples for clip in evaluation]) / SAMPLE_RATE_HZ
    assert np.mean(lengths_s == 5.0) == 0.5 and len(np.unique(lengths_s)) > len(evaluation) / 3
    assert all(1 <= clip.n_samples / SAMPLE_RATE_HZ <= 10 for clip in plan.clips)


def test_demo_clips_have_the_planned_length_and_repeat() -> None:
    recipe = Demo(n_train=4, n_per_class=1)
    for clip in recipe.plan(Path()).clips[:8]:
        made, again = recipe.make(clip, "flac"), recipe.make(clip, "flac")
        assert made.status == OK and made.n_samples == clip.n_samples == len(decode(made.audio))
        assert made.audio == again.audio


def test_folder_keeps_every_file_as_a_row(tmp_path: Path) -> None:
    root = tmp_path / "sounds"
    for name in ("dog", "Glas zerbricht, laut"):
        (root / name / "deep").mkdir(parents=True)
        soundfile.write(root / name / "a.wav", noise(8000, 1), 8000)
        soundfile.write(root / name / "a.flac", noise(8000, 2), 16_000)
        soundfile.write(root / name / "deep" / "ü b.ogg", noise(8000, 3) / 32768, 16_000)
    (root / "dog" / "broken.mp3").write_bytes(b"\xff" * 900)
    (root / "dog" / "notes.txt").write_text("not audio")
    (root / "dog" / ".hidden.wav").touch()
    soundfile.write(root / "dog" / "quiet.wav", np.zeros(800), 16_000)
    done = run("ingest", "folder", str(root), "--out", "s", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "6 of 8 clips" in done.stdout and "1 other files are ignored" in done.stdout
    assert "1 silent: all_zero, e.g. dog/quiet.wav" in done.stdout
    assert "more failures than --max-fail 0.01 allows, 2 of 8" in done.stdout
    directory = ShardDirectory.open(tmp_path / "s")
    assert list(directory.manifest.labels) == ["Glas zerbricht, laut", "dog"]
    rows = directory.rows().set_index("source_uri")
    assert rows.loc["dog/broken.mp3", "status"] == "corrupt"
    assert rows.loc["Glas zerbricht, laut/deep/ü b.ogg", "labels"] == ["Glas zerbricht, laut"]
    assert rows.loc["dog/a.wav", "n_samples"] == 16_000
    assert run("ingest", "verify", "s", cwd=tmp_path).returncode == 0
    lenient = run(
        "ingest",
        "folder",
        str(root),
        "--out",
        "t",
        "--max-fail",
        "0.3",
        "--unlabelled",
        cwd=tmp_path,
    )
    assert lenient.returncode == 0
    assert ShardDirectory.open(tmp_path / "t").manifest.labels == {}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "no such folder"),
        ([], "no audio file among 0 files; expected .3g2, .3gp"),
        (["readme.txt"], "no audio file among 1 files (1 .txt (e.g. readme.txt))"),
        (["loose.wav", "dog/a.wav"], "1 audio files, for example loose.wav, lie in no sub-folder"),
    ],
)
def test_folders_that_cannot_be_read_say_why(
    tmp_path: Path, files: list[str] | None, message: str
) -> None:
    root = tmp_path / "sounds"
    for name in files or []:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, noise(800, 0), 16_000) if name.endswith("wav") else (
            root / name
        ).touch()
    if files == []:
        root.mkdir()
    done = run("ingest", "folder", str(root), cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
