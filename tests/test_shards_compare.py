import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slvr.shards.audio import with_audio
from slvr.shards.clip import Clip, Event, Source
from slvr.shards.compare import KINDS, compare
from slvr.shards.read import ShardDirectory
from slvr.shards.rows import CLIPS, Row, read_rows, write_rows

CHIRP, CALL = Event("chirp", 0.5, 1.0), Event("call", 0.5, 1.0)


def row(key: str, status: str = "ok", reason: str = "", pcm: str = "00", **other: object) -> Row:
    known = {"labels": ("bird", "sea"), "events": (CHIRP,), "attributes": {"take": 1}} | other
    clip = Clip(key, "train", Source(f"{key}.wav"), status=status, reason=reason, pcm_sha256=pcm)
    return Row(dataclasses.replace(clip, **known))


def table(path: Path, rows: list[Row]) -> Path:
    path.mkdir(exist_ok=True)
    write_rows(path / CLIPS, rows)
    return path


A = [
    row("same"),
    row("gone", "gone", "removed", ""),
    row("changed", pcm="01"),
    row("lost"),
    row("private", "gone", "private", ""),
    row("moved", labels=("bird",)),
    row("other_event", events=(CHIRP, CALL)),
    row("other_time", events=(dataclasses.replace(CHIRP, end_s=1.1),)),
    row("other_take", attributes={"take": 2}),
    row("other_type", attributes={"take": "1"}),
    row("order", attributes={"take": 1, "fold": 2}),
    row("other_split", split="validation"),
    row("alone"),
    row("alone_failed", "corrupt", "no audio", ""),
]
WORDS = "different split, labels, events or attributes"
B = [
    row("same"),
    row("gone", "gone", "removed", "", detail="in other words"),
    row("changed", pcm="02"),
    row("lost", "blocked", "bot check", ""),
    row("private", "gone", "removed", ""),
    row("moved"),
    row("other_event", events=(CHIRP,)),
    row("other_time"),
    row("other_take"),
    row("other_type"),
    row("order", attributes={"fold": 2, "take": 1}),
    row("other_split"),
    row("new"),
]


def test_each_key_is_of_one_kind(tmp_path: Path) -> None:
    found = compare(table(tmp_path / "a", A), table(tmp_path / "b", B))
    assert found.counts == {
        "same PCM": 2,
        "same failure": 1,
        "only in A": 2,
        "only in B": 1,
        "different status or reason": 2,
        "different PCM": 1,
        WORDS: 6,
    }
    assert dict(zip(found.differences["key"], found.differences["kind"], strict=True)) == {
        "alone": "only in A",
        "alone_failed": "only in A",
        "changed": "different PCM",
        "lost": "different status or reason",
        "moved": WORDS,
        "new": "only in B",
        "other_event": WORDS,
        "other_split": WORDS,
        "other_take": WORDS,
        "other_time": WORDS,
        "other_type": WORDS,
        "private": "different status or reason",
    }
    assert not found.same
    assert found.verdict == (
        "different: 2 only in A, 1 only in B, 2 different status or reason, 1 different PCM, "
        f"6 {WORDS} (besides 2 same PCM, 1 same failure)"
    )


def test_reasons_of_both_sides_are_counted(tmp_path: Path) -> None:
    found = compare(table(tmp_path / "a", A), table(tmp_path / "b", B))
    assert found.reasons["n"].sum() == 15 == sum(found.counts.values())
    reasons = {tuple(values[:-1]): values[-1] for values in found.reasons.to_numpy().tolist()}
    assert reasons["different status or reason", "ok", "", "blocked", "bot check"] == 1
    assert reasons["only in A", "corrupt", "no audio", "", ""] == 1
    assert reasons["same failure", "gone", "removed", "gone", "removed"] == 1
    assert reasons[WORDS, "ok", "", "ok", ""] == 6


def test_lines_say_what_became_of_what(tmp_path: Path) -> None:
    lines = compare(table(tmp_path / "a", A), table(tmp_path / "b", B)).lines()
    assert lines[0] == f"6 {WORDS} (ok)"
    assert set(lines[1:]) == {
        "2 same PCM (ok)",
        "1 same failure (gone: removed)",
        "1 only in A (ok)",
        "1 only in A (corrupt: no audio)",
        "1 only in B (ok)",
        "1 different PCM (ok)",
        "1 different status or reason (ok -> blocked: bot check)",
        "1 different status or reason (gone: private -> gone: removed)",
    }


def test_it_can_be_written_as_json(tmp_path: Path) -> None:
    found = compare(table(tmp_path / "a", A), table(tmp_path / "b", B))
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert read["same"] is False and read["counts"] == found.counts
    changed = next(d for d in read["differences"] if d["key"] == "changed")
    assert (changed["pcm_sha256_a"], changed["pcm_sha256_b"]) == ("01", "02")


def test_the_same_audio_in_other_shards_and_codec_is_the_same(
    make_directory: Callable[..., ShardDirectory],
) -> None:
    a, b = make_directory("a", codec="flac"), make_directory("b", codec="wav", n_shards=3)
    for tar in [*a.path.glob("*.tar"), *b.path.glob("*.tar")]:
        tar.unlink()  # the tables are enough
    found = compare(a.path, b.path)
    assert found.same and found.differences.empty
    assert found.verdict == "the same: 12 same PCM, 1 same failure"


def test_one_sample_makes_the_difference(
    make_directory: Callable[..., ShardDirectory], tmp_path: Path
) -> None:
    one = make_directory()
    pcm = one.dataset("train")[0].copy()
    pcm[100] += 1
    key = one.clips("train")["key"][0]
    changed = with_audio(Clip(key, "train", Source("x")), pcm, "flac").pcm_sha256
    rows = read_rows(one.path / CLIPS)
    other = [
        Row(dataclasses.replace(row.clip, pcm_sha256=changed)) if row.clip.key == key else row
        for row in rows
    ]
    found = compare(table(tmp_path / "a", rows), table(tmp_path / "b", other))
    assert list(found.differences["key"]) == [key]
    assert found.counts["different PCM"] == 1


statuses = st.sampled_from([("ok", "", "aa"), ("ok", "", "bb"), ("gone", "x", ""), ("geo", "", "")])
tables = st.dictionaries(st.sampled_from("abcdefgh"), statuses, min_size=1)


@settings(deadline=None, max_examples=50)
@given(tables, tables)
def test_laws(
    tmp_path_factory: pytest.TempPathFactory,
    one: dict[str, tuple[str, str, str]],
    two: dict[str, tuple[str, str, str]],
) -> None:
    folder = tmp_path_factory.mktemp("laws")
    a, b = (
        table(folder / name, [row(key, *values) for key, values in rows.items()])
        for name, rows in (("a", one), ("b", two))
    )
    forward, backward = compare(a, b), compare(b, a)
    assert compare(a, a).same
    assert forward.same == backward.same == (one == two)
    assert sum(forward.counts.values()) == len(one | two) == forward.reasons["n"].sum()
    swapped = {"only in A": "only in B", "only in B": "only in A"}
    assert forward.counts == {kind: backward.counts[swapped.get(kind, kind)] for kind in KINDS}


def test_a_table_that_is_absent_broken_or_repeats_a_key(tmp_path: Path) -> None:
    good = table(tmp_path / "good", A)
    with pytest.raises(ValueError, match=r"nowhere/clips.parquet: no such file; give a finished"):
        compare(good, tmp_path / "nowhere")
    broken = table(tmp_path / "broken", A)
    (broken / CLIPS).write_bytes(b"no parquet")
    with pytest.raises(ValueError, match=r"unreadable: .*; take another copy"):
        compare(broken, good)
    with pytest.raises(ValueError, match="key same occurs twice"):
        compare(good, table(tmp_path / "twice", [*A, row("same")]))
