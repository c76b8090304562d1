"""Which clips `ingest audioset` asks for, and which wishes it refuses."""

import hashlib
import time
from pathlib import Path

import numpy as np
import pytest

from audioset_runs import LABELS, audioset, lists, video
from conftest import run
from loopback import Route, nobody, serve, tones
from slvr.ingest.download import RemoteFile
from slvr.ingest.recipes.audioset import AudioSet
from slvr.ingest.youtube import subsets
from slvr.ingest.youtube.segments import OFFICIAL, OfficialFile
from slvr.shards.clip import Event
from slvr.shards.compare import compare
from slvr.shards.read import ShardDirectory
from slvr.shards.rows import read_rows
from slvr.shards.verify import verify


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


def test_a_list_of_ones_own_needs_no_network(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OFFICIAL, "labels", OfficialFile(nobody() + "labels.csv", 1, None))
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("one look is enough"))
    own = {"segments": str(listed / "segments.csv")}
    plan = AudioSet(**own).plan(listed / "cache")
    assert plan.labels == {label: label for label in ("/m/09x0r", "/t/dd00088")}
    (said,) = [note for note in plan.notes if "labels keep their ids" in note]
    assert "labels.csv could not be fetched" in said and "--segments" not in said
    assert "give your own csv with --label-names FILE" in said
    # by id a class can be chosen, and what is asked for is the same with names and without
    chosen = AudioSet(**own, classes=("/t/dd00088",)).plan(listed / "cache")
    assert {label for clip in chosen.clips for label in clip.labels} == {"/t/dd00088"}
    named = AudioSet(**own, label_names=str(listed / "labels.csv")).plan(listed / "cache")
    assert (named.clips, named.options) == (plan.clips, plan.options)
    with pytest.raises(ValueError, match=r"--classes Speech: no names of classes.*--label-names"):
        AudioSet(**own, classes=("Speech",)).plan(listed / "cache")


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


def test_segments_of_one_video_have_their_start_in_the_key(tmp_path: Path) -> None:
    one, two = video(0), video(1)
    lines = [f'{i}, {start}, 9.000, "/m/09x0r"' for i, start in ((one, 0), (two, 1.5), (one, 2.25))]
    lists(tmp_path, lines)
    assert plan_keys(tmp_path) == [f"{one}_0", two, f"{one}_2250"]
    # as the whole list says, not what is left of it
    assert plan_keys(tmp_path, limit=1) == [f"{one}_0"]
    (tmp_path / "ids").write_text(one)
    assert plan_keys(tmp_path, ids=str(tmp_path / "ids")) == [f"{one}_0", f"{one}_2250"]


def strong_list(folder: Path) -> tuple[str, ...]:
    """Three segments of two videos with their events; returns the options that name the files."""
    lines = (
        "segment_id\tstart_time_seconds\tend_time_seconds\tlabel",
        f"{video(0)}_500\t0.250\t1.000\t/t/dd00088",
        f"{video(0)}_500\t0.000\t10.000\t/m/09x0r",
        f"{video(0)}_2000\t1.000\t2.000\t/m/09x0r",
        f"{video(1)}_0\t0.000\t0.100\t/m/09x0r",
    )
    (folder / "strong.tsv").write_text("\n".join(lines) + "\n")
    (folder / "names.tsv").write_text("/m/09x0r\tSpeech\n/t/dd00088\tGush\n")
    return ("--segments", "strong.tsv", "--label-names", "names.tsv")


def test_audioset_strong_keeps_its_events_and_so_does_its_table(tmp_path: Path) -> None:
    long = Route(tones("m4a", 13))
    with serve({f"/{video(0)}": long, f"/{video(1)}": long}) as server:
        listed = strong_list(tmp_path)
        done = run("ingest", *audioset(server, listed, "a/s"), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        # by a query that the record does not show: the id is not read off the address
        server.routes["/get"] = long
        same = ("--from-manifest", "a/s/clips.parquet", "--label-names", "names.tsv")
        line = audioset(server, same, "b/s")
        line[line.index("--source-url") + 1] = server.url("/get?id={id}")
        done = run("ingest", *line, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    first, second = (
        {row.clip.key: row.clip for row in read_rows(tmp_path / name / "s" / "clips.parquet")}
        for name in "ab"
    )
    assert list(first) == sorted([f"Y{video(0)}_2000", f"Y{video(0)}_500", f"Y{video(1)}"])
    clip = first[f"Y{video(0)}_500"]
    assert clip.labels == ("/t/dd00088", "/m/09x0r") and clip.n_samples == 160_000
    assert clip.events == (Event("/t/dd00088", 0.25, 1.0), Event("/m/09x0r", 0.0, 10.0))
    assert (clip.source.id, clip.source.start_s, clip.source.end_s) == (video(0), 0.5, 10.5)
    assert (clip.source_rate_hz, clip.source_channels, clip.source_codec) == (44_100, 2, "aac")
    for key, clip in first.items():
        assert second[key].events == clip.events and second[key].pcm_sha256 == clip.pcm_sha256
    assert compare(tmp_path / "a" / "s", tmp_path / "b" / "s").same
    assert verify(ShardDirectory.open(tmp_path / "a" / "s")) == []


def test_labels_of_audioset_strong_that_are_unknown_say_what_to_give(tmp_path: Path) -> None:
    strong_list(tmp_path)
    (tmp_path / "names.tsv").write_text("/m/09x0r\tSpeech\n")
    paths = {"segments": "strong.tsv", "label_names": "names.tsv"}
    recipe = AudioSet(**{name: str(tmp_path / path) for name, path in paths.items()})
    with pytest.raises(ValueError, match=r"label /t/dd00088 .*mid_to_display_name\.tsv"):
        recipe.plan(tmp_path)


def test_the_help_names_the_lists_it_reads() -> None:
    said = run("ingest", "audioset", "--help", cwd=Path.cwd()).stdout
    words = "".join(said.split())  # lines break at hyphens, too
    assert "orAudioSet-strong'stsv" in words and "oramid_to_display_name.tsv" in words
