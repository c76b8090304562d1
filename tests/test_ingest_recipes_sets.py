"""One contract for every evaluation set; the rules of each; the commands on all of them."""

import contextlib
import dataclasses
import hashlib
import io
import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation_sets import TOYS, Toy, packed, sound, unpack, zip_of
from loopback import Route, Server, nobody, serve
from slvr.ingest import cli
from slvr.ingest.archives import class_splits
from slvr.ingest.archives.evaluation_set import EvaluationSet
from slvr.ingest.archives.files import Files
from slvr.ingest.recipe import ClipPlan
from slvr.ingest.recipes import EVALUATION_SETS
from slvr.ingest.recipes._template import Template
from slvr.ingest.recipes.commonvoice import MOST, CommonVoice
from slvr.ingest.recipes.hear_originals import ALIASES
from slvr.ingest.recipes.nsynth import NSynth, note
from slvr.shards.clip import SAMPLE_RATE_HZ
from slvr.shards.read import ShardDirectory

FACTS = Path(__file__).parents[2] / "shared" / "facts"
NAMES = sorted(EVALUATION_SETS)
FORMATS = {(k, c, n) for k, c in (("wav", "pcm_s16le"), ("mp3", "mp3")) for n in (1, 2)}
SPLIT_NAMES = {
    **{"esc50": "esc", "fsdkaggle18": "kaggle", "voxceleb1": "voxceleb", "speechcommands": "sc"},
    "accents": "saa",
}


def splits_npy(classes: list[str]) -> bytes:
    """A published list: an array of three objects, lists and arrays of text mixed."""
    array = np.empty(3, object)
    array[0], array[1], array[2] = classes[:1], np.array(classes[1:2], "U40"), classes[2:]
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


@contextlib.contextmanager
def upstream(name: str, toy: Toy, patch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The set's archives and class lists on a loopback server, and their checksums in place."""
    data_set = EVALUATION_SETS[name]
    files = packed(toy)
    routes = {f"/{file}": Route(content) for file, content in files.items()}
    classes = sorted(set(toy.labels.values()))
    with serve(routes) as server:
        remotes = [
            dataclasses.replace(
                remote,
                urls=(server.url(f"/{remote.name}"),),
                checksum=f"md5:{hashlib.md5(files[remote.name]).hexdigest()}",
            )
            for remote in data_set.ARCHIVES
        ]
        patch.setattr(data_set, "ARCHIVES", tuple(remotes))
        patch.setattr(data_set, "SIZE_BYTES", 1)
        patch.setattr(data_set, "N_CLIPS", len(toy.labels) - len(toy.statuses))
        patch.setattr(data_set, "N_CLASSES", len(classes))
        patch.setattr(data_set, "PER_CLASS", {})
        if data_set.CLASS_SPLITS is not None:
            listed = splits_npy(classes)
            split = data_set.CLASS_SPLITS[0]
            server.routes[f"/{split}_split.npy"] = Route(listed)
            patch.setattr(data_set, "CLASS_SPLITS", (split, hashlib.md5(listed).hexdigest()))
            patch.setattr(class_splits, "BASE_URL", server.url("/"))
        yield server


def made(plan: ClipPlan, recipe: EvaluationSet) -> list:
    return [recipe.make(clip, "flac") for clip in plan.clips[:6] + plan.clips[-2:]]


@pytest.mark.parametrize("name", NAMES)
def test_constants_are_there(name: str) -> None:
    data_set = EVALUATION_SETS[name]
    assert name == data_set.NAME and data_set.__module__ == f"slvr.ingest.recipes.{name}"
    assert data_set.LICENCE and data_set.CITATION and data_set.HOMEPAGE.startswith("https://")
    assert data_set.N_CLIPS > data_set.N_CLASSES > 1
    assert (data_set.__doc__ or "").startswith("Ingests ")
    for remote in data_set.ARCHIVES:
        assert remote.urls and all(re.match(r"https?://", url) for url in remote.urls)
        assert re.fullmatch(r"|sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", remote.checksum)
        assert remote.checksum or name in ("cremad", "accents"), "no checksum is published"
    assert data_set.ARCHIVES or "account" in data_set.HOW_TO_GET
    if data_set.CLASS_SPLITS:
        assert re.fullmatch("[0-9a-f]{32}", data_set.CLASS_SPLITS[1])
    lines = Path(__file__).parents[1].joinpath(f"ingest/recipes/{name}.py").read_text().count("\n")
    assert lines <= 120


@pytest.mark.parametrize("name", NAMES)
def test_download_archives_and_tree_give_the_same_clips(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy, data_set = TOYS[name](), EVALUATION_SETS[name]
    source = tmp_path / "archives"
    source.mkdir()
    for file, content in packed(toy).items():
        (source / file).write_bytes(content)
    with upstream(name, toy, monkeypatch) as server:
        cache = tmp_path / "cache"
        if not data_set.ARCHIVES:
            with pytest.raises(ValueError, match=f"account.* run: ingest {name} --source"):
                data_set().plan(cache)
            shutil.copytree(source, cache / "archives" / name)
        recipe = data_set()
        plan = recipe.plan(cache)
        assert {clip.key: clip.labels for clip in plan.clips} == {
            _key(key): (label,) for key, label in toy.labels.items()
        }
        for clip in plan.clips:
            assert clip.attributes == toy.attributes.get(clip.key, {}), clip.key
        assert toy.attributes.keys() <= {clip.key for clip in plan.clips}
        assert plan.notes == toy.notes
        assert list(plan.labels) == sorted(set(toy.labels.values()))
        assert all(clip.licence for clip in plan.clips)
        if data_set.CLASS_SPLITS:
            found = plan.extra["class_splits"]
            assert [*found["train"], *found["val"], *found["test"]] == list(plan.labels)
        else:
            assert plan.extra == {}
        clips = made(plan, recipe)
        asked = server.requests.copy()
        for path in (source, unpack(toy, tmp_path / "tree" / "some" / "where")):
            again = data_set(source=str(path))
            assert again.plan(tmp_path / "cache") == plan
            assert made(plan, again) == clips
        assert server.requests == asked  # nothing is fetched twice
    statuses = {clip.key: clip.status for clip in map(recipe.make, plan.clips, ["wav"] * 999)}
    assert {k: s for k, s in statuses.items() if s != "ok"} == toy.statuses
    for clip in clips:
        if clip.status != "missing":
            assert clip.source_sha256 and clip.source_bytes, clip.key
        if clip.status not in ("missing", "corrupt"):
            about = (clip.source_format, clip.source_codec, clip.source_channels)
            assert about in FORMATS and clip.source_rate_hz, clip.key


def _key(text: str) -> str:
    from slvr.shards.clip import key_of

    return key_of(text)


def test_the_template_is_a_whole_recipe(tmp_path: Path) -> None:
    members = {f"set/audio/{c}/{i}.wav": sound("WAV", 8000, 1, 0.2) for c in "ab" for i in "12"}
    (tmp_path / "set.zip").write_bytes(zip_of(members))
    recipe = Template(source=str(tmp_path / "set.zip"))
    plan = recipe.plan(tmp_path)
    assert sorted(clip.key for clip in plan.clips) == ["a_1", "a_2", "b_1", "b_2"]
    assert all(recipe.make(clip, "flac").status == "ok" for clip in plan.clips)
    text = Path(__file__).parents[1].joinpath("ingest/recipes/_template.py").read_text()
    assert text.count("\n") <= 40


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Cache and working directory of the commands."""
    monkeypatch.setattr(cli, "CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_esc50_from_the_net_to_shards(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another zip than the pinned one, as its host makes it: the content is checked instead."""
    toy = TOYS["esc50"]()
    with upstream("esc50", toy, monkeypatch) as server:
        other = dataclasses.replace(
            EVALUATION_SETS["esc50"].ARCHIVES[0], checksum=f"sha256:{'0' * 64}"
        )
        monkeypatch.setattr(EVALUATION_SETS["esc50"], "ARCHIVES", (other,))
        assert cli.main(["esc50", "--workers", "1"]) == 0
        said = capsys.readouterr().out
        assert f"expected {'0' * 64}; its host makes the archive anew" in said
        assert "esc50: 3 clips of 2 classes, as expected" in said
        directory = ShardDirectory.open("shards/esc50")
        assert directory.manifest.extra["class_splits"] == {
            **{"train": ["dog"], "val": ["door_wood_knock"], "test": []}
        }
        assert sorted(len(pcm) for pcm in directory.dataset("eval")) == [3200] * 3
        shutil.rmtree("cache/archives")
        broken = dict(toy.archives["ESC-50.zip"])
        broken.popitem()
        server.routes["/ESC-50.zip"] = Route(zip_of(broken))
        assert cli.main(["esc50", "--out", "again"]) == 2
        assert "holds 2 of 3 clips; remove it to fetch it again" in capsys.readouterr().err


def test_voxceleb_says_where_else_to_get_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with upstream("voxceleb1", TOYS["voxceleb1"](), monkeypatch) as server:
        server.routes.clear()
        assert cli.main(["voxceleb1"]) == 1
    said = capsys.readouterr().err
    assert "vox1_dev_wav_partaa could not be fetched" in said and "HTTP 404" in said
    assert "form at https://mm.kaist.ac.kr" in said
    assert "run: ingest voxceleb1 --source FOLDER_OF_THE_ARCHIVES" in said
    assert said.count("\n") == 1


def test_inherited_options_have_their_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["commonvoice", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "--source SOURCE Archive, folder of archives or unpacked tree" in said
    assert "--seed SEED Chooses the 10,000 clips" in said


def test_all_ends_with_one_table(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("speechcommands", "cremad", "commonvoice"):
        (home / "data" / name).mkdir(parents=True)
        for file, content in packed(TOYS[name]()).items():
            (home / "data" / name / file).write_bytes(content)
    (home / "data" / "watkins.zip").write_bytes(b"PK no zip")
    monkeypatch.setattr(EVALUATION_SETS["commonvoice"], "N_CLIPS", 11)
    monkeypatch.setattr(EVALUATION_SETS["commonvoice"], "N_CLASSES", 2)
    assert cli.main(["all", "--root", "data", "--out", "made", "--workers", "1"]) == 1
    said = capsys.readouterr().out
    table = {line.split()[0]: line for line in said.splitlines() if line.strip()}
    assert re.search(r" 11 +2 +0.00 +\d+\.\d$", table["commonvoice"])
    assert "expected 105,829 clips of 35 classes" in table["speechcommands"]
    assert "1 clips failed" in table["cremad"]
    assert "more failures than --max-fail 0.01" in said
    assert "ANG: 1, expected 1271; DIS: 0, expected 1271" in said
    assert "no whole zip or tar" in table["watkins"]
    assert "no source for esc50, nsynth" in said
    (home / "empty").mkdir()
    assert cli.main(["all", "--root", "empty"]) == 2
    assert "no source of any set" in capsys.readouterr().err


def test_list_names_every_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    lines = {line.split("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    tasks = [f"hear {task}" for task in ALIASES]
    assert list(lines) == ["set", *EVALUATION_SETS, "fsd50k", *tasks]
    assert "49,060       88  25.2  automatic  CC-BY-4.0" in lines["hear nsynth_pitch"]
    assert "72       11     ?  automatic  CC-BY" in lines["hear dcase2016_task2"]
    assert "51,197      200  24.7  automatic" in lines["fsd50k"]
    assert "305,978    1,006  25.2  automatic  CC-BY-4.0" in lines["nsynth"]
    assert "by hand" in lines["birdclef"] and "by hand" in lines["commonvoice"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "expected an object with exactly train, val, test"),
        ("{", "no JSON"),
        ('{"train": ["a"], "val": ["a"], "test": []}', "class 'a' is there twice"),
        ('{"train": [1], "val": [], "test": []}', "expected lists of class names"),
    ],
)
def test_split_files_are_checked(
    home: Path, content: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "mine.json").write_text(content)
    unpack(TOYS["speechcommands"](), home / "tree")
    assert cli.main(["speechcommands", "--source", "tree", "--split-file", "mine.json"]) == 2
    assert message in capsys.readouterr().err


def test_own_class_lists_are_stored(home: Path) -> None:
    lists = {"train": ["zero"], "val": [], "test": ["backward"]}
    (home / "mine.json").write_text(json.dumps(lists))
    unpack(TOYS["speechcommands"](), home / "tree")
    recipe = EVALUATION_SETS["speechcommands"](source="tree", split_file="mine.json")
    assert recipe.plan(home / "cache").extra == {"class_splits": lists}


def test_a_set_on_this_disk_needs_no_network(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = TOYS["esc50"]()
    unpack(toy, home / "tree")
    monkeypatch.setattr(class_splits, "BASE_URL", nobody())
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("one look is enough"))
    assert cli.main(["esc50", "--source", "tree", "--out", "out"]) == 0
    said = capsys.readouterr().out
    assert (
        "ingested without the benchmark's class lists: esc_split.npy could not be fetched" in said
    )
    assert "give your own lists with --split-file FILE.json" in said
    directory = ShardDirectory.open("out")
    assert directory.manifest.extra == {} and len(directory.clips("eval")) == len(toy.labels)
    # the lists are fetched where archives are, and then patience is right
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with pytest.raises(OSError, match=r"--split-file FILE\.json"):
        EVALUATION_SETS["esc50"]()._class_splits(home / "cache")
    assert len(waits) == 4


def test_sources_that_are_not_the_set_say_why(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unpack(TOYS["nsynth"](), home / "notes")
    assert cli.main(["watkins", "--source", "nowhere"]) == 2
    assert "nowhere: no such file or folder" in capsys.readouterr().err
    assert cli.main(["cremad", "--source", "notes"]) == 2
    assert "no audio file of cremad" in capsys.readouterr().err
    (home / "audio.zip").write_bytes(packed(TOYS["fsdkaggle18"]())["FSDKaggle2018.audio_test.zip"])
    assert cli.main(["fsdkaggle18", "--source", "audio.zip"]) == 2
    assert "expected one file train_post_competition.csv, found none" in capsys.readouterr().err


def files_with(uris: list[str], text: str = "") -> Files:
    """Names without content."""
    return SimpleNamespace(audio=dict.fromkeys(uris), text=lambda _: text)


def test_common_voice_takes_ten_thousand_by_seed() -> None:
    uris = [f"en/clips/common_voice_en_{i}.mp3" for i in range(MOST + 500)]
    first, second = (
        [s.key for s in CommonVoice(seed=seed).samples(files_with(uris)).samples] for seed in (0, 1)
    )
    assert len(set(first)) == len(set(second)) == MOST and set(first) != set(second)
    assert first == [s.key for s in CommonVoice().samples(files_with(uris[::-1])).samples]


instruments = st.from_regex(
    r"[a-z]+(_[a-z]+)?_(acoustic|electronic|synthetic)_\d{3}", fullmatch=True
)


@given(instruments, st.integers(0, 127), st.integers(0, 127))
def test_notes_are_split_from_the_right(name: str, pitch: int, velocity: int) -> None:
    text = f"{name}-{pitch:03d}-{velocity:03d}"
    instrument, attributes = note(text)
    assert instrument == name and re.fullmatch(NSynth.MEMBER, f"nsynth-test/audio/{text}.wav")
    family, source, _ = re.fullmatch(r"(.+)_([a-z]+)_(\d{3})", name).groups()
    assert attributes == {
        **{"pitch": pitch, "velocity": velocity, "family": family, "source": source}
    }


@given(st.from_regex(r"[A-Z][A-Za-z,'_ -]{1,30}[a-z]", fullmatch=True))
def test_watkins_labels_are_folder_names(name: str) -> None:
    data_set = EVALUATION_SETS["watkins"]
    uri = f"{name}/6.wav"
    files = SimpleNamespace(audio={uri: None}, durations_s=lambda _: {uri: 1.0})
    assert re.fullmatch(data_set.MEMBER, uri)
    assert data_set().samples(files).samples[0].label == name


@pytest.mark.skipif(not FACTS.is_dir(), reason="the collected facts are not beside the checkout")
class TestFacts:
    """Rules against lists that are not ours to ship."""

    def splits(self, name: str) -> dict[str, list[str]]:
        listed = json.loads((FACTS / "splits.json").read_text())
        return listed[SPLIT_NAMES.get(name, name)]

    @pytest.mark.parametrize("name", NAMES)
    def test_counts_of_classes(self, name: str) -> None:
        parts = self.splits(name)
        data_set = EVALUATION_SETS[name]
        assert sum(map(len, parts.values())) == data_set.N_CLASSES
        assert bool(parts["train"]) == (data_set.CLASS_SPLITS is not None)

    def test_names_of_classes_come_from_names_of_files(self) -> None:
        form = {
            "nsynth": "nsynth-test/audio/{}-060-100.wav",
            "watkins": "{}/1.wav",
            "birdclef": "{}/XC1.mp3",
            "voxceleb1": "{}/abc/00001.wav",
            "speechcommands": "{}/00000000_nohash_0.wav",
            "cremad": "1001_DFA_{}_XX.wav",
            "commonvoice": "{}/clips/common_voice_{}_1.mp3",
        }
        for name, pattern in form.items():
            for label in [label for part in self.splits(name).values() for label in part]:
                uri = pattern.format(label, label)
                assert re.fullmatch(EVALUATION_SETS[name].MEMBER, uri), uri
                files = SimpleNamespace(
                    audio={f"{uri[:-5]}{i}{uri[-4:]}": None for i in range(50)}
                    if name in ("birdclef", "commonvoice")
                    else {uri: None},
                    text=lambda _: "",
                )
                files.durations_s = lambda _, files=files: dict.fromkeys(files.audio, 1.0)
                found = EVALUATION_SETS[name]().samples(files).samples
                assert {sample.label for sample in found} == {label}

    def test_accents_are_exactly_122_classes_of_2060_clips(self) -> None:
        text = (FACTS / "saa_speakers_all.csv").read_text()
        found = EVALUATION_SETS["accents"]().samples(files_with([], text)).samples
        counts = Counter(sample.label for sample in found)
        assert (len(found), len(counts)) == (2_060, 122)
        assert set(counts) == set(self.splits("accents")["test"])
        assert (counts["english"], counts["synthesized"]) == (579, 4)

    def test_common_voice_rules_give_88_locales_of_256252_clips(self) -> None:
        listed = json.loads((FACTS / "cv-corpus-12.0-delta-2022-12-07.json").read_text())
        uris = [
            f"{locale}/clips/common_voice_{locale}_{i}.mp3"
            for locale, about in listed["locales"].items()
            for i in range(min(about["clips"], MOST + 1))
        ]
        counts = Counter(s.label for s in CommonVoice().samples(files_with(uris)).samples)
        assert counts.total() == 256_252
        assert set(counts) == set(self.splits("commonvoice")["test"])


def test_clips_are_whole(tmp_path: Path) -> None:
    unpack(TOYS["cremad"](), tmp_path)
    recipe = EVALUATION_SETS["cremad"](source=str(tmp_path))
    clip = recipe.plan(tmp_path / "cache").clips[0]
    assert recipe.make(clip, "flac").n_samples == round(0.3 * SAMPLE_RATE_HZ)
