import json
import random
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation_sets import sound, tar_of
from hear_tasks import DCASE_STEMS, dcase, nsynth, prepared, speech_commands, write_tree
from slvr.ingest.cli import main
from slvr.ingest.hear.draws import divided, first_of
from slvr.ingest.recipes.hear import Hear
from slvr.ingest.recipes.hear_originals import ALIASES, ORIGINALS
from slvr.shards.read import ShardDirectory

SCENES = {
    "train": {"a.wav": ["yes"], "b.wav": ["no"]},
    "valid": {"c.wav": ["no"]},
    "test": {"a.wav": ["yes"]},
}
EVENT = {"embedding_type": "event", "prediction_type": "multilabel", "seconds": 2.0}

Ingest = Callable[..., tuple[int, str]]


@pytest.fixture
def ingest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Ingest:
    monkeypatch.setattr("slvr.ingest.cli.CACHE", tmp_path / "cache")

    def run(*arguments: object, out: str = "out") -> tuple[int, str]:
        code = main(["hear", *map(str, arguments), "--out", str(tmp_path / out), "--workers", "1"])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def shards(tmp_path: Path, out: str = "out") -> ShardDirectory:
    return ShardDirectory.open(tmp_path / out)


def tarball(tmp_path: Path, members: dict[str, bytes]) -> Path:
    path = tmp_path / "hear2021-toy-48000.tar.gz"
    path.write_bytes(tar_of(members))
    return path


@pytest.mark.parametrize("form", ["folder", "task folder", "other top"])
def test_a_folder_of_a_task_is_the_same_as_its_tarball(tmp_path: Path, form: str) -> None:
    top = "tasks/toy-v1-small" if form == "other top" else "hear-2021.0.6/tasks/toy-v1-small"
    members = prepared(SCENES, ["no", "yes"], top)
    where = write_tree(tmp_path / "task", members) / (top if form == "task folder" else "")
    plan = Hear(str(where)).plan(tmp_path)
    assert plan == Hear(str(tarball(tmp_path, members))).plan(tmp_path)


def test_a_prepared_task_of_scenes(tmp_path: Path, ingest: Ingest) -> None:
    code, said = ingest(tarball(tmp_path, prepared(SCENES, ["no", "yes"])))
    assert code == 0, said
    assert "the task has audio of 48000 Hz; taken: 4 clips of 48000 Hz, resampled" in said
    rows = shards(tmp_path).rows().set_index("key")
    assert {key: (row["split"], row["labels"]) for key, row in rows.iterrows()} == {
        "train_a": ("train", ["yes"]),
        "b": ("train", ["no"]),
        "c": ("valid", ["no"]),
        "test_a": ("test", ["yes"]),
    }
    assert set(rows["n_samples"]) == {3200} and set(rows["source_rate_hz"]) == {48_000}
    manifest = shards(tmp_path).manifest
    assert list(manifest.labels) == ["no", "yes"] and manifest.recipe == "hear"
    assert manifest.extra["hear"]["evaluation"] == ["top1_acc"]
    assert manifest.extra["hear"]["splits"] == ["train", "valid", "test"]


def test_the_directory_is_named_after_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slvr.ingest.cli.CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    path = tarball(tmp_path, prepared(SCENES, ["no", "yes"]))
    assert main(["hear", str(path)]) == 0
    assert shards(tmp_path / "shards", "toy-v1-small").splits == ("test", "train", "valid")


def test_a_prepared_task_of_sound_events(tmp_path: Path, ingest: Ingest) -> None:
    events = [
        {"label": "knock", "start": 1500.0, "end": 1750.5},
        {"label": "cough", "start": 0.0, "end": 1600.0},
    ]
    lists = {"train": {"a.wav": events}, "valid": {"b.wav": []}, "test": {"c.wav": events[:1]}}
    code, said = ingest(tarball(tmp_path, prepared(lists, ["cough", "knock"], **EVENT)))
    assert code == 0, said
    rows = shards(tmp_path).rows().set_index("key")
    assert rows.loc["a", "events"] == [
        {"label": "cough", "start_s": 0.0, "end_s": 1.6},
        {"label": "knock", "start_s": 1.5, "end_s": 1.7505},
    ], "events that overlap others of another label are no fault"
    assert rows.loc["a", "labels"] == ["cough", "knock"] and rows.loc["b", "events"] == []
    assert "events " not in said and "events_amiss" not in shards(tmp_path).manifest.extra


@pytest.mark.parametrize("clip_s", [2.0, None], ids=["one length", "lengths of their own"])
def test_events_that_no_clip_can_hold_cost_neither_clip_nor_record(
    tmp_path: Path, ingest: Ingest, clip_s: float | None
) -> None:
    good = {"label": "cough", "start": 300, "end": 900}
    odd = {
        "begin before": {"label": "cough", "start": -100, "end": 200},
        "end after": {"label": "cough", "start": 1900, "end": 2500},
        "lie outside": {"label": "cough", "start": 2000, "end": 2500},
        "end before they begin": {"label": "cough", "start": 1000, "end": 950},
        "have no label or no times": {"label": "cough", "start": None, "end": 5},
        "overlap": {"label": "cough", "start": 800, "end": 1000},
    }
    files = {f"{i}.wav": [good, event] for i, event in enumerate(odd.values())}
    lists = {"train": files, "valid": {"v.wav": [good]}, "test": {"t.wav": ["cough"]}}
    members = prepared(lists, ["cough"], **EVENT, sample_duration=clip_s)
    code, said = ingest(tarball(tmp_path, members))
    assert code == 0, said
    for words in odd:
        assert len([line for line in said.splitlines() if f" events {words}" in line]) == 1, said
    rows = shards(tmp_path).rows().set_index("key")
    assert len(rows) == 8 and set(rows["status"]) == {"ok"}
    kept = {key: [(e["start_s"], e["end_s"]) for e in row] for key, row in rows["events"].items()}
    assert kept == {
        **{"0": [(0.0, 0.2), (0.3, 0.9)], "1": [(0.3, 0.9), (1.9, 2.0)]},
        **{"2": [(0.3, 0.9)], "3": [(0.3, 0.9)], "4": [(0.3, 0.9)]},
        **{"5": [(0.3, 0.9), (0.8, 1.0)], "v": [(0.3, 0.9)], "t": []},
    }
    amiss = shards(tmp_path).manifest.extra["events_amiss"]
    assert len(amiss) == 7 and {one["file"] for one in amiss} == {*list(files), "t.wav"}
    assert amiss[0]["start"] == -100 and amiss[4]["start"] == "None"


def test_folds_integer_labels_and_pitch(tmp_path: Path, ingest: Ingest) -> None:
    lists = {f"fold{i:02d}": {f"{i}.wav": [60 + i]} for i in range(3)}
    about = {"task_name": "nsynth_pitch", "split_mode": "presplit_kfold", "nfolds": 3}
    members = prepared(lists, ["62", "61", "60"], **about)
    code, said = ingest(tarball(tmp_path, members))
    assert code == 0, said
    rows = shards(tmp_path).rows().set_index("key")
    assert rows["attributes"].to_dict() == {str(i): {"fold": i, "pitch": 60 + i} for i in range(3)}
    assert list(shards(tmp_path).manifest.labels) == ["62", "61", "60"], "in the list's order"
    assert shards(tmp_path).splits == ("fold00", "fold01", "fold02")


@pytest.mark.parametrize(
    ("rates_hz", "taken_hz"),
    [((16_000, 48_000), 16_000), ((48_000, 22_050), 22_050), ((8_000, 11_025), 11_025)],
)
def test_the_rate_nearest_above_ours_is_taken(
    tmp_path: Path, rates_hz: tuple[int, ...], taken_hz: int
) -> None:
    where = tarball(tmp_path, prepared(SCENES, ["no", "yes"], rates_hz=rates_hz))
    recipe = Hear(str(where))
    plan = recipe.plan(tmp_path)
    said = "; ".join(plan.notes)
    made = recipe.make(plan.clips[0], "flac")
    assert made.status == "ok" and made.source_rate_hz == taken_hz and made.n_samples == 3200
    assert f"taken: 4 clips of {taken_hz} Hz" in said
    assert ("resampled" in said) == (taken_hz != 16_000)
    assert ("nothing above 5512 Hz" in said) == (taken_hz < 16_000)


def test_a_file_that_lacks_at_one_rate_is_taken_of_another(tmp_path: Path, ingest: Ingest) -> None:
    lacks = ["16000/train/b.wav", "16000/valid/c.wav", "48000/valid/c.wav"]
    members = prepared(SCENES, ["no", "yes"], rates_hz=(16_000, 48_000), without=lacks)
    members["hear-2021.0.6/tasks/toy-v1-small/16000/train/z.wav"] = sound("WAV", 16_000)
    code, said = ingest(tarball(tmp_path, members), "--max-fail", "0.5")
    assert code == 0 and "3 clips of 16000 Hz, 1 clips of 48000 Hz" in said
    assert "1 audio files are in no list and left out, e.g. 16000/train/z.wav" in said
    rows = shards(tmp_path).rows().set_index("key")
    assert rows["source_uri"].to_dict()["b"] == "48000/train/b.wav"
    assert rows.loc["c", ["status", "reason"]].tolist() == ["missing", "no_file"]


def test_a_missing_split_a_strange_label_and_a_strange_number_of_labels(
    tmp_path: Path, ingest: Ingest
) -> None:
    lists = SCENES | {"test": {"t.wav": ["maybe"], "u.wav": ["yes", "no"]}}
    members = prepared(lists, ["no", "yes"], without=["valid.json"])
    code, said = ingest(tarball(tmp_path, members))
    assert code == 0, said
    assert "valid.json is not there, though task_metadata.json names it" in said
    assert "label 'maybe', e.g. of t.wav, is not in labelvocabulary.csv" in said
    assert "1 clips of a multiclass task do not have one label each" in said
    assert list(shards(tmp_path).manifest.labels) == ["no", "yes", "maybe"]
    assert shards(tmp_path).manifest.counts == {"test": {"ok": 2}, "train": {"ok": 2}}


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("task_metadata.json", None, "expected one file task_metadata.json, found none; give the"),
        ("task_metadata.json", b"[]", "expected a JSON object, got list"),
        ("task_metadata.json", b'{"embedding_type": "x"}', "embedding_type is 'x', expected scene"),
        (
            "task_metadata.json",
            b'{"embedding_type": "scene", "prediction_type": "multiclass", "task_name": "x",'
            b'"splits": ["../up"]}',
            "task_metadata.json: split '../up', expected a name of letters",
        ),
        ("train.json", b"{", "train.json: no JSON that can be used"),
        ("train.json", b"[" * 100_000, "train.json: no JSON that can be used"),
        ("train.json", b'{"a.wav": ["x"], "a.wav": ["y"]}', "'a.wav' is there twice"),
        ("train.json", b'{"a.wav": ["\\ud800"]}', "train.json: no JSON that can be used"),
        ("labelvocabulary.csv", b"idx,label\n0,no\n2,yes\n", "column idx holds not each number"),
        ("labelvocabulary.csv", b"idx,label\n0,no\n1,no\n", "a label is empty or there twice"),
        ("labelvocabulary.csv", None, "expected one file labelvocabulary.csv, found none"),
    ],
)
def test_lists_that_are_none_are_named(
    tmp_path: Path, ingest: Ingest, file: str, content: bytes | None, words: str
) -> None:
    top = "hear-2021.0.6/tasks/toy-v1-small"
    members = prepared(SCENES, ["no", "yes"]) | {f"{top}/{file}": content or b""}
    if content is None:
        del members[f"{top}/{file}"]
    code, said = ingest(tarball(tmp_path, members))
    assert code == 2 and words in said and said.count("\n") == 1, said


def test_no_split_two_tasks_and_nothing_at_all(tmp_path: Path, ingest: Ingest) -> None:
    lists = ["train.json", "valid.json", "test.json"]
    none = tarball(tmp_path, prepared(SCENES, ["no", "yes"], without=lists))
    code, said = ingest(none)
    assert code == 2 and "none of train.json, valid.json, test.json is there" in said
    two = prepared(SCENES, ["no", "yes"]) | prepared({"train": {"x.wav": ["no"]}}, ["no"], "b")
    code, said = ingest(write_tree(tmp_path / "two", two))
    assert code == 2 and "give the folder or tarball of one prepared task" in said
    code, said = ingest("nowhere")
    assert code == 2 and "neither a folder or tarball of a prepared task" in said
    assert "fetch hear2021-<task>-48000.tar.gz" in said and "dcase2016_task2" in said
    code, said = ingest(none, "--source", tmp_path)
    assert code == 2 and "is a prepared task, which holds its audio; leave out --source" in said
    code, said = ingest("nsynth_pitch", "--source", tmp_path)
    assert code == 2 and "neither nsynth-train.jsonwav.tar.gz nor a folder nsynth-train" in said


@pytest.mark.parametrize("name", ["../../evil.json", "/etc/evil", "link"])
def test_a_hostile_tarball_is_refused_as_a_whole(tmp_path: Path, ingest: Ingest, name: str) -> None:
    path = tarball(tmp_path, prepared(SCENES, ["no", "yes"]) | {name: b"x"})
    if name == "link":
        with tarfile.open(path, "w:gz") as tar:
            info = tarfile.TarInfo("48000/train/a.wav")
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(info)
    code, said = ingest(path)
    assert code == 2 and "the archive is refused" in said and said.count("\n") == 1
    assert not (tmp_path.parent / "evil.json").exists()


def test_speech_commands_12(tmp_path: Path, ingest: Ingest) -> None:
    source = speech_commands(tmp_path / "sc")
    code, said = ingest("speech_commands", "--source", source)
    assert code == 0, said
    rows = shards(tmp_path).rows().set_index("key")
    counts = {
        split: Counter(label for labels in part["labels"] for label in labels)
        for split, part in rows.groupby("split")
    }
    # a word's 8 files less those in a list; slices of 1 s every 0.5 s that end before the file
    assert counts == {
        "train": {"down": 6, "yes": 8, "up": 8, "_unknown_": 14, "_silence_": 4},
        "valid": {"down": 1, "_unknown_": 1, "_silence_": 3},
        "test": {"down": 1, "_unknown_": 1, "_silence_": 1},
    }
    assert set(rows["n_samples"]) == {16_000}, "shorter ones are filled up, as the kit does"
    assert list(shards(tmp_path).manifest.labels)[:3] == ["_silence_", "_unknown_", "down"]
    assert len(shards(tmp_path).manifest.labels) == 12
    slices = [key for key in rows.index if "running_tap" in key]
    assert slices == [f"_silence__running_tap-{start}" for start in (0, 16_000, 8_000)]
    tap = rows.loc["_silence__running_tap-8000"]
    assert (tap["start_s"], tap["end_s"]) == (0.5, 1.5)
    assert rows.loc["bed_00000003_nohash_1", "attributes"] == {"speaker": "00000003"}
    data = shards(tmp_path).dataset("train", keep=lambda key: key == "yes_00000002_nohash_0")
    assert not data[0][12_000:].any() and data[0][:12_000].any()
    assert "expected 100503 of 12" in said


def test_speech_commands_35_are_the_official_lists(tmp_path: Path, ingest: Ingest) -> None:
    source = speech_commands(tmp_path / "sc")
    code, said = ingest("speech_commands-35", "--source", source)
    assert code == 0, said
    rows = shards(tmp_path).rows()
    assert rows["split"].value_counts().to_dict() == {"train": 36, "valid": 2, "test": 2}
    assert set(rows["n_samples"]) == {16_000, 12_000}, "whole clips"
    assert list(shards(tmp_path).manifest.labels) == ["bed", "down", "up", "yes", "zero"]


def test_nsynth_pitch_has_the_range_of_a_piano(tmp_path: Path, ingest: Ingest) -> None:
    code, said = ingest("nsynth_pitch-5h", "--source", nsynth(tmp_path / "nsynth"))
    assert code == 0, said
    rows = shards(tmp_path).rows()
    assert rows["split"].value_counts().to_dict() == {"train": 3, "valid": 3, "test": 3}
    assert {a["pitch"] for a in rows["attributes"]} == {21, 60, 108}
    assert all(row["labels"] == [str(row["attributes"]["pitch"])] for _, row in rows.iterrows())
    assert rows["attributes"][0]["family"] == "synth_lead"
    assert list(shards(tmp_path).manifest.labels) == [str(pitch) for pitch in range(21, 109)]
    assert set(rows["n_samples"]) == {64_000}


def test_dcase_2016_task_2_divides_as_the_kit(tmp_path: Path, ingest: Ingest) -> None:
    stem = "dev_1_ebr_-6_nec_1_poly_0"
    text = "0.5\t1.25\tspeech\n\n119.5\t121.0\tkeys\n120.0\t121.0\tkeys\n7.0\tx\tphone\n"
    source = dcase(tmp_path / "dcase", {stem: text})
    code, said = ingest("dcase2016_task2", "--source", source)
    assert code == 0, said
    rows = shards(tmp_path).rows().set_index("key")
    assert rows["split"].value_counts().to_dict() == {"train": 44, "valid": 14, "test": 14}
    assert set(rows["n_samples"]) == {1_920_000}
    assert rows.loc[stem, "split"] == "test"
    assert rows.loc[stem, "events"] == [
        {"label": "speech", "start_s": 0.5, "end_s": 1.25},
        {"label": "keys", "start_s": 119.5, "end_s": 120.0},
    ]
    assert " events lie outside of their clip" in said and " events end after" in said
    assert " events have no label or no times" in said
    assert shards(tmp_path).manifest.extra["hear"]["evaluation"][0] == "event_onset_200ms_fms"


def test_the_72_stems_are_divided_as_published() -> None:
    assert len(DCASE_STEMS) == 72
    found = divided(DCASE_STEMS)
    assert found == divided(random.Random(3).sample(DCASE_STEMS, 72)), "whatever their order"
    assert Counter(found.values()) == {"train": 44, "valid": 14, "test": 14}
    assert sorted(stem for stem, split in found.items() if split == "valid")[:3] == [
        *("dev_1_ebr_0_nec_2_poly_0", "dev_1_ebr_0_nec_3_poly_0", "dev_1_ebr_6_nec_3_poly_1"),
    ]
    published = Path(__file__).parents[2] / "shared/fixtures/k22/hear_splits.json"
    if published.is_file():
        lists = json.loads(published.read_text())["dcase2016_task2"]
        assert found == {stem: split for split, stems in lists.items() for stem in stems}


@pytest.mark.parametrize(
    ("split", "rows"),
    [
        ("train", [752, 382, 118, 59, 256]),
        ("valid", [651, 787, 782, 95, 690]),
        ("test", [108, 229, 574, 371, 659]),
    ],
)
def test_a_subset_is_drawn_by_the_name_of_its_split(split: str, rows: list[int]) -> None:
    stems = [f"{i:06d}" for i in range(1000)]
    shuffled = np.random.default_rng(0).permutation(stems).tolist()
    assert [int(stem) for stem in first_of(shuffled, split, 20.0, 4.0)] == rows
    assert first_of(shuffled, split, None, 4.0) == first_of(stems, split, 4000.0, 4.0) == stems


def test_every_task_that_is_made_here_says_what_an_evaluation_needs() -> None:
    for name, original in ORIGINALS.items():
        about = original.about
        assert name == f"{about['task_name']}-{about['version']}-{about['mode']}"
        assert about["embedding_type"] in ("scene", "event") and about["evaluation"]
        assert about["sample_duration"] == original.length_s


def test_the_table_of_the_docs_is_the_code() -> None:
    page = (Path(__file__).parents[1] / "docs" / "hear.md").read_text()
    rows = [line.split("|")[1:4] for line in page.splitlines() if line.startswith("| `")]
    stated = {name.strip(" `"): (clips.strip(), classes.strip()) for name, clips, classes in rows}
    assert stated == {
        alias: (f"{ORIGINALS[name].n_clips:,}", str(ORIGINALS[name].n_classes))
        for alias, name in ALIASES.items()
    }
