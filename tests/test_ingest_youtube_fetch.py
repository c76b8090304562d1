"""Fetching through the real yt-dlp from a server that misbehaves; errors mapped to facts.

Nothing of yt-dlp is replaced: sources come by its generic extractor from a loopback server, and
YouTube's own refusals are raised by an extractor added through yt-dlp's interface.
"""

import concurrent.futures
import dataclasses
import email.utils
import errno
import hashlib
import io
import pickle
import resource
import subprocess
import sys
import time
from http.cookiejar import Cookie
from pathlib import Path

import pytest
import yt_dlp
from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.networking.common import Response
from yt_dlp.networking.exceptions import HTTPError
from yt_dlp.utils import ExtractorError

from loopback import CONTENT_TYPES, Route, serve, silent_film, tones
from slvr.ingest.recipe import ClipFailure
from slvr.ingest.youtube import fetch
from slvr.ingest.youtube.failures import (
    RULES,
    classify,
    look_up,
    parse_retry_after,
    redact,
)
from slvr.ingest.youtube.fetch import Fetched, Fetcher, Fetchers, missing_javascript_runtime
from slvr.ingest.youtube.options import FetchOptions


def options(server=None, **changes) -> FetchOptions:
    """Options for a server on this machine: no proxy, little patience."""
    values = {"proxy": "", "socket_timeout_s": 0.5, "ytdlp_options": {"retries": 1}}
    if server:
        values["source_url"] = server.url("/{id}")
    return FetchOptions(**values | changes)


def fetch_audio(url, directory, chosen) -> Fetched:
    return Fetcher(chosen).fetch(url, directory)


def fetch_route(route, tmp_path, **changes):
    """Returns what fetching this one route gives, and how many requests it took."""
    with serve({"/clip": route}) as server:
        chosen = options(server, **changes)
        try:
            return fetch_audio(chosen.url("clip"), tmp_path, chosen), server.requests["/clip"]
        except ClipFailure as failure:
            return failure, server.requests["/clip"]


# --- what is fetched -------------------------------------------------------------------------


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


# --- what a fault means ----------------------------------------------------------------------

MEDIA = tones("m4a")
FAULTS = {
    "html": (Route(fault="html"), "corrupt", "not_audio"),
    "html as media": (Route(MEDIA, fault="html", after=1), "corrupt", "not_audio"),
    "json as audio": (Route(b'{"error": "sorry"}'), "corrupt", "not_audio"),
    "noise as audio": (Route(b"\x00\x01" * 5000), "corrupt", "not_audio"),
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


def test_retry_after_forms():
    in_a_minute = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert parse_retry_after(in_a_minute) == pytest.approx(60, abs=5)
    assert parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert parse_retry_after("soon") is None
    assert parse_retry_after(None) is None


def test_no_server_blocks_the_run(tmp_path):
    with serve({}) as server:
        chosen = options(server)
    with pytest.raises(ClipFailure) as caught:
        fetch_audio(chosen.url("clip"), tmp_path, chosen)
    assert (caught.value.status, caught.value.reason) == ("blocked", "unreachable")


def test_a_stale_media_url_at_youtube_is_not_a_missing_video():
    def not_found(url):
        return HTTPError(Response(io.BytesIO(), url, {}, status=404))

    assert classify(not_found("https://rr3---sn-1.googlevideo.com/videoplayback")).status == (
        "transient"
    )
    assert classify(not_found("https://mirror.example.org/a.m4a")).status == "gone"


# --- limits ----------------------------------------------------------------------------------


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


# --- one fetcher for many sources -------------------------------------------------------------


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
                fetcher.fetch(server.url(path), tmp_path / f"bad{n}")
            (tmp_path / f"good{n}").mkdir()
            fetched = fetcher.fetch(server.url("/good"), tmp_path / f"good{n}")
            assert fetched.path.parent == tmp_path / f"good{n}"
            assert fetched.path.read_bytes() == good.body
            assert fetched.source_url == server.url("/good")
            assert len(fetched.warnings) <= 2


def test_the_time_limit_counts_from_each_fetch(tmp_path, monkeypatch):
    now_s = [0.0]
    monkeypatch.setattr(fetch.time, "monotonic", lambda: now_s[0])
    with serve({"/clip": Route(tones("m4a"))}) as server:
        fetcher = Fetcher(options(server, max_fetch_s=5.0))
        for n in range(3):
            (tmp_path / str(n)).mkdir()
            fetcher.fetch(server.url("/clip"), tmp_path / str(n))
            now_s[0] += 4.0


def test_cookies_that_a_site_sets_later_are_secrets_too(tmp_path):
    with serve({"/clip": Route(fault="status", status=404)}) as server:
        fetcher = Fetcher(options(server, source_url=server.url("/{id}") + f"/{COOKIE}"))
        cookie = Cookie(
            *(0, "SID", COOKIE, None, False, "127.0.0.1", False, False, "/", True, False),
            *(None, False, None, None, {}),
        )
        fetcher._downloader.cookiejar.set_cookie(cookie)
        with pytest.raises(ClipFailure) as caught:
            fetcher.fetch(server.url(f"/clip/{COOKIE}"), tmp_path)
    assert COOKIE not in repr(caught.value)


def test_proxies_take_turns(tmp_path):
    """A proxy is asked for a whole URL; yt-dlp asks for a page and for its media."""
    routes = {"http://mirror.test/clip": Route(tones("m4a"))}
    with serve(dict(routes)) as first, serve(dict(routes)) as second:
        proxies = [f"http://127.0.0.1:{server.port}" for server in (first, second)]
        fetchers = Fetchers(options(source_url="http://mirror.test/{id}"), proxies)
        asked = []
        for n in range(4):
            (tmp_path / str(n)).mkdir()
            fetchers.next().fetch(fetchers.options.url("clip"), tmp_path / str(n))
            asked.append((first.requests.total(), second.requests.total()))
    assert asked == [(2, 0), (2, 2), (4, 2), (4, 4)]


# --- YouTube's words -------------------------------------------------------------------------

REFUSALS = [
    ("Video unavailable", "gone", "unavailable"),
    ("Video unavailable. This video is not available", "gone", "unavailable"),
    ("This video isn't available anymore", "gone", "unavailable"),
    ("This live stream recording is not available.", "gone", "unavailable"),
    ("Video unavailable. This video is private", "gone", "private"),
    (
        "Private video. Sign in if you've been granted access to this video. "
        "Use --cookies-from-browser or --cookies for the authentication",
        "gone",
        "private",
    ),
    ("Video unavailable. This video has been removed by the uploader", "gone", "removed"),
    ("This video has been removed for violating YouTube's Terms of Service", "gone", "removed"),
    (
        "This video has been removed for violating YouTube's policy on hate speech. "
        "Learn more about combating hate speech in your country.",
        "gone",
        "removed",
    ),
    (
        "Video unavailable. This video is no longer available because the YouTube account "
        "associated with this video has been terminated.",
        "gone",
        "account_closed",
    ),
    (
        "Video unavailable. This video is no longer available because the YouTube account "
        "associated with this video has been terminated due to multiple third-party "
        "notifications of copyright infringement.",
        "gone",
        "account_closed",
    ),
    (
        "Video unavailable. This video is no longer available because the uploader has closed "
        "their YouTube account.",
        "gone",
        "account_closed",
    ),
    (
        "Video unavailable. This video is no longer available due to a copyright claim by SME",
        "gone",
        "copyright",
    ),
    (
        "Video unavailable. This video contains content from UMG, who has blocked it on "
        "copyright grounds",
        "gone",
        "copyright",
    ),
    ("This video is DRM protected", "gone", "drm"),
    (
        "Video unavailable. This video contains content from UMG, who has blocked it in your "
        "country on copyright grounds",
        "geo",
        "country",
    ),
    ("The uploader has not made this video available in your country", "geo", "country"),
    (
        "Sign in to confirm your age. This video may be inappropriate for some users. "
        "Use --cookies-from-browser or --cookies for the authentication",
        "login",
        "age",
    ),
    (
        "Join this channel to get access to members-only content like this video, and other "
        "exclusive perks.",
        "login",
        "members",
    ),
    ("This video requires payment to watch.", "login", "paid"),
    ("Login details are needed to download this content", "login", "account"),
    (
        "Sign in to confirm you\N{RIGHT SINGLE QUOTATION MARK}re not a bot. Use "
        "--cookies-from-browser or --cookies for the authentication",
        "blocked",
        "bot_check",
    ),
    (
        "Video unavailable. YouTube is requiring a captcha challenge before playback",
        "blocked",
        "captcha",
    ),
    (
        "Video unavailable. This content isn't available, try again later. The current session "
        "has been rate-limited by YouTube for up to an hour.",
        "blocked",
        "rate_limit",
    ),
    (
        "Video unavailable. This content isn\N{RIGHT SINGLE QUOTATION MARK}t available.",
        "blocked",
        "rate_limit",
    ),
    (
        "All player responses are invalid. Your IP is likely being blocked by Youtube",
        "blocked",
        "ip_blocked",
    ),
    ("Failed to extract any player response", "blocked", "extraction"),
    (
        "Requested format is not available. Use --list-formats for a list of available formats",
        "blocked",
        "extraction",
    ),
    ("The following content is not available on this app.", "blocked", "extraction"),
    ("The page needs to be reloaded.", "blocked", "extraction"),
    ("This live event will begin in 3 days.", "refused", "live"),
    ("Premieres in 4 hours", "refused", "live"),
    ("Something nobody has seen before", "transient", "unknown"),
]


class StubIE(InfoExtractor):
    """An extractor for `stub:` URLs that does what the test says."""

    _VALID_URL = r"stub:(?P<id>[\w-]+)"
    IE_NAME = "youtube"

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def _real_extract(self, url):
        return self.answer(self, self._match_id(url))


def refusal(answer) -> ClipFailure:
    with yt_dlp.YoutubeDL({"quiet": True, "logger": fetch._WarningList()}, auto_init=False) as ydl:
        ydl.add_info_extractor(StubIE(answer))
        with pytest.raises(yt_dlp.utils.DownloadError) as caught:
            ydl.extract_info("stub:abcdefghijk")
    return classify(caught.value)


@pytest.mark.parametrize(("message", "status", "reason"), REFUSALS)
def test_refusals_in_youtubes_words(message, status, reason):
    failure = refusal(lambda ie, _: ie.raise_no_formats(message, expected=True))
    assert (failure.status, failure.reason) == (status, reason)
    assert message.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")[:40] in failure.detail.replace(
        "\N{RIGHT SINGLE QUOTATION MARK}", "'"
    )


def test_refusals_by_yt_dlps_own_calls():
    assert refusal(lambda ie, _: ie.raise_geo_restricted()).status == "geo"
    assert refusal(lambda ie, _: ie.raise_geo_restricted("Not here", ["DE"])).status == "geo"
    assert refusal(lambda ie, _: ie.raise_login_required()).status == "login"
    assert refusal(lambda ie, key: ie.report_drm(key)).reason == "drm"
    assert refusal(lambda ie, key: {"id": key, "title": "", "formats": []}).reason == "extraction"


def test_a_bug_in_an_extractor_is_transient_and_free_of_boilerplate():
    def fail(*_):
        raise ExtractorError("Unable to find it")

    failure = refusal(fail)
    assert (failure.status, failure.reason) == ("transient", "unknown")
    assert failure.detail.endswith("Unable to find it")


def test_reasons_are_plain_words_of_one_status_each():
    status_of = {}
    for status, reason, _ in RULES:
        assert reason.replace("_", "").isalpha() and reason.islower()
        assert status_of.setdefault(reason, status) == status
    assert look_up("") == ("transient", "unknown")


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


# --- secrets ---------------------------------------------------------------------------------

COOKIE, TOKEN = "SESSIONCOOKIE123", "web.gvs+POTOKEN"
COOKIES_TXT = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tSID\t{}\n"


def test_secrets_stay_out_of_failures(tmp_path):
    cookies = tmp_path / "cookies.txt"
    cookies.write_text(COOKIES_TXT.format(COOKIE))
    before = cookies.read_bytes()
    with serve({"/clip": Route(fault="status", status=404)}) as server:
        chosen = FetchOptions(
            # The secrets stand in the URL, so that yt-dlp's own messages repeat them.
            source_url=server.url("/{id}") + f"/{COOKIE}/{TOKEN}?sig=SIGNATURE&v=abc",
            cookies=cookies,
            proxy="",
            ytdlp_options={"extractor_args": {"youtube": {"po_token": [TOKEN]}}},
        )
        (tmp_path / "out").mkdir()
        with pytest.raises(ClipFailure) as caught:
            fetch_audio(chosen.url("clip"), tmp_path / "out", chosen)
    for secret in (COOKIE, TOKEN, "SIGNATURE"):
        assert secret not in str(caught.value)
        assert secret not in repr(caught.value)
    assert "404" in str(caught.value)
    assert TOKEN not in repr(dataclasses.replace(chosen, source_url="{id}"))
    assert cookies.read_bytes() == before


def test_proxy_credentials_stay_out_of_failures(tmp_path):
    with serve({}) as server:
        port = server.port
    chosen = FetchOptions(
        source_url="http://mirror.invalid/{id}",
        proxy=f"http://anna:hunter2%2Fx@127.0.0.1:{port}",
    )
    with pytest.raises(ClipFailure) as caught:
        fetch_audio(chosen.url("clip"), tmp_path, chosen)
    assert (caught.value.status, caught.value.reason) == ("blocked", "proxy")
    assert "hunter2" not in repr(caught.value)
    assert "anna" not in repr(caught.value)
    assert "@127" not in repr(chosen)


def test_passwords_that_yt_dlp_repeats_are_removed():
    chosen = FetchOptions(proxy="http://anna:hunter2%2Fx@127.0.0.1:1")
    assert redact("anna hunter2/x hunter2%2Fx", chosen.secrets()) == "*** *** ***"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "403 for https://rr3---sn-1.googlevideo.com/videoplayback?expire=1&ip=1.2.3.4&sig=AB",
            "403 for https://rr3---sn-1.googlevideo.com/...",
        ),
        (
            "https://manifest.googlevideo.com/api/manifest/hls/expire/1/ip/1.2.3.4/sig/AB end",
            "https://manifest.googlevideo.com/... end",
        ),
        (
            "https://www.youtube.com/watch?v=--PJHxphWEs&pp=token",
            "https://www.youtube.com/watch?v=--PJHxphWEs",
        ),
        ("via 'http://anna:pa@ss@proxy.org:80/'", "via 'http://proxy.org:80/'"),
        ("via anna:pass@proxy.org:80", "via ***@proxy.org:80"),
        ("headers: Cookie: SID=1; HSID=2", "headers: Cookie: ***"),
        ("{'Authorization': 'Basic QWxhZGRpbg=='}", "{'Authorization': ***"),
        (
            "\x1b[0;31mERROR:\x1b[0m [youtube] abc: \n Private  video",
            "[youtube] abc: Private video",
        ),
        ("it said zebra", "it said ***"),
    ],
)
def test_redaction(text, expected):
    assert redact(text, {"zebra", "it", ""}) == expected


# --- options and the rest --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source_url": "https://anna:secret@x.org/"}, r"expected a URL with \{id\}"),
        ({"cookies": Path("nowhere.txt")}, "no file nowhere.txt"),
        ({"proxy": "http://anna:secret/x@proxy.org:80"}, "expected SCHEME://HOST:PORT"),
        ({"proxy": "http://anna:secret@proxy.org"}, "expected SCHEME://HOST:PORT"),
        ({"proxy": "proxy.org:80"}, "expected SCHEME://HOST:PORT"),
        ({"max_source_mb": 0.0}, "max_source_mb: got 0"),
        ({"max_source_s": float("nan")}, "max_source_s: got nan"),
        ({"ytdlp_options": {"outtmpl": "x", "retries": 1}}, "outtmpl cannot be set"),
    ],
)
def test_wrong_options_are_refused(changes, words):
    with pytest.raises(ValueError, match=words) as caught:
        FetchOptions(**changes)
    assert "secret" not in str(caught.value)


def test_unreadable_cookies_are_the_users_error(tmp_path):
    cookies = tmp_path / "cookies.txt"
    cookies.write_text(f'[{{"name": "SID", "value": "{COOKIE}"}}]')
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match=r"cookies\.txt.*Netscape") as caught:
        fetch_audio("http://127.0.0.1:9/clip", tmp_path / "out", options(cookies=cookies))
    assert COOKIE not in str(caught.value)


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


def test_a_failure_survives_a_process_pool():
    failure = ClipFailure("blocked", "rate_limit", "wait", 17.0)
    copy = pickle.loads(pickle.dumps(failure))
    assert vars(copy) == vars(failure)
    assert str(copy) == "blocked (rate_limit): wait"


def test_several_fetches_at_once(tmp_path):
    routes = {f"/{n}": Route(tones("m4a") + bytes(n)) for n in range(8)}
    with serve(routes) as server, concurrent.futures.ThreadPoolExecutor(4) as pool:
        chosen = options(server)

        def one(n):
            directory = tmp_path / str(n)
            directory.mkdir()
            return fetch_audio(chosen.url(str(n)), directory, chosen).n_bytes - len(tones("m4a"))

        assert list(pool.map(one, range(8))) == list(range(8))
