import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation_sets import sound, zip_of
from hear_tasks import write_tree
from slvr.ingest.archives.find import find_volumes, open_volume
from slvr.ingest.cli import main
from slvr.ingest.recipes import fsd50k
from slvr.ingest.recipes.fsd50k import FSD50K, PARTS
from slvr.shards.read import ShardDirectory

BY = "http://creativecommons.org/licenses/by/3.0/"
ZERO = "http://creativecommons.org/publicdomain/zero/1.0/"
SAMPLING = "http://creativecommons.org/licenses/sampling+/1.0/"
DEV = {
    "64760": ("Electric_guitar,Guitar,Music", "train", BY),
    "16399": ("Bark,Dog", "train", ZERO),
    "21914": ("Dog", "val", "http://creativecommons.org/licenses/by-nc/3.0/"),
}
EVAL = {"37199": ("Guitar,Music", "", SAMPLING), "40": ("Bark,Dog", "", BY)}
LABELS = ("Music", "Guitar", "Electric_guitar", "Dog", "Bark")
SPLIT_BYTES = 64 << 10

Ingest = Callable[..., tuple[int, str]]


def lists() -> dict[str, dict[str, bytes]]:
    """The two archives of lists, as published."""
    dev = "fname,labels,mids,split\n" + "".join(
        f'{name},"{labels}","/m/1",{split}\n' for name, (labels, split, _) in DEV.items()
    )
    evaluation = "fname,labels,mids\n" + "".join(
        f'{name},"{labels}","/m/1"\n' for name, (labels, _, _) in EVAL.items()
    )
    words = "".join(f"{i},{label},/m/{i}\n" for i, label in enumerate(LABELS))

    def info(rows: Mapping[str, tuple[str, str, str]]) -> bytes:
        about = {"title": "a title, with é", "description": "", "tags": ["x"], "uploader": "ü"}
        return json.dumps({k: about | {"license": row[2]} for k, row in rows.items()}).encode()

    return {
        "FSD50K.ground_truth.zip": {
            "FSD50K.ground_truth/dev.csv": dev.encode(),
            "FSD50K.ground_truth/eval.csv": evaluation.encode(),
            "FSD50K.ground_truth/vocabulary.csv": words.encode(),
        },
        "FSD50K.metadata.zip": {
            "FSD50K.metadata/dev_clips_info_FSD50K.json": info(DEV),
            "FSD50K.metadata/eval_clips_info_FSD50K.json": info(EVAL),
            "FSD50K.metadata/collection/collection_dev.csv": b"fname,labels,mids\n",
        },
    }


def audio(part: str, names: Mapping[str, object]) -> dict[str, bytes]:
    return {
        f"FSD50K.{part}_audio/{name}.wav": sound("WAV", 44_100, seconds=1.0, seed=int(name))
        for name in names
    }


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """The record's files with audio in zips of several parts, as `zip -s` writes them."""
    program = shutil.which("zip")
    if program is None:
        pytest.skip("no zip on the PATH, which makes the zips of several parts")
    folder = tmp_path / "record"
    write_tree(folder, {name: zip_of(members) for name, members in lists().items()})
    for part, names in (("dev", DEV), ("eval", EVAL)):
        write_tree(tmp_path / "wavs", audio(part, names))
        made = str(folder / f"FSD50K.{part}_audio.zip")
        command = [program, "-q", "-r", "-s", "64k", made, f"FSD50K.{part}_audio"]
        subprocess.run(command, cwd=tmp_path / "wavs", check=True)
    assert len(list(folder.glob("FSD50K.dev_audio.z*"))) > 3
    return folder


@pytest.fixture
def ingest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Ingest:
    monkeypatch.setattr("slvr.ingest.cli.CACHE", tmp_path / "cache")

    def run(*arguments: object) -> tuple[int, str]:
        code = main(["fsd50k", *map(str, arguments), "--out", str(tmp_path / "out")])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_the_record_is_read_where_it_lies(record: Path, tmp_path: Path, ingest: Ingest) -> None:
    before = sorted(record.iterdir())
    code, said = ingest("--source", record)
    assert code == 0, said
    assert "the lists hold 5 clips, the official ones 51,197" in said
    assert sorted(record.iterdir()) == before, "nothing is unpacked"
    directory = ShardDirectory.open(tmp_path / "out")
    rows = directory.rows().set_index("key")
    assert rows["split"].to_dict() == {
        **{"64760": "train", "16399": "train", "21914": "val", "37199": "eval", "40": "eval"}
    }
    assert rows.loc["64760", "labels"] == ["Electric_guitar", "Guitar", "Music"]
    assert list(directory.manifest.labels.items())[2] == ("Electric_guitar", "Electric guitar")
    assert rows["licence"].to_dict() == {
        **{"64760": "CC-BY-3.0", "16399": "CC0-1.0", "21914": "CC-BY-NC-3.0"},
        **{"37199": "CC-Sampling+-1.0", "40": "CC-BY-3.0"},
    }
    assert rows.loc["40", "attributes"] == {"uploader": "ü", "title": "a title, with é"}
    assert rows.loc["40", "source_id"] == "40" and set(rows["n_samples"]) == {16_000}
    assert set(rows["source_rate_hz"]) == {44_100} and set(rows["status"]) == {"ok"}


def test_a_part_of_a_zip_leads_to_all_and_a_missing_one_is_named(
    record: Path, tmp_path: Path, ingest: Ingest
) -> None:
    volume = find_volumes(record / "FSD50K.dev_audio.z02", tmp_path)[0]
    assert [path.suffix for path in volume.paths[-2:]][1] == ".zip"
    members = audio("dev", DEV)
    reader = open_volume(volume)
    assert {name: reader.read(name) for name in reader.names()} == members
    (record / "FSD50K.dev_audio.z02").unlink()
    code, said = ingest("--source", record)
    assert code == 2 and "parts are there" in said and said.count("\n") == 1


def test_unpacked_files_and_a_missing_clip(tmp_path: Path, ingest: Ingest) -> None:
    members = audio("dev", {k: v for k, v in DEV.items() if k != "21914"}) | audio("eval", EVAL)
    members |= audio("eval", {"999": 0})
    for held in lists().values():
        members |= held
    code, said = ingest("--source", write_tree(tmp_path / "tree", members), "--max-fail", "0.2")
    assert code == 0, said
    assert "1 audio files are in no list and left out" in said
    rows = ShardDirectory.open(tmp_path / "out").rows().set_index("key")
    assert rows.loc["21914", ["split", "status", "reason"]].tolist() == [
        *("val", "missing", "no_file"),
    ]
    code, said = ingest("--source", tmp_path / "cache")
    assert code == 2 and "no such file or folder" in said
    (tmp_path / "empty").mkdir()
    code, said = ingest("--source", tmp_path / "empty")
    assert code == 2 and "fetch the files from https://zenodo.org/records/4060432" in said


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("dev.csv", b"name\nx\n", "dev.csv: column fname, labels is not there"),
        ("dev.csv", b"fname,labels,mids,split\n1\n,,\n", "clip key ''"),
        ("vocabulary.csv", b"0,Music,/m/0\n", "is not in vocabulary.csv; fetch"),
        ("vocabulary.csv", b"", "vocabulary.csv: expected rows of index, label and id"),
        ("dev_clips_info_FSD50K.json", b"[", "dev_clips_info_FSD50K.json: no JSON"),
        ("dev_clips_info_FSD50K.json", b"[]", "expected an object, got list"),
    ],
)
def test_lists_that_are_none_are_named(
    tmp_path: Path, file: str, content: bytes, words: str
) -> None:
    members = audio("dev", DEV)
    for held in lists().values():
        members |= {k: content if k.endswith(f"/{file}") else v for k, v in held.items()}
    source = write_tree(tmp_path / "tree", members)
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        FSD50K(source=str(source)).plan(tmp_path)


def test_the_subset_of_mtslvr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = audio("dev", DEV) | audio("eval", EVAL)
    for held in lists().values():
        members |= held
    source = write_tree(tmp_path / "tree", members)
    for side, ids in (("train", [64760, 7]), ("validation", [16399, 21914])):
        np.save(tmp_path / fsd50k.MTSLVR[side][0], np.array(ids))
    recipe = FSD50K(source=str(source), subset="mtslvr")
    with pytest.raises(ValueError, match=r"FSD50k_train_files.npy: .*remove the file to fetch"):
        recipe.plan(tmp_path)
    monkeypatch.setattr(fsd50k, "checksum_fault", lambda path, checksum: "")
    plan = recipe.plan(tmp_path)
    assert {clip.key: clip.split for clip in plan.clips} == {
        **{"64760": "train", "16399": "validation", "21914": "validation"}
    }
    assert recipe.directory == "fsd50k_mtslvr" and plan.options == {"subset": "mtslvr"}
    assert plan.notes == (
        "1 of 4 clips that MT-SLVR names are in no list here, e.g. 7",
        "1 clips are in another split there than in dev.csv",
    )


def test_the_record_is_the_published_one() -> None:
    audio_zips = [name for name in PARTS if "audio" in name]
    assert len(audio_zips) == 8 and FSD50K.SIZE_BYTES == 24_678_727_465
    assert all(len(md5) == 32 for md5, _ in PARTS.values())
