"""`ingest audioset --from-mirror`: AudioSet from the copies that people have."""

import errno
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audioset_runs import QUICK, audioset, routes_of, shard_bytes, video
from loopback import Route, serve
from mirror_runs import (
    LACKING,
    MIRRORS,
    N,
    ingest,
    listed,
    manifest,
    mirror,
    pcm_of,
    rows,
    sha256,
    sound,
    sounds,
)
from slvr.ingest.building.copies import COPIES_A_TASK
from slvr.ingest.building.spool import Spool
from slvr.ingest.cli import main
from slvr.ingest.decode import decode_file
from slvr.ingest.mirrors import find
from slvr.ingest.mirrors.contract import Copy, Wanted, part_of
from slvr.ingest.mirrors.find import Found, Layout, Mirror, open_mirror
from slvr.ingest.mirrors.parquets import read_parquet
from slvr.ingest.mirrors.zips import read_zip
from slvr.ingest.recipe import ClipFailure
from slvr.ingest.recipes.audioset import AudioSet
from slvr.ingest.youtube.segments import OFFICIAL, OfficialFile
from slvr.shards.clip import Clip
from slvr.shards.compare import compare

SAID = {
    "parquet": ("parquet files, 2 of them", "data/bal_train/0"),
    "webdataset": ("tars, 1 of them", "shard-00000.tar#sample-0"),
    "tar": ("tars, 1 of them; 1 other files are ignored", "bal_train00.tar#audio/bal_train/"),
    "tar.gz": ("tars, 1 of them", "bal_train00.tar.gz#audio/bal_train/"),
    "zip": ("zips, 1 of them", "unbalanced_train_segments_part00_full.zip#part00/Y"),
    "zip -s": ("zips, 1 of them", "eval_segments.zip#"),
    "folder": ("audio files, 6 of them; 1 other files are ignored", ""),
}


@pytest.mark.parametrize("kind", MIRRORS)
def test_every_layout_gives_the_clips(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "zip -s" and shutil.which("zip") is None:
        pytest.skip("no program zip here")
    held = sounds()
    assert ingest(tmp_path, mirror(tmp_path / "in", kind, held)) == 0
    said, begins = SAID[kind]
    assert said in capsys.readouterr().out
    made = rows(tmp_path)
    assert len(made) == N
    lacking = made.pop(LACKING).clip
    assert (lacking.status, lacking.reason) == ("missing", "not_in_mirror")
    for i in range(N):
        if video(i) == LACKING:
            continue
        clip = made[video(i)].clip
        assert (clip.status, clip.detail) == ("ok", "")
        assert clip.labels == (("/m/09x0r", "/t/dd00088")[i % 2],)  # the official list's
        assert clip.source.uri.startswith(begins) and (clip.source.start_s, clip.n_samples) == (
            *(0.5, 24_000),
        )
        assert clip.source_sha256 == sha256(held[video(i)])
        pcm = decode_file(held[video(i)]).pcm
        assert clip.pcm_sha256 == sha256(pcm.astype("<i2").tobytes())
    extra = manifest(tmp_path)
    assert "layout" in str(extra)


def test_another_shard_directory_is_a_mirror(tmp_path: Path) -> None:
    assert ingest(tmp_path, mirror(tmp_path / "in", "folder", sounds())) == 0
    (tmp_path / "second").mkdir()
    assert ingest(tmp_path / "second", tmp_path / "out") == 0
    assert pcm_of(tmp_path / "second") == pcm_of(tmp_path)
    row = rows(tmp_path / "second")[video(0)]
    assert row.clip.source.uri == f"train-000000.tar#Y{video(0)}.flac"
    assert manifest(tmp_path / "second")["extra"] == {
        "mirror": {"layout": "shards of Slvr", "revision": ""}
    }


def test_youtube_is_asked_for_what_the_copy_lacks(tmp_path: Path) -> None:
    copy = mirror(tmp_path / "in", "tar", sounds())
    with serve(routes_of(N)) as server:
        source = ("--source-url", server.url("/{id}"))
        assert ingest(tmp_path, copy, "--then-youtube", *source, *QUICK) == 0
        assert set(server.requests) == {f"/{LACKING}"}
        there = {key: row.clip.source.uri for key, row in rows(tmp_path).items()}
        assert there[LACKING] == server.url(f"/{LACKING}")
        assert there[video(0)].startswith("bal_train00.tar#")
        # the same clips from YouTube: other bytes, decoded and cut elsewhere
        theirs = str(tmp_path / "youtube")
        assert main(audioset(server, listed(tmp_path), theirs)) == 0
    found = compare(tmp_path / "out", Path(theirs))
    assert (found.counts["different PCM"], found.counts["same PCM"]) == (N - 1, 1)


def test_retry_goes_on_with_another_copy(tmp_path: Path) -> None:
    assert ingest(tmp_path, mirror(tmp_path / "in", "tar", sounds())) == 0
    before = pcm_of(tmp_path)
    other = mirror(tmp_path / "other", "zip", {LACKING: sound(2)})
    again = ("--status", "missing", "--from-mirror", str(other), "--workers", "1")
    assert main(["retry", str(tmp_path / "out"), *again]) == 0
    made = rows(tmp_path)
    assert {row.clip.status for row in made.values()} == {"ok"}
    assert made[LACKING].clip.source.uri.startswith("unbalanced_train_segments_part00_full.zip#")
    assert before.items() <= pcm_of(tmp_path).items()


def test_what_is_damaged_is_a_row(tmp_path: Path) -> None:
    held = {video(i): sound(i) for i in range(N)}
    held[video(0)] = b"no audio at all"
    held[video(1)] = b""
    held[video(4)] = sound(4, seconds=1.0)
    held[video(5)] = sound(5, seconds=240.0, rate_hz=8_000)
    held["zzzzzzzzzzz"] = sound(98)  # a member after the cut
    copy = mirror(tmp_path / "in", "tar", {**held})
    assert ingest(tmp_path, copy) == 0
    made = {key: row.clip for key, row in rows(tmp_path).items()}
    assert made[video(0)].status == "corrupt"
    assert made[video(0)].source_sha256 == sha256(held[video(0)])
    assert (made[video(1)].status, made[video(1)].reason) == ("too_short", "empty_file")
    assert (made[video(2)].status, made[video(3)].status) == ("ok", "ok")
    assert made[video(4)].detail == ("the copy is shorter than the list's clip: 1.000 s of 1.500 s")
    assert (made[video(4)].status, made[video(4)].n_samples) == ("ok", 16_000)
    assert (made[video(5)].status, made[video(5)].detail) == ("too_long", "240 s, limit 11 s")


@pytest.mark.parametrize("kind", ["tar", "zip", "parquet"])
def test_a_damaged_file_costs_what_lies_in_it(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "in"
    mirror(copy, kind, {video(i): sound(i) for i in range(3)})
    (path,) = [*copy.rglob("*.tar"), *copy.rglob("*.zip"), *copy.rglob("00.parquet")]
    content = bytearray(path.read_bytes())
    if kind == "tar":
        content = content[: len(content) // 2]  # in the middle of the second member
    else:
        content[len(content) // 3] ^= 0xFF  # in the audio of the first one
    path.write_bytes(content)
    whole = mirror(tmp_path / "whole", kind, {video(i): sound(i) for i in range(3, N)})
    (copy / "whole").mkdir()
    shutil.copytree(whole, copy / "whole", dirs_exist_ok=True)
    assert ingest(tmp_path, copy) == 0
    made = {key: row.clip for key, row in rows(tmp_path).items()}
    assert {made[video(i)].status for i in range(3, N)} == {"ok"}
    assert {clip.status for clip in made.values()} <= {"ok", "corrupt", "missing"}
    assert any(made[video(i)].status == "corrupt" for i in range(3)), made
    if kind == "tar":
        assert "bal_train00.tar: read no further: no whole tar" in caplog.text


def test_each_file_is_read_once_and_what_is_spooled_not_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = mirror(tmp_path / "in", "parquet", sounds())
    assert ingest(tmp_path, copy) == 0
    clean = shard_bytes(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    find_in, asked = Mirror.find, []

    def breaks_off(self: Mirror, clips: Sequence[Clip]) -> Iterator[Found]:
        asked.append(len(clips))
        for i, found in enumerate(find_in(self, clips)):
            if len(asked) == 1 and i == COPIES_A_TASK:
                while len(Spool(tmp_path / "out" / "spool").keys()) < COPIES_A_TASK:
                    time.sleep(0.01)
                raise OSError(errno.EIO, "input/output error")
            yield found

    monkeypatch.setattr(Mirror, "find", breaks_off)
    assert ingest(tmp_path, copy) == 1
    assert ingest(tmp_path, copy) == 0
    assert asked == [N, N - COPIES_A_TASK]
    assert shard_bytes(tmp_path / "out") == clean
    opened: list[str] = []

    def noted(paths: tuple[Path, ...], wanted: Wanted) -> Iterator[Copy]:
        opened.append(paths[0].name)
        return read_parquet(paths, wanted)

    layout = Layout("parquet files", lambda name: name.endswith(".parquet"), noted)
    monkeypatch.setattr(find, "LAYOUTS", (layout,))
    clips = AudioSet(segments=str(tmp_path / "segments.csv")).plan(tmp_path).clips
    list(open_mirror(str(copy)).find(clips))
    assert opened == ["00.parquet", "01.parquet"]


def test_choices_work_on_a_mirror(tmp_path: Path) -> None:
    copy = mirror(tmp_path / "in", "zip", sounds())
    (tmp_path / "ids").write_text(f"{video(1)}\n{video(3)}\n{video(4)}\n")
    choice = ("--ids", str(tmp_path / "ids"), "--classes", "Gush, spurt", "--limit", "1")
    assert ingest(tmp_path, copy, *choice) == 0
    assert list(pcm_of(tmp_path)) == [video(1)]


def test_the_published_subset_comes_from_a_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = {video(0): "train", video(1): "validation", video(2): "train"}
    monkeypatch.setattr("slvr.ingest.youtube.choice.mtslvr_sides", lambda cache: sides)
    listed(tmp_path)
    (tmp_path / "segments.csv").rename(tmp_path / "balanced_train_segments.csv")  # as in a cache
    copy = mirror(tmp_path / "in", "webdataset", sounds())
    names = str(tmp_path / "labels.csv")
    recipe = AudioSet(subset="mtslvr", from_mirror=str(copy), label_names=names)
    clips = recipe.plan(tmp_path).clips
    assert {clip.source.id: clip.split for clip in clips} == sides
    made = [recipe.copied(*found, codec="flac") for found in recipe.copies(clips)]
    assert {(clip.source.id, clip.split, clip.status) for clip in made} == {
        *((video(0), "train", "ok"), (video(1), "validation", "ok")),
    }


def test_strong_labels_are_events_in_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n"
    events = f"{video(0)}_500\t0.2\t1.0\t/m/09x0r\n{video(0)}_500\t0.5\t1.4\t/t/dd00088\n"
    lists_of_strong = {
        "/audioset_eval_strong.tsv": Route((head + events).encode()),
        "/mid_to_display_name.tsv": Route(b"/m/09x0r\tSpeech\n/t/dd00088\tGush, spurt\n"),
    }
    copy = mirror(tmp_path / "in", "folder", sounds())
    with serve(lists_of_strong) as server:
        for name, path in zip(("eval", "labels"), lists_of_strong, strict=True):
            there = OfficialFile(server.url(path), 1, None)
            monkeypatch.setitem(OFFICIAL, f"strong_{name}", there)
        recipe = AudioSet(strong="eval", from_mirror=str(copy))
        assert recipe.directory == "as_strong_eval"
        plan = recipe.plan(tmp_path / "cache")
    (clip,) = plan.clips
    (found,) = recipe.copies(plan.clips)
    made = recipe.copied(*found, codec="flac")
    assert (made.status, made.split, made.detail[:19]) == ("ok", "eval", "the copy is shorter")
    assert made.events == clip.events
    assert [(event.label, event.start_s) for event in made.events] == [
        *(("/m/09x0r", 0.2), ("/t/dd00088", 0.5)),
    ]


def test_a_url_is_a_mirror_and_leaves_nothing_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    copy = mirror(tmp_path / "in", "tar", sounds())
    assert ingest(tmp_path, f"file://{copy}") == 0
    uri = rows(tmp_path)[video(0)].clip.source.uri
    assert uri == f"file://{copy}/bal_train00.tar#audio/bal_train/{video(0)}.flac"
    assert len(pcm_of(tmp_path)) == N - 1
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("nowhere", "nowhere: no such file or folder"),
        ("empty", r"no copy of AudioSet among 0 files \(none\)"),
        ("lists", r"no copy of AudioSet among 2 files \(.parquet, .txt\); expected parquet files"),
        ("memory://nowhere", "memory://nowhere: no file is there"),
        ("nosuch://x", "nosuch://x: Protocol not known: nosuch"),
        ("https://me:secret@host.example/x", "https://host.example: the URL holds a name"),
        ("s3://bucket/x?X-Amz-Signature=secret", "s3://bucket: the URL holds a name"),
        ("hf://datasets/a/b", "got the revision 'main', which may change; expected hf://"),
        ("hf://datasets/a/b@main/data", "got the revision 'main', which may change"),
    ],
)
def test_what_is_no_mirror_is_told(location: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "x.txt").write_text("text")
    pq.write_table(pa.table({"id": ["x"]}), tmp_path / "lists" / "clips.parquet")
    there = location if "://" in location else str(tmp_path / location)
    with pytest.raises(ValueError, match=message) as told:
        open_mirror(there)
    assert "secret" not in str(told.value)


def test_youtube_alone_needs_no_word() -> None:
    with pytest.raises(ValueError, match="--then-youtube goes with --from-mirror"):
        AudioSet(then_youtube=True)
    with pytest.raises(ValueError, match="--strong is a list already"):
        AudioSet(strong="train", segments="x.csv")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("abcdefghijk.wav", ("abcdefghijk", None)),
        ("a/b/Yabcdefghijk.flac", ("abcdefghijk", None)),
        ("Yabcdefghij.wav", ("Yabcdefghij", None)),
        ("abcdefghijk_30.wav", ("abcdefghijk", 30.0)),
        ("-bcdefghijk_30.500_40.500.flac", ("-bcdefghijk", 30.5)),
        ("Yabcdefgh_1_30000.wav", ("Yabcdefgh_1", 30_000.0)),
        ("Yabcdefgh_130.wav", None),  # neither an id nor an id and a start: nothing is guessed
        ("_bcdefghi_1.wav", ("_bcdefghi_1", None)),
        ("Yabcdefghijk", ("abcdefghijk", None)),
        ("labels.csv", None),
        ("sample-000000000.wav", None),
    ],
)
def test_names_tell_the_part_of_a_video(name: str, part: tuple[str, float | None] | None) -> None:
    assert part_of(name) == part


@pytest.mark.skipif(shutil.which("zip") is None, reason="no program zip here")
def test_damage_in_a_split_zip_costs_a_clip_and_tells_no_path_of_this_machine(
    tmp_path: Path,
) -> None:
    copy = mirror(tmp_path / "in", "zip -s", sounds())
    content = bytearray((copy / "eval_segments.z01").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (copy / "eval_segments.z01").write_bytes(content)
    listed(tmp_path)
    named = {"segments": "segments.csv", "label_names": "labels.csv"}
    recipe = AudioSet(**{option: str(tmp_path / name) for option, name in named.items()})
    found = [each.content for each in open_mirror(str(copy)).find(recipe.plan(tmp_path).clips)]
    (failure,) = (each for each in found if isinstance(each, ClipFailure))
    assert len(found) == N - 1 and failure.reason == "damaged_mirror"
    assert failure.detail.startswith("eval_segments.z01: ")


@pytest.mark.skipif(shutil.which("zip") is None, reason="no program zip here")
def test_a_zip_that_lacks_a_part_is_told(tmp_path: Path) -> None:
    copy = mirror(tmp_path / "in", "zip -s", sounds())
    (copy / "eval_segments.z02").rename(tmp_path / "elsewhere")
    whole = open_mirror(str(copy / "eval_segments.zip"))
    assert [len(parts) for parts in whole.files] == [len(list(copy.iterdir()))]
    (paths,) = ([copy / name for name in names] for names in whole.files)
    with pytest.raises(ValueError, match=r"parts are there.*zip -s 0 eval_segments.zip --out"):
        list(read_zip(tuple(paths), Wanted([])))
