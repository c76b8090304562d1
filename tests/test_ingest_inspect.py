import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from conftest import described
from slvr.ingest.cli import main
from slvr.ingest.looks.inspect import N_LEVELS, envelope, level_db, log_mel_db, page
from slvr.shards.audio import with_audio
from slvr.shards.clip import Clip, Event, Source
from slvr.shards.read import ShardDirectory
from slvr.shards.write import ShardWriter, finish

MakeDirectory = Callable[..., ShardDirectory]

LOOK = """<script>
const loaded = [...document.querySelectorAll("audio")].map(audio => new Promise(done => {
  audio.onloadedmetadata = () => done(audio.duration);
  audio.onerror = () => done(-1);
  audio.preload = "metadata";
}));
document.documentElement.style.width = "360px";
Promise.all(loaded).then(durations_s => {
  const found = {
    durations_s,
    images: [...document.images].map(image => image.naturalWidth),
    n_waves: document.querySelectorAll("svg polygon").length,
    n_columns: document.querySelectorAll(".histogram i").length,
    right: Math.max(...[...document.body.querySelectorAll("*")].map(
      element => element.getBoundingClientRect().right)),
    fetched: performance.getEntriesByType("resource").filter(e => !e.name.startsWith("data:")),
  };
  document.body.innerHTML = "<pre id='found'>" + JSON.stringify(found) + "</pre>";
});
</script>"""


def tone(amplitude: float, hz: float = 1000, seconds: float = 1.0) -> np.ndarray:
    t = np.arange(round(seconds * 16_000)) / 16_000
    return np.round(32767 * amplitude * np.sin(2 * np.pi * hz * t)).astype(np.int16)


def text(html: str) -> str:
    """What a person reads."""
    body = html[html.index("<body>") :]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))


def test_level_of_a_tone_is_known() -> None:
    assert level_db(tone(1.0)) == pytest.approx(-3.01, abs=0.01)
    assert level_db(tone(0.1)) == pytest.approx(-23.01, abs=0.01)
    assert level_db(np.zeros(100, np.int16)) == -100 == level_db(np.zeros(0, np.int16))


@pytest.mark.parametrize("hz", [300, 1000, 5000])
def test_a_tone_lies_in_its_mel_band(hz: float) -> None:
    image_db = log_mel_db(tone(0.5, hz), 16_000)
    edges_mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 66)
    centre = np.argmin(np.abs(edges_mel[1:-1] - 2595 * np.log10(1 + hz / 700)))
    assert image_db.max() == 0
    assert set(image_db.argmax(axis=0)) <= {centre - 1, centre, centre + 1}
    far = np.abs(np.arange(64) - centre) > 8
    assert image_db[far].max() < -50


@pytest.mark.parametrize(("seconds", "n_frames"), [(0.01, 1), (1.0, 59), (10.0, 256)])
def test_pictures_stay_small(seconds: float, n_frames: int) -> None:
    image_db = log_mel_db(tone(0.5, seconds=seconds), 16_000)
    assert image_db.shape == (64, n_frames)
    assert np.isfinite(image_db).all()


def test_envelope_holds_every_extreme() -> None:
    pcm = np.zeros(30_000, np.int16)
    pcm[[0, 12_345, 29_999]] = [16_384, -32_768, 8192]
    low, high = envelope(pcm)
    assert len(low) == len(high) == 300
    assert (high[0], low[123], high[-1]) == (0.5, -1, 0.25)
    assert np.count_nonzero(low) == 1 and np.count_nonzero(high) == 2


def test_it_says_what_is_there_and_what_is_not(make_directory: MakeDirectory) -> None:
    directory = make_directory(n_clips=30, n_classes=3)
    html = page(directory)
    read = text(html)
    assert "30 of 31 clips are there, 0.2 min (split train: 30 of 31)." in read
    assert "ok 30 · 96.8 %" in read and "gone: removed 1 · 3.2 %" in read
    assert re.search(r"All labels class 0 10 class 1 10 class 2 10", read)
    assert "Shortest 0.2 s, median 0.35 s, longest 0.5 s." in read
    assert "Measured on every clip." in read
    assert "24 clips, drawn at random" in read
    assert len(re.findall(r" dB · level_db -\S+ · pitch \d+ · speaker [01]", read)) >= 20
    assert 8 <= read.count(" · 1 event ") <= 15
    assert html.count("<audio") == html.count("<polygon") == html.count("<img") == 24
    assert 'href="' not in html and "http" not in html.replace("http://www.w3.org", "")


def test_events_are_shown_where_they_are(tmp_path: Path) -> None:
    events = (Event("bark", 0.25, 0.5), Event("bark", 1.5, 9.0), Event("siren", 1.0, 1.0))
    clip = Clip("a", "train", Source("made"), events=(*events, Event("late", 10.5, 11.0)))
    with ShardWriter(tmp_path, "train-000000", "train", "flac") as writer:
        writer.write(with_audio(clip, tone(0.5, seconds=12.0), "flac"))
    assert writer.info is not None
    labels = {"bark": "dog bark"}
    about = described("made", labels=labels, derived_from={"separator": "5e9a"})
    finish(tmp_path, writer.rows, [writer.info], about)
    html = page(ShardDirectory.open(tmp_path))
    read = text(html)
    assert "4 events in 1 of 1 clips." in read and "All labels dog bark 2 siren 1 late" in read
    assert "Shortest 0 s, median 0.375 s, longest 7.5 s." in read
    lanes = re.findall(r'<i title="(.*?), (.*?)" style="(left:.*?)"', html)
    assert lanes == [
        ("dog bark", "0.250 to 0.500 s", "left:2.50%;width:2.50%"),
        ("dog bark", "1.500 to 9.000 s", "left:15.00%;width:75.00%"),
        ("siren", "1.000 to 1.000 s", "left:10.00%;width:0.00%"),
    ], "of the first 10 s"
    assert "from separator, sha256 5e9a" in read


def test_events_without_a_length_are_shown(make_directory: MakeDirectory) -> None:
    directory = make_directory(n_clips=1)
    rows = directory.rows()
    rows["events"] = [[{"label": "x", "start_s": 0.1, "end_s": 0.1}]] * len(rows)
    directory.rows = lambda: rows
    assert "Shortest 0 s, median 0 s, longest 0 s." in text(page(directory))


def test_many_labels_are_shown_from_both_ends(make_directory: MakeDirectory) -> None:
    read = text(page(make_directory(n_clips=41, n_classes=40)))
    assert "The 15 most frequent class 0 2" in read
    assert "The 15 rarest class 25 1" in read and "class 39 1" in read
    assert "40 labels" in read and "class 20 1" not in read.partition("24 clips")[0]


def test_a_large_set_is_measured_in_part_and_says_so(
    make_directory: MakeDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert N_LEVELS == 2_000
    monkeypatch.setattr("slvr.ingest.looks.inspect.N_LEVELS", 10)
    assert "Measured on 10 clips of 12, drawn at random." in text(page(make_directory()))


def test_same_seed_same_page(make_directory: MakeDirectory) -> None:
    directory = make_directory(n_clips=30)
    assert page(directory, seed=1) == page(directory, seed=1)
    sounds = [
        set(re.findall(r"audio/flac;base64,[^\"]*", page(directory, seed))) for seed in (1, 2)
    ]
    assert len(sounds[0]) == len(sounds[1]) == 24 and sounds[0] != sounds[1]


def test_what_a_source_says_is_no_markup(make_directory: MakeDirectory) -> None:
    directory = make_directory(n_classes=1)
    labels = {"class_0": "<script>alert(1)</script>"}
    object.__setattr__(directory.manifest, "labels", labels)
    html = page(directory)
    assert "<script" not in html and "&lt;script&gt;" in html


def test_a_long_clip_is_played_in_part(make_directory: MakeDirectory) -> None:
    short = len(page(make_directory("short", n_clips=2, lengths_s=(10.0,))))
    long = len(page(make_directory("long", n_clips=2, lengths_s=(60.0,))))
    assert long == pytest.approx(short, rel=0.02)


def test_24_of_the_loudest_clips_fit_into_15_mb(make_directory: MakeDirectory) -> None:
    assert len(page(make_directory(n_clips=24, lengths_s=(10.0,)))) < 15e6


@pytest.mark.parametrize("n_classes", [0, 3])
def test_sets_without_clips_or_labels(make_directory: MakeDirectory, n_classes: int) -> None:
    read = text(page(make_directory(n_clips=0, n_classes=n_classes)))
    assert "0 of 1 clips are there" in read and "gone: removed 1 · 100.0 %" in read
    read = text(page(make_directory("few", n_clips=2, n_classes=n_classes)))
    assert ("Clips per label" in read) == bool(n_classes)
    assert "2 clips Waveform" in read


def test_inspect_command(
    make_directory: MakeDirectory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_directory("a")
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", "a"]) == 0
    assert capsys.readouterr().out.endswith("equal samples\npage: a/inspect.html\n")
    assert "Seed 0." in Path("a/inspect.html").read_text()
    assert main(["inspect", "a", "--out", "p.html", "--seed", "7"]) == 0
    assert "Seed 7." in Path("p.html").read_text()
    assert main(["inspect", "nowhere"]) == 2
    assert "nowhere: no such shard directory" in capsys.readouterr().err


def test_diff_command(
    make_directory: MakeDirectory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_directory("a")
    make_directory("b", n_clips=11)
    monkeypatch.chdir(tmp_path)
    assert main(["diff", "a", "a"]) == 0
    assert capsys.readouterr().out.endswith("\nthe same: 12 same PCM, 1 same failure\n")
    assert main(["diff", "a", "b", "--json", "diff.json"]) == 1
    assert capsys.readouterr().out == (
        "  11 same PCM (ok)\n  1 only in A (ok)\n  1 same failure (gone: removed)\n"
        "different: 1 only in A (besides 11 same PCM, 1 same failure)\n"
    )
    found = json.loads(Path("diff.json").read_text())
    assert (found["a"], found["b"], found["same"]) == ("a", "b", False)
    assert [difference["key"] for difference in found["differences"]] == ["clip_0011"]
    assert main(["diff", "a", "nowhere"]) == 2
    assert "nowhere/clips.parquet: no such file" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on the PATH")
def test_a_browser_shows_and_plays_it(make_directory: MakeDirectory, tmp_path: Path) -> None:
    directory = make_directory(n_clips=24, n_classes=40, lengths_s=(0.5, 12.0))
    html = page(directory)
    plain, looking = tmp_path / "plain.html", tmp_path / "looking.html"
    plain.write_text(html)
    looking.write_text(html.replace("</body>", f"{LOOK}</body>"))
    chromium = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    chromium += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1000,1400"]

    def browse(*options: str) -> str:
        line = [*chromium, *options]
        done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout

    dom = browse("--virtual-time-budget=60000", "--dump-dom", looking.as_uri())
    match = re.search(r'<pre id="found">(.*?)</pre>', dom)
    assert match is not None, dom[-500:]
    found = json.loads(match[1])
    assert sorted(found["durations_s"]) == pytest.approx([0.5] * 12 + [10.0] * 12, abs=0.01)
    assert sorted(set(found["images"])) == [28, 256]
    assert found["n_waves"] == 24 and found["n_columns"] == 120
    assert found["right"] <= 360, "something is wider than a phone"
    assert found["fetched"] == []

    browse(f"--screenshot={tmp_path / 'page.png'}", plain.as_uri())
    shown = imread(tmp_path / "page.png")[..., :3]
    paper = shown[2, 2]
    assert (np.abs(shown - paper).max(axis=-1) > 0.1).mean() > 0.03
