"""How to fetch: wrong options are refused, secrets stay where they were given."""

import dataclasses
from http.cookiejar import Cookie
from pathlib import Path

import pytest

from fetching import fetch_audio, options
from loopback import Route, serve
from slvr.ingest.recipe import ClipFailure
from slvr.ingest.youtube.failures import (
    redact,
)
from slvr.ingest.youtube.fetch import Fetcher
from slvr.ingest.youtube.options import FetchOptions


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
