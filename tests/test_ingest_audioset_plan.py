"""Which clips `ingest audioset` asks for, and which wishes it refuses."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from audioset_runs import (
    LABELS,
    lists,
    video,
)
from conftest import run
from loopback import Route, serve
from slvr.ingest.download import RemoteFile
from slvr.ingest.recipes.audioset import AudioSet
from slvr.ingest.youtube import subsets


def plan_keys(tmp_path: Path, **options: object) -> list[str]:
    paths = {"segments": "segments.csv", "label_names": "labels.csv"}
    chosen = {name: str(tmp_path / path) for name, path in paths.items()} | options
    return [clip.key[1:] for clip in AudioSet(**chosen).plan(tmp_path / "cache").clips]


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    lines = [f'{video(i)}, 0.000, 9.000, "{("/m/09x0r", "/t/dd00088")[i % 2]}"' for i in range(6)]
    lists(tmp_path, lines)
    return tmp_path


def test_ids_classes_and_limit_choose_clips(listed: Path) -> None:
    (listed / "ids").write_text(f"# mine\n{video(4)}\n{video(3)}\n{video(0)}\n")
    ids = str(listed / "ids")
    assert plan_keys(listed, ids=ids) == [video(0), video(3), video(4)]
    assert plan_keys(listed, classes=("gush, SPURT",)) == [video(1), video(3), video(5)]
    assert plan_keys(listed, classes=("/m/09x0r", "Gush, spurt")) == [video(i) for i in range(6)]
    assert plan_keys(listed, classes=("Speech",), ids=ids, limit=1) == [video(0)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ("Speach",)}, "no label 'Speach'.*for example Speech"),
        ({"classes": ("Gush, spurt",), "ids": "one"}, "no clip of the list is left"),
        ({"ids": "strange"}, "1 ids are not in the list, for example zzzzzzzzzzz"),
        ({"ids": "broken"}, "broken, line 2: got 'two ids'"),
        ({"limit": 0}, "--limit of 1 or more"),
        ({"rate": 0.0}, "--rate above 0"),
        ({"subset": "mtslvr", "split": "eval"}, "part of --split balanced"),
        ({"from_manifest": "x"}, "leave out --segments"),
        ({"ytdlp_option": ("retries",)}, "expected KEY=VALUE"),
        ({"ytdlp_option": ("outtmpl=x",)}, "outtmpl cannot be set"),
    ],
)
def test_wrong_choices_are_refused(listed: Path, options: dict[str, object], message: str) -> None:
    (listed / "one").write_text(video(0))
    (listed / "strange").write_text(f"{video(0)}\nzzzzzzzzzzz\n")
    (listed / "broken").write_text(f"{video(0)}\ntwo ids\n")
    if "ids" in options:
        options = options | {"ids": str(listed / str(options["ids"]))}
    with pytest.raises(ValueError, match=message):
        plan_keys(listed, **options)


def test_the_published_subset_keeps_its_two_sides(
    listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = {"train": [video(3), video(0)], "validation": [video(5)]}
    routes, known = {}, {}
    with serve(routes) as server:
        for side, ids in sides.items():
            np.save(listed / "list.npy", np.array([f"Y{i}" for i in ids]))
            body = (listed / "list.npy").read_bytes()
            routes[f"/{side}.npy"] = Route(body)
            md5 = hashlib.md5(body).hexdigest()
            known[side] = RemoteFile(f"{side}.npy", (server.url(f"/{side}.npy"),), f"md5:{md5}")
        monkeypatch.setattr(subsets, "MTSLVR", known)
        recipe = AudioSet(
            subset="mtslvr",
            segments=str(listed / "segments.csv"),
            label_names=str(listed / "labels.csv"),
        )
        for _ in range(2):
            plan = recipe.plan(listed / "cache")
            assert {clip.key[1:]: clip.split for clip in plan.clips} == {
                video(0): "train",
                video(3): "train",
                video(5): "validation",
            }
        assert set(server.requests.values()) == {1}
        (listed / "cache" / "train.npy").write_bytes(b"another")
        with pytest.raises(ValueError, match=r"train\.npy: md5 .*, expected"):
            recipe.plan(listed / "cache")


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ("a,b\n1,2\n", "got 2 columns, expected 4"),
        ('AAAAAAAAAAA, 1, 2, "/m/nope"\n', "label /m/nope is not in the list of classes"),
        (None, "segments.csv"),
    ],
)
def test_bad_lists_are_refused(tmp_path: Path, segments: str | None, message: str) -> None:
    (tmp_path / "labels.csv").write_text(LABELS)
    if segments is not None:
        (tmp_path / "segments.csv").write_text(segments)
    lists_given = ("--segments", "segments.csv", "--label-names", "labels.csv")
    done = run("ingest", "audioset", *lists_given, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


def test_the_opening_lines_tell_what_to_expect(
    listed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = {"segments": str(listed / "segments.csv"), "label_names": str(listed / "labels.csv")}
    monkeypatch.setattr(
        "slvr.ingest.recipes.audioset.missing_javascript_runtime", lambda: "No deno"
    )
    line, warning = AudioSet(**options, rate=2).plan(tmp_path).notes
    assert line.startswith(
        "6 clips, about 3.0 h at 2 videos an hour, about 1 MB; expect 18 to 25 %"
    )
    assert warning == "No deno"
