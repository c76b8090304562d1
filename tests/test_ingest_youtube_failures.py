"""What yt-dlp says, mapped to facts: YouTube's refusals are raised by an extractor added to it."""

import email.utils
import io
import pickle
import time

import pytest
import yt_dlp
from yt_dlp.networking.common import Response
from yt_dlp.networking.exceptions import HTTPError
from yt_dlp.utils import ExtractorError

from fetching import StubIE
from slvr.ingest.recipe import ClipFailure
from slvr.ingest.youtube import fetch
from slvr.ingest.youtube.failures import (
    RULES,
    classify,
    look_up,
    parse_retry_after,
    redact,
)
from slvr.shards.clip import STATUSES


def test_retry_after_forms():
    in_a_minute = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert parse_retry_after(in_a_minute) == pytest.approx(60, abs=5)
    assert parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert parse_retry_after("soon") is None
    assert parse_retry_after(None) is None


def test_a_stale_media_url_at_youtube_is_not_a_missing_video():
    def not_found(url):
        return HTTPError(Response(io.BytesIO(), url, {}, status=404))

    assert classify(not_found("https://rr3---sn-1.googlevideo.com/videoplayback")).status == (
        "transient"
    )
    assert classify(not_found("https://mirror.example.org/a.m4a")).status == "gone"


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
        assert status_of.setdefault(reason, status) == status and status in STATUSES
    assert look_up("") == ("transient", "unknown")


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


def test_a_failure_survives_a_process_pool():
    failure = ClipFailure("blocked", "rate_limit", "wait", 17.0)
    copy = pickle.loads(pickle.dumps(failure))
    assert vars(copy) == vars(failure)
    assert str(copy) == "blocked (rate_limit): wait"
