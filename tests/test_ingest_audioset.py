"""`ingest audioset` through the real yt-dlp, from a loopback server that misbehaves on order."""

import hashlib
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from audioset_runs import QUICK, SHORT, audioset, lists, routes_of, shard_bytes, statuses, video
from conftest import run
from loopback import Route, serve, silence, silent_film, tone_hz, tones
from slvr.ingest.building.ledger import LEDGER
from slvr.ingest.recipes.audioset import AudioSet
from slvr.shards.clip import SAMPLE_RATE_HZ
from slvr.shards.read import ShardDirectory
from slvr.shards.verify import verify


def strongest_hz(pcm: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm)), 1 << 17))
    return float(np.argmax(spectrum) * SAMPLE_RATE_HZ / (1 << 17))


def test_segments_are_cut_where_the_list_says_and_failures_are_kept(tmp_path: Path) -> None:
    long = Route(tones("m4a"))
    cases = {
        "-m4aAAAAAAA": (3.0, 8.0, long, "ok"),
        "webmAAAAAAA": (3.0, 8.0, Route(tones("webm"), content_type="audio/webm"), "ok"),
        "one_AAAAAAA": (5.0, 6.0, long, "ok"),
        "nine_AAAAAA": (2.0, 11.0, long, "ok"),
        "fractionAAA": (3.3, 7.8, long, "ok"),
        "flakyAAAAAA": (0.0, 2.0, Route(SHORT, fault="status", status=503, times=1), "ok"),
        "no_rangesAA": (0.0, 2.0, Route(SHORT, ranges=False), "ok"),
        "goneAAAAAAA": (3.0, 8.0, Route(fault="status", status=404), "gone"),
        "gone_tooAAA": (3.0, 8.0, Route(fault="status", status=410), "gone"),
        "too_shortAA": (9.0, 13.0, long, "too_short"),
        "past_endAAA": (30.0, 40.0, long, "too_short"),
        "all_zeroAAA": (3.0, 8.0, Route(silence()), "silent"),
        "filmAAAAAAA": (0.0, 1.0, Route(silent_film(), content_type="video/mp4"), "silent"),
        "emptyAAAAAA": (0.0, 1.0, Route(fault="empty"), "corrupt"),
        "htmlAAAAAAA": (0.0, 1.0, Route(fault="html"), "corrupt"),
        "three_hours": (0.0, 1.0, Route(tones("m4a", 20)), "refused"),  # --max-source-s is 15
    }
    listed = lists(
        tmp_path,
        [f'{i}, {a:.3f}, {b:.3f}, "/m/09x0r,/t/dd00088"' for i, (a, b, *_) in cases.items()],
    )
    with serve({f"/{i}": route for i, (_, _, route, _) in cases.items()}) as server:
        line = audioset(server, listed, "s", "--max-source-s", "15", "--workers", "4")
        done = run("ingest", *line, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"{len(cases)} clips, at no set rate, about" in done.stdout
        assert "18 to 25 % of YouTube's to be gone" in done.stdout
        asked = server.requests.copy()
        assert run("ingest", *line, cwd=tmp_path).returncode == 0
        assert server.requests == asked  # nothing is fetched twice
    assert statuses(tmp_path / "s") == {i: status for i, (*_, status) in cases.items()}
    directory = ShardDirectory.open(tmp_path / "s")
    assert verify(directory) == []
    rows = directory.rows().set_index("key")
    # what came is known of failures, too
    for key, content in (("YfilmAAAAAAA", silent_film()), ("Yall_zeroAAA", silence())):
        assert rows["source_bytes"][key] == len(content)
        assert rows["source_sha256"][key] == hashlib.sha256(content).hexdigest()
    assert directory.manifest.labels == {"/m/09x0r": "Speech", "/t/dd00088": "Gush, spurt"}
    clips, dataset = directory.clips("train"), directory.dataset("train")
    for i, row in clips.iterrows():
        assert row["labels"] == ["/m/09x0r", "/t/dd00088"]
        pcm = dataset[i]
        assert len(pcm) == round((row["end_s"] - row["start_s"]) * SAMPLE_RATE_HZ)
        for second in range(int(row["end_s"] - row["start_s"])):
            middle = pcm[second * SAMPLE_RATE_HZ + 3000 : (second + 1) * SAMPLE_RATE_HZ - 3000]
            middle_s = row["start_s"] + second + 0.5
            if 0.2 < middle_s % 1 < 0.8:
                assert abs(strongest_hz(middle) - tone_hz(int(middle_s))) < 3, row["key"]


def test_where_a_clip_comes_from_is_on_record(tmp_path: Path) -> None:
    listed = lists(tmp_path, 1)
    with serve(routes_of(1)) as server:
        assert run("ingest", *audioset(server, listed, "s"), cwd=tmp_path).returncode == 0
        url = server.url(f"/{video(0)}")
    row = ShardDirectory.open(tmp_path / "s").rows().iloc[0]
    assert (row["source_uri"], row["source_bytes"], row["source_codec"]) == (url, len(SHORT), "aac")
    with closing(sqlite3.connect(tmp_path / "s" / LEDGER)) as db:
        db.row_factory = sqlite3.Row
        (attempt,) = [dict(found) for found in db.execute("SELECT * FROM attempts")]
    for name in ("source_uri", "source_bytes", "source_sha256", "source_format", "source_codec"):
        assert attempt[name] == row[name] and row[name], name
    assert (attempt["pcm_sha256"], attempt["n_samples"]) == (row["pcm_sha256"], 24_000)
    assert attempt["started_s"] == pytest.approx(time.time(), abs=100)
    assert all(f'"{name}"' in attempt["versions"] for name in ("yt-dlp", "av", "soxr"))


def test_any_order_of_arrival_gives_the_same_bytes(tmp_path: Path) -> None:
    listed = lists(tmp_path, 12)
    slow = routes_of(
        12,
        v1=Route(SHORT, fault="slow", pause_s=0.05),
        v5=Route(SHORT, fault="status", status=503, times=1),
        v7=Route(SHORT, fault="status", status=429, times=1),
    )
    made = []
    for workers, routes in (("1", routes_of(12)), ("5", slow)):
        shutil.rmtree(tmp_path / "s", ignore_errors=True)
        with serve(slow) as server:
            server.routes.update(routes)
            line = audioset(server, listed, "s", "--shard-mb", "0.15", "--workers", workers)
            line[line.index("--source-url") + 1] = server.url("/{id}")
            assert run("ingest", *line, cwd=tmp_path).returncode == 0
            port = str(server.port).encode()
        assert len(list((tmp_path / "s").glob("*.tar"))) >= 3
        pcm = ShardDirectory.open(tmp_path / "s").rows().drop(columns="source_uri").to_dict("list")
        tars = [path.read_bytes().replace(port, b"") for path in sorted(tmp_path.glob("s/*.tar"))]
        made.append((pcm, tars))
    assert made[0] == made[1]


def test_another_groups_table_is_rebuilt_to_the_same_shards(tmp_path: Path) -> None:
    lines = [f'{video(i)}, 0.{i}00, 2.000, "/t/dd00088"' for i in range(5)]
    listed = lists(tmp_path, lines)
    with serve(routes_of(5, v2=Route(fault="status", status=404))) as server:
        assert run("ingest", *audioset(server, listed, "a/s"), cwd=tmp_path).returncode == 0
        same = ("--from-manifest", "a/s/clips.parquet", "--label-names", "labels.csv")
        assert run("ingest", *audioset(server, same, "b/s"), cwd=tmp_path).returncode == 0
    assert shard_bytes(tmp_path / "a" / "s") == shard_bytes(tmp_path / "b" / "s")
    table = pq.read_table(tmp_path / "a" / "s" / "clips.parquet")
    foreign = tmp_path / "foreign.parquet"
    place = table.column_names.index("source_id")
    strange = table.set_column(place, "source_id", [[f"no_{i}" for i in range(5)]])
    pq.write_table(strange, foreign)
    for path, message in (
        (foreign, "no AudioSet segment"),
        (tmp_path / "labels.csv", "unreadable"),
    ):
        with pytest.raises(ValueError, match=message):
            AudioSet(from_manifest=str(path), label_names=str(tmp_path / "labels.csv")).plan(
                tmp_path
            )


def test_credentials_reach_no_file_and_no_message(tmp_path: Path) -> None:
    listed = lists(tmp_path, 1)
    (tmp_path / "cookies.txt").write_text(
        "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tSID\thunter2cookie\n"
    )
    private = (
        *("--proxy", "http://user:hunter2@127.0.0.1:9", "http://user:hunter2@127.0.0.1:7"),
        *("--source-url", "http://me:hunter2@127.0.0.1:9/{id}?token=hunter2"),
        *("--ytdlp-option", 'extractor_args={"youtube": {"po_token": ["hunter2"]}}'),
        *("--cookies", "cookies.txt"),
    )
    once = (*QUICK, "--retries", "0", "--max-blocked", "1", "--out", "s")
    told = run("ingest", "audioset", *listed, *once, *private, cwd=tmp_path)
    assert told.returncode == 1 and "refuses us (proxy" in told.stderr
    again = run("ingest", "retry", "s", *private, cwd=tmp_path)
    status = run("ingest", "status", "s", cwd=tmp_path)
    wrong = run("ingest", "audioset", *listed, "--proxy", "http://u:hunter2@h", cwd=tmp_path)
    assert wrong.returncode == 2
    for done in (told, again, status, wrong):
        assert "hunter2" not in done.stdout + done.stderr and "Traceback" not in done.stderr
    for path in (tmp_path / "s").rglob("*"):
        assert path.is_dir() or b"hunter2" not in path.read_bytes(), path
