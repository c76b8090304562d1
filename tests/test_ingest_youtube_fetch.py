"""Fetching through the real yt-dlp from a server that misbehaves.

Nothing of yt-dlp is replaced: sources come by its generic extractor from a loopback server.
"""

import concurrent.futures
import errno
import hashlib
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yt_dlp

from fetching import StubIE, fetch_audio, fetch_route, options
from loopback import CONTENT_TYPES, Route, serve, silent_film, tones
from slvr.ingest.recipe import ClipFailure
from slvr.ingest.youtube import fetch
from slvr.ingest.youtube.fetch import Fetcher, missing_javascript_runtime, probed


@pytest.mark.parametrize(("kind", "codec"), [("m4a", "aac"), ("webm", "opus")])
def test_a_source_is_fetched_whole(tmp_path, kind, codec):
    body = tones(kind)
    with serve({"/-dashed_id-": Route(body, CONTENT_TYPES[kind])}) as server:
        chosen = options(server)
        fetched = fetch_audio(chosen.url("-dashed_id-"), tmp_path, chosen)
        assert fetched.source_url == server.url("/-dashed_id-")
    assert fetched.path.read_bytes() == body
    assert list(tmp_path.iterdir()) == [fetched.path]
    assert (fetched.codec, fetched.n_bytes) == (codec, len(body))
    assert fetched.sha256 == hashlib.sha256(body).hexdigest()
    assert fetched.duration_s == pytest.approx(12, abs=0.1)
    assert fetched.ytdlp_version == yt_dlp.version.__version__


RECOVERED = {
    "another content type": Route(tones("m4a"), "text/plain"),
    "503 once": Route(tones("m4a"), fault="status", status=503, after=1, times=1),
    "reset once": Route(tones("m4a"), fault="reset", after=1, times=1),
    "cut once, no ranges": Route(tones("m4a"), fault="truncate", after=1, times=1, ranges=False),
    "slow": Route(tones("m4a"), fault="slow", pause_s=0.002),
}


@pytest.mark.parametrize("route", RECOVERED.values(), ids=RECOVERED)
def test_a_fault_that_passes_leaves_the_right_bytes(tmp_path, route):
    fetched, _ = fetch_route(route, tmp_path)
    assert fetched.path.read_bytes() == route.body


def test_warnings_are_kept_and_not_printed(tmp_path, capfd):
    fetched, _ = fetch_route(RECOVERED["another content type"], tmp_path)
    assert any("generic" in warning for warning in fetched.warnings)
    assert capfd.readouterr() == ("", "")


MEDIA = tones("m4a")


FAULTS = {
    "html": (Route(fault="html"), "corrupt", "not_audio"),
    "html as media": (Route(MEDIA, fault="html", after=1), "corrupt", "not_audio"),
    "json as audio": (Route(b'{"error": "sorry"}'), "corrupt", "not_audio"),
    "noise as audio": (Route(b"\x00\x01" * 5000), "corrupt", "undecodable"),
    "no audio stream": (Route(silent_film(), CONTENT_TYPES["mp4"]), "silent", "no_audio"),
    "zero bytes": (Route(fault="empty"), "corrupt", "empty"),
    "zero bytes as media": (Route(MEDIA, fault="empty", after=1), "corrupt", "empty"),
    "truncated": (Route(MEDIA, fault="truncate"), "transient", "truncated"),
    "reset": (Route(MEDIA, fault="reset"), "transient", "reset"),
    "stalled": (Route(MEDIA, fault="stall", after=1), "transient", "timeout"),
    "redirect loop": (Route(fault="redirect_loop"), "transient", "redirect_loop"),
}


STATUSES = [
    (401, "login", "account"),
    (402, "blocked", "payment_required"),
    (403, "blocked", "forbidden"),
    (404, "gone", "not_found"),
    (407, "blocked", "proxy"),
    (408, "transient", "timeout"),
    (410, "gone", "not_found"),
    (418, "transient", "http_error"),
    (429, "blocked", "rate_limit"),
    (451, "geo", "legal"),
    (500, "transient", "server_error"),
    (503, "transient", "server_error"),
]


@pytest.mark.parametrize(("route", "status", "reason"), FAULTS.values(), ids=FAULTS)
def test_faults(tmp_path, route, status, reason):
    failure, _ = fetch_route(route, tmp_path)
    assert isinstance(failure, ClipFailure)
    assert (failure.status, failure.reason) == (status, reason)
    assert failure.detail
    assert "caused by" not in failure.detail


@pytest.mark.parametrize("after", [0, 1], ids=["page", "media"])
@pytest.mark.parametrize(("code", "status", "reason"), STATUSES)
def test_http_statuses(tmp_path, code, status, reason, after):
    failure, n_requests = fetch_route(
        Route(MEDIA, fault="status", status=code, after=after), tmp_path
    )
    assert (failure.status, failure.reason) == (status, reason)
    assert failure.retry_after_s is None
    retried = after == 1 and code >= 500
    assert n_requests == 1 + after + retried


@pytest.mark.parametrize("after", [0, 1], ids=["page", "media"])
def test_retry_after_is_passed_on(tmp_path, after):
    route = Route(MEDIA, fault="status", status=429, retry_after="17", after=after)
    failure, _ = fetch_route(route, tmp_path)
    assert (failure.status, failure.retry_after_s) == ("blocked", 17.0)


def test_no_server_blocks_the_run(tmp_path):
    with serve({}) as server:
        chosen = options(server)
    with pytest.raises(ClipFailure) as caught:
        fetch_audio(chosen.url("clip"), tmp_path, chosen)
    assert (caught.value.status, caught.value.reason) == ("blocked", "unreachable")


def test_a_large_source_is_refused_before_it_is_there(tmp_path):
    route = Route(bytes(3_000_000), fault="slow", pause_s=0.01)
    failure, _ = fetch_route(route, tmp_path, max_source_mb=1.0)
    assert (failure.status, failure.reason) == ("refused", "too_large")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 100_000


def test_a_long_source_is_refused(tmp_path):
    failure, _ = fetch_route(Route(tones("m4a")), tmp_path, max_source_s=11.0)
    assert (failure.status, failure.reason) == ("refused", "too_long")


def test_a_download_that_crawls_is_given_up(tmp_path):
    route = Route(tones("m4a"), fault="slow", pause_s=0.1)
    failure, _ = fetch_route(route, tmp_path, max_fetch_s=0.5)
    assert (failure.status, failure.reason) == ("transient", "too_slow")


def test_a_full_disk_is_no_fault_of_the_source(tmp_path):
    """A limit on file sizes makes a write fail as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError) as caught:
            fetch_route(Route(tones("m4a")), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG


def test_a_lost_fragment_is_an_error_and_not_a_gap(tmp_path):
    body = tones("m4a")
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n"
    routes = {}
    for index in range(3):
        playlist += f"#EXTINF:4,\n{index}.m4s\n"
        routes[f"/{index}.m4s"] = Route(body[index::3])
    routes["/clip"] = Route(
        (playlist + "#EXT-X-ENDLIST\n").encode(), "application/vnd.apple.mpegurl"
    )
    routes["/1.m4s"] = Route(fault="status", status=404)
    with serve(routes) as server:
        chosen = options(server)
        with pytest.raises(ClipFailure) as caught:
            fetch_audio(chosen.url("clip"), tmp_path, chosen)
    assert (caught.value.status, caught.value.reason) == ("transient", "media_url")


def test_a_fetcher_goes_on_as_new_after_every_kind_of_failure(tmp_path):
    faults = {f"/bad{i}": route for i, (route, _, _) in enumerate(FAULTS.values())}
    statuses = {
        f"/s{i}": Route(fault="status", status=code) for i, (code, _, _) in enumerate(STATUSES)
    }
    good = Route(tones("m4a"), "text/plain")
    with serve(faults | statuses | {"/good": good}) as server:
        fetcher = Fetcher(options(server))
        for n, path in enumerate([*faults, *statuses]):
            (tmp_path / f"bad{n}").mkdir()
            with pytest.raises(ClipFailure):
                probed(fetcher.fetch(server.url(path), tmp_path / f"bad{n}"), options(server))
            (tmp_path / f"good{n}").mkdir()
            fetched = fetcher.fetch(server.url("/good"), tmp_path / f"good{n}")
            assert fetched.path.parent == tmp_path / f"good{n}"
            assert fetched.path.read_bytes() == good.body
            assert fetched.source_url == server.url("/good")
            assert len(fetched.warnings) <= 2


def test_a_playlist_in_place_of_audio_opens_no_file_of_this_machine(tmp_path):
    (tmp_path / "own.m4a").write_bytes(tones("m4a", 3))
    own = tmp_path / "own.m4a"
    for text in (f"#EXTM3U\n#EXTINF:3,\n{own.as_uri()}\n", f"ffconcat version 1.0\nfile {own}\n"):
        (tmp_path / "fetched").write_text(text)
        with pytest.raises(ClipFailure) as failure:
            fetch._probe(tmp_path / "fetched")
        assert failure.value.status == "corrupt"


def test_the_time_limit_counts_from_each_fetch(tmp_path, monkeypatch):
    now_s = [0.0]
    monkeypatch.setattr(fetch.time, "monotonic", lambda: now_s[0])
    with serve({"/clip": Route(tones("m4a"))}) as server:
        fetcher = Fetcher(options(server, max_fetch_s=5.0))
        for n in range(3):
            (tmp_path / str(n)).mkdir()
            fetcher.fetch(server.url("/clip"), tmp_path / str(n))
            now_s[0] += 4.0


def video(key, **changes):
    formats = [{"format_id": "140", "url": "http://127.0.0.1:9/a.m4a", "ext": "m4a"}]
    return {"id": key, "title": "A title", "formats": formats} | changes


KNOWN_BEFORE = {
    "live": ({"live_status": "is_live"}, "refused", "live"),
    "upcoming": ({"live_status": "is_upcoming"}, "refused", "live"),
    "three hours": ({"duration": 10_800}, "refused", "too_long"),
    "large": (
        {"formats": [{"url": "http://127.0.0.1:9/a", "ext": "m4a", "filesize": 9_000_000}]},
        "refused",
        "too_large",
    ),
    "muted": (
        {"formats": [{"url": "http://127.0.0.1:9/a", "acodec": "none", "vcodec": "avc1"}]},
        "silent",
        "no_audio",
    ),
    "pictures only": (
        {"formats": [{"url": "http://127.0.0.1:9/a", "acodec": "none", "vcodec": "none"}]},
        "blocked",
        "extraction",
    ),
    "a trailer": ({"id": "other_video", "extractor_key": "Youtube"}, "login", "paid"),
}


@pytest.mark.parametrize(("changes", "status", "reason"), KNOWN_BEFORE.values(), ids=KNOWN_BEFORE)
def test_what_is_known_before_the_download_refuses_it(
    tmp_path, monkeypatch, changes, status, reason
):
    class StubbedYoutubeDL(yt_dlp.YoutubeDL):
        def __init__(self, parameters):
            super().__init__(parameters, auto_init=False)
            self.add_info_extractor(StubIE(lambda _, key: video(key, **changes)))

    monkeypatch.setattr(yt_dlp, "YoutubeDL", StubbedYoutubeDL)
    chosen = options(source_url="stub:{id}", max_source_s=3600.0, max_source_mb=5.0)
    with pytest.raises(ClipFailure) as caught:
        fetch_audio(chosen.url("abcdefghijk"), tmp_path, chosen)
    assert (caught.value.status, caught.value.reason) == (status, reason)
    assert not list(tmp_path.iterdir())


def test_the_javascript_runtime_is_found_beside_python_without_a_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert missing_javascript_runtime() is None
    monkeypatch.setattr(fetch.sysconfig, "get_path", lambda _: str(tmp_path))
    assert "pip install deno" in missing_javascript_runtime()


def test_yt_dlp_is_told_the_path_of_the_javascript_runtime(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Fetcher(options())._downloader._js_runtimes["deno"].info.supported


def test_yt_dlp_is_imported_only_when_needed():
    code = "import sys, slvr.ingest.youtube.fetch; sys.exit('yt_dlp' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_several_fetches_at_once(tmp_path):
    routes = {f"/{n}": Route(tones("m4a") + bytes(n)) for n in range(8)}
    with serve(routes) as server, concurrent.futures.ThreadPoolExecutor(4) as pool:
        chosen = options(server)

        def one(n):
            directory = tmp_path / str(n)
            directory.mkdir()
            return fetch_audio(chosen.url(str(n)), directory, chosen).n_bytes - len(tones("m4a"))

        assert list(pool.map(one, range(8))) == list(range(8))
